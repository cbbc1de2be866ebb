// SPDX-License-Identifier: GPL-2.0

//! Devices of the driver core: the functions that read and change a device's driver.

use core::{
    ffi::{
        c_void,
        CStr, //
    },
    fmt,
    ptr::{
        self,
        NonNull, //
    }, //
};

use kernel::{
    bindings,
    ffi::c_int,
    str::CStrExt,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    }, //
};

use crate::linux::{
    bindings as bridge_bindings,
    device_id::DeviceId,
    mutex::Mutex,
    notifier::{
        Bus,
        BusNotifier,
        Notifier, //
    },
    pci_device::PciDevice,
    platform_driver::Slot, //
};

/// A device that the driver core offers to the driver, or has bound to it.
#[derive(Clone, Copy)]
pub(crate) enum BusDevice {
    /// A PCI function.
    Pci(PciDevice),
    /// A virtio-mmio slot.
    Mmio(Slot),
}

impl BusDevice {
    /// Returns the device for the driver core's functions. It is valid as long as this value may be
    /// used.
    fn as_device(self) -> *mut bindings::device {
        match self {
            Self::Pci(device) => device.as_device(),
            Self::Mmio(slot) => slot.as_device(),
        }
    }

    /// Returns the ID of the device.
    pub(crate) fn id(self) -> DeviceId {
        DeviceId::of(self.as_device())
    }
}

impl fmt::Display for BusDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(device) => device.fmt(f),
            Self::Mmio(slot) => slot.fmt(f),
        }
    }
}

/// A counted reference to a device, or none; for one static, since [`Mutex::Device`] guards it.
///
/// `kernel::types::ARef<kernel::device::Device>` cannot be replaced while other threads use it.
pub(crate) struct DeviceRef(Atomic<*mut bindings::device>);

impl DeviceRef {
    /// Makes a reference to no device.
    pub(crate) const fn none() -> Self {
        Self(Atomic::new(ptr::null_mut()))
    }

    /// Refers to `device` from now on. May sleep.
    pub(crate) fn set(&self, device: BusDevice) {
        if self.is(device.id()) {
            return;
        }
        // SAFETY: By the invariants of `PciDevice` and `Slot` the device is valid: it may be
        // referenced.
        let device = unsafe { bindings::get_device(device.as_device()) };
        let guard = Mutex::Device.lock();
        let before = self.0.xchg(device, Full);
        drop(guard);
        // SAFETY: The pointer is null, or a device that this value had a reference to. That
        // reference is given up once: the pointer was taken out here, with the mutex held under
        // which `with()` reads it.
        unsafe { bindings::put_device(before) };
    }

    /// Returns whether it refers to `device`.
    pub(crate) fn is(&self, device: DeviceId) -> bool {
        device.is_some() && DeviceId::of(self.0.load(Relaxed)) == device
    }

    /// Runs `f` on the device, if there is one, with a reference of its own. May sleep.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Device) -> R) -> Option<R> {
        // `set()` may replace the device meanwhile, and give its reference up.
        let guard = Mutex::Device.lock();
        // SAFETY: The pointer is null, which `get_device()` accepts, or a device that this value
        // has a reference to, which `set()` does not give up as long as the mutex is held.
        let device = unsafe { bindings::get_device(self.0.load(Acquire)) };
        drop(guard);
        // INVARIANT: The reference above is given up when `device` is dropped.
        let device = Device(NonNull::new(device)?);
        Some(f(&device))
    }
}

/// A device with a counted reference.
///
/// # Invariants
///
/// The value owns a reference to the device, which is registered with the driver core, or was.
pub(crate) struct Device(NonNull<bindings::device>);

impl Device {
    /// Returns the driver of the device; null if it has none. The driver may change at any time, so
    /// the result is only to be compared.
    pub(crate) fn driver(&self) -> *const bindings::device_driver {
        // SAFETY: By the invariants the device is valid. The driver core may change its driver
        // meanwhile (`device_set_driver()`, with the device's lock): the read is volatile, of one
        // pointer.
        unsafe { (&raw const (*self.0.as_ptr()).driver).read_volatile() }
    }

    /// Unbinds the device from its driver. May sleep; the caller does not hold the device's lock.
    pub(crate) fn release_driver(&self) {
        // SAFETY: By the invariants the device is valid. `device_release_driver()`
        // (drivers/base/dd.c) takes its lock, which the caller does not hold.
        unsafe { bindings::device_release_driver(self.0.as_ptr()) };
    }

