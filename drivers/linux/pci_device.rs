// SPDX-License-Identifier: GPL-2.0

//! A device of the PCI core, and the resources that the driver takes from it.

use core::{
    ffi::CStr,
    fmt,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::{
        to_result,
        Error, //
    },
    ffi::c_int,
    str::CStrExt, //
};

#[cfg(not(MODULE))]
use crate::linux::owner::panic_on_this_cpu;
use crate::{
    linux::{
        bindings as bridge_bindings,
        device_id::DeviceId,
        table::NAME, //
    },
    virtio::pci::{
        DEVICE_GPU,
        VENDOR, //
    }, //
};

/// An error of the PCI core or the DMA API, with the name of the step that failed.
pub(crate) struct PciError(&'static str, Error);

impl PciError {
    /// Makes an error: `what` failed with `error`.
    pub(crate) fn new(what: &'static str, error: Error) -> Self {
        Self(what, error)
    }

    /// Returns the error code.
    #[cfg(MODULE)]
    pub(crate) fn code(&self) -> Error {
        self.1
    }
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.0, self.1)
    }
}

/// A PCI device.
///
/// # Invariants
///
/// A `pci_dev` that is initialised, and is not freed as long as the value is used: the driver core
/// has a reference from `probe()` to the end of `remove()`, and a
/// [`DeviceRef`](crate::linux::driver_core::DeviceRef) has one for longer.
#[derive(Clone, Copy)]
pub(crate) struct PciDevice(NonNull<bindings::pci_dev>);

// SAFETY: A `pci_dev` is bound to no task and no CPU: the PCI core's functions may be called for it
// by any. Each method says in which context it may be called.
unsafe impl Send for PciDevice {}

impl PciDevice {
    /// Makes a device from a pointer of the PCI core; `None` if that is null.
    ///
    /// # Safety
    ///
    /// `device` is null, or `pci_setup_device()` (drivers/pci/probe.c) has come as far as the early
    /// fixups, and it is not freed as long as the new value is used.
    pub(crate) unsafe fn new(device: *mut bindings::pci_dev) -> Option<Self> {
        // INVARIANT: By the safety requirement.
        NonNull::new(device).map(Self)
    }

    /// Returns the device for the PCI core's functions.
    pub(crate) fn as_ptr(self) -> *mut bindings::pci_dev {
        self.0.as_ptr()
    }

    /// Returns the device for the functions of the driver core and the DMA API.
    pub(crate) fn as_device(self) -> *mut bindings::device {
        // SAFETY: By the invariants it is allocated; this is a part of it, and no reference is
        // made.
        unsafe { &raw mut (*self.as_ptr()).dev }
    }

    /// Returns the ID of the device in the driver core.
    pub(crate) fn id(self) -> DeviceId {
        DeviceId::of(self.as_device())
    }

    /// Copies the name of the driver that has the device to `name`, and returns it; `None` if it
    /// has no driver. May sleep.
    #[cfg(MODULE)]
    pub(crate) fn driver(self, name: &mut [u8; 64]) -> Option<&str> {
        // SAFETY: By the invariants the device is valid, and there is room for as many bytes as
        // said. The function takes the device's lock, which is not held: the caller,
        // `module::register()`, runs in the module's `init()`.
        let bound = unsafe {
            bridge_bindings::virtgpu_bridge_driver_name(
                self.as_device().cast(),
                name.as_mut_ptr().cast(),
                name.len(),
            )
        };
        let name = CStr::from_bytes_until_nul(name).ok()?;
        name.to_str().ok().filter(|_| bound)
    }

    /// Returns whether it is a virtio-gpu (virtio 1.3, section 4.1.2).
    pub(crate) fn is_gpu(self) -> bool {
        // SAFETY: By the invariants it is valid. `pci_setup_device()` (drivers/pci/probe.c) sets
        // both before other code gets the device.
        let id = unsafe { ((*self.as_ptr()).vendor, (*self.as_ptr()).device) };
        id == (VENDOR, DEVICE_GPU)
    }

    /// Returns whether it is of the VGA class. Such a device may have a linear framebuffer in a BAR
    /// that firmware has passed to the kernel.
    #[cfg(not(MODULE))]
    pub(crate) fn is_vga(self) -> bool {
        // SAFETY: By the invariants the device is valid. Its class does not change after the
        // fixups, when it is offered to drivers.
        unsafe { (*self.as_ptr()).class >> 8 == bindings::PCI_CLASS_DISPLAY_VGA }
    }

    /// Removes efifb or simpledrm from the framebuffer that firmware has left in a BAR, as the
    /// native driver does. Called while the device is probed.
    #[cfg(not(MODULE))]
    pub(crate) fn remove_framebuffers(self) {
        // SAFETY: By the invariants the device is valid. It is being probed, where
        // `aperture_remove_conflicting_pci_devices()` (drivers/video/aperture.c) may be called,
        // which sleeps.
        unsafe { bridge_bindings::virtgpu_bridge_remove_framebuffers(self.as_ptr().cast()) };
    }

    /// Clears Bus Master Enable (PCI 3.0, section 6.2.2): the device does not access memory.
    pub(crate) fn clear_master(self) {
        // SAFETY: By the invariants the device is valid. Nobody else changes the register
        // meanwhile: the device is ours, and the caller owns the screen or probes.
        unsafe { bindings::pci_clear_master(self.as_ptr()) };
    }

    /// Sets Bus Master Enable: the device may access memory. In any context. In a panic nothing
    /// happens if the lock of configuration space is held, since its owner may be stopped.
    pub(crate) fn set_master(self) {
        #[cfg(not(MODULE))]
        if panic_on_this_cpu() {
            // SAFETY: By the invariants the device is valid. `pci_set_master()` (drivers/pci/pci.c)
            // does not sleep. It takes `pci_lock` (drivers/pci/access.c), with interrupts off,
            // which the function has seen free. So neither the code that this CPU has interrupted,
            // even by an NMI, nor a stopped CPU holds it. A running CPU releases it.
            return unsafe { bridge_bindings::virtgpu_bridge_set_master(self.as_ptr().cast()) };
        }
        // SAFETY: By the invariants the device is valid. `pci_set_master()` (drivers/pci/pci.c)
        // takes a spinlock with interrupts off, and does not sleep. Nobody else changes the
        // register meanwhile: the device is ours, and the caller owns the screen or probes.
        unsafe { bindings::pci_set_master(self.as_ptr()) };
    }

    /// Reads 32 bits of configuration space at `offset`; all ones if they cannot be read.
    pub(crate) fn read32(self, offset: u16) -> u32 {
        let mut value = u32::MAX;
        // SAFETY: By the invariants the device is valid, and there is a place for the value.
        // `pci_read_config_dword()` (drivers/pci/access.c) refuses an offset that is not aligned,
        // and then writes nothing, or ones.
        unsafe { bindings::pci_read_config_dword(self.as_ptr(), offset.into(), &mut value) };
        value
    }

    /// Returns the physical address and the size in bytes of a memory BAR; `None` if it has no
    /// address, or is no memory BAR.
    pub(crate) fn memory_bar(self, bar: u8) -> Option<(u64, u64)> {
        // SAFETY: By the invariants the device is valid. `pci_select_bars()` (drivers/pci/pci.c)
        // reads the flags of its resources, without a lock. They do not change while a driver has
        // the device; before that the answer may be old or new, and the device may move again.
        let memory =
            unsafe { bindings::pci_select_bars(self.as_ptr(), bindings::IORESOURCE_MEM as usize) };
        if bar > 5 || memory & 1 << bar == 0 {
            return None;
        }
        // SAFETY: As above. The number is below 6, so there is such a resource.
        let (start, size) = unsafe {
            (
                bindings::pci_resource_start(self.as_ptr(), bar.into()),
                bindings::pci_resource_len(self.as_ptr(), bar.into()),
            )
        };
        (start != 0).then_some((start, size))
    }
}

impl fmt::Display for PciDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: By the invariants the device is valid. `pci_setup_device()` has given it a name
        // before the early fixups, a terminated string, which stays as long as it does.
        let name = unsafe { CStr::from_char_ptr(bindings::dev_name(self.as_device())) };
        write!(f, "PCI {}", name.to_str().unwrap_or("?"))
    }
}

/// An enabled device: it decodes its BARs and raises no interrupts, until this is dropped. Dropping
/// it clears Bus Master Enable as well. Both may sleep.
pub(crate) struct Enabled {
    device: PciDevice,
    /// The requested BARs, a bit for each.
    bars: c_int,
    /// Set if INTx was enabled before.
    intx: bool,
}

impl Enabled {
    /// Enables a device and requests those of its BARs whose bit is set in `bars`.
    ///
    /// # Errors
    ///
    /// Fails if the PCI core does not enable the device, or if a BAR is requested already.
    pub(crate) fn new(device: PciDevice, bars: c_int) -> Result<Self, PciError> {
        let pdev = device.as_ptr();
        // SAFETY: By the invariants of `PciDevice` the device is valid, here and below. It is being
        // probed, where it may be enabled, and where one may sleep.
        to_result(unsafe { bindings::pci_enable_device_mem(pdev) })
            .map_err(|error| PciError::new("it cannot be enabled", error))?;
        let name = NAME.as_char_ptr();
        // SAFETY: As above. The name, to which the resources point until they are released, is
        // static.
        let taken = to_result(unsafe { bindings::pci_request_selected_regions(pdev, bars, name) });
        if let Err(error) = taken {
            // SAFETY: As above. `pci_enable_device_mem()` has succeeded, which this undoes.
            unsafe { bindings::pci_disable_device(pdev) };
            return Err(PciError::new("somebody has its BARs", error));
        }
        let mut command = 0;
        // SAFETY: As above; `command` is a place for the value.
        unsafe {
            bindings::pci_read_config_word(pdev, bindings::PCI_COMMAND as c_int, &mut command);
            bindings::pci_intx(pdev, 0);
        }
        Ok(Self {
            device,
            bars,
            intx: u32::from(command) & bindings::PCI_COMMAND_INTX_DISABLE == 0,
        })
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        let pdev = self.device.as_ptr();
        // SAFETY: By the invariants of `PciDevice` the device is valid. Each call undoes once
        // what `new()` has done, or `set_master()`, which need not have been called.
        unsafe {
            bindings::pci_clear_master(pdev);
            bindings::pci_intx(pdev, self.intx.into());
            bindings::pci_release_selected_regions(pdev, self.bars);
            bindings::pci_disable_device(pdev);
        }
    }
}