    /// Makes the driver core look for a driver for the device. Returns whether the device has one
    /// then. May sleep; the caller does not hold the device's lock.
    pub(crate) fn attach(&self) -> bool {
        // SAFETY: By the invariants the device is valid. `device_attach()` (drivers/base/dd.c)
        // takes its lock, which the caller does not hold.
        (unsafe { bindings::device_attach(self.0.as_ptr()) }) == 1
    }

    /// Returns the virtio device that another driver has made of this one, if there is one. May
    /// sleep. From then on `watcher` is notified of changes of virtio devices; its user calls
    /// [`Notifier::bus_is_gone`] when the module of the virtio bus is unloaded.
    pub(crate) fn virtio_child<T: BusNotifier>(
        &self,
        watcher: &'static Notifier<Bus<T>>,
    ) -> Option<Self> {
        let mut child = ptr::null_mut();
        let found: *mut *mut bindings::device = &mut child;
        // SAFETY: By the invariants the device is valid. `device_for_each_child()`
        // (drivers/base/core.c) calls `find_virtio()` with a child that it has a reference to, and
        // with `found`, which lives longer than the call and is not used otherwise meanwhile.
        unsafe {
            bindings::device_for_each_child(self.0.as_ptr(), found.cast(), Some(find_virtio))
        };
        // INVARIANT: `find_virtio()` has taken a reference to the child, which is given up when the
        // value is dropped.
        let child = Self(NonNull::new(child)?);
        // SAFETY: The reference keeps the child valid. Its bus was registered when the child was
        // found. The caller calls `bus_is_gone()` when the module of the bus has unregistered it.
        unsafe { watcher.register((*child.0.as_ptr()).bus) };
        Some(child)
    }

    /// Waits until a driver that is probing the device has taken or refused it. Returns whether it
    /// has a driver then. May sleep; the caller does not hold the device's lock.
    pub(crate) fn finish_probe(&self) -> bool {
        // SAFETY: By the invariants the device is valid. The function takes its lock, which the
        // caller does not hold.
        unsafe { bridge_bindings::virtgpu_bridge_finish_probe(self.0.as_ptr().cast()) }
    }

    /// Tells the PM core whether the device keeps its picture during sleep without a switch to
    /// another virtual terminal. May sleep.
    ///
    /// The PM core keeps a pointer to the device until this is called with false, which is to
    /// happen before the device gets another driver.
    pub(crate) fn set_keeps_picture(&self, keeps: bool) {
        // SAFETY: By the invariants the device is valid. `pm_vt_switch_required()` and
        // `pm_vt_switch_unregister()` (kernel/power/console.c) may sleep, and only compare the
        // pointer that they keep.
        unsafe { bridge_bindings::virtgpu_bridge_keeps_picture(self.0.as_ptr().cast(), keeps) };
    }

    /// Returns the device for other modules of `linux`. It is valid as long as this value lives.
    pub(super) fn as_ptr(&self) -> *mut bindings::device {
        self.0.as_ptr()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: By the invariants the value owns a reference, which is given up here, once.
        unsafe { bindings::put_device(self.0.as_ptr()) };
    }
}

/// Stores a child that is a virtio device in `found`, with a reference to it, and returns 1, which
/// ends the iteration. Returns 0 for any other child.
///
/// # Safety
///
/// Called by `device_for_each_child()` (drivers/base/core.c), with a child that is valid until this
/// returns, and the place of [`Device::virtio_child`] for the result.
unsafe extern "C" fn find_virtio(child: *mut bindings::device, found: *mut c_void) -> c_int {
    // SAFETY: By the safety requirement the child is valid. Its bus does not change once it is
    // registered, as a child is.
    let bus = unsafe { (*child).bus };
    if bus.is_null() {
        return 0;
    }
    // SAFETY: A bus that has a device is registered, and stays as long as the device does. Its name
    // is a terminated string: `bus_register()` (drivers/base/bus.c) names its folder in sysfs after
    // it.
    let name = unsafe { CStr::from_char_ptr((*bus).name) };
    if name.to_bytes() != b"virtio" {
        return 0;
    }
    // SAFETY: By the safety requirement `found` is a place for a pointer that nobody else uses, and
    // the child is valid and may be referenced.
    unsafe {
        found
            .cast::<*mut bindings::device>()
            .write(bindings::get_device(child))
    };
    // Stop at the first one.
    1
}
