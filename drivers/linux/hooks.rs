// SPDX-License-Identifier: GPL-2.0

//! Where the driver core tells us what becomes of our device: its BARs are about to move, they have
//! moved, a driver is about to take it.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr, //
};

use kernel::{
    bindings as kernel_bindings,
    ffi::{
        c_int,
        c_ulong, //
    },
};

use crate::{
    firmware::pci::Address,
    linux::{
        bindings,
        console, //
    },
    stages::earlycon,
    virtio::pci::{
        DEVICE_GPU,
        VENDOR, //
    },
};

/// Where configuration space has the first BAR.
const BARS: u8 = 0x10;

/// A driver's probe is about to be called.
const BINDING: c_ulong = bindings::bus_notifier_event_BUS_NOTIFY_BIND_DRIVER as c_ulong;

/// A device is about to be gone.
const LEAVING: c_ulong = bindings::bus_notifier_event_BUS_NOTIFY_DEL_DEVICE as c_ulong;

/// A notifier that the kernel links into its list.
struct Notifier(UnsafeCell<bindings::notifier_block>);

// SAFETY: After registration only the kernel uses it, under its own lock.
unsafe impl Sync for Notifier {}

type Callback = unsafe extern "C" fn(*mut bindings::notifier_block, c_ulong, *mut c_void) -> c_int;

impl Notifier {
    const fn new(callback: Callback) -> Self {
        Self(UnsafeCell::new(bindings::notifier_block {
            notifier_call: Some(callback),
            next: ptr::null_mut(),
            priority: 0,
        }))
    }
}

static PCI: Notifier = Notifier::new(pci_event);
static PLATFORM: Notifier = Notifier::new(platform_event);

/// An `arch_initcall`, after the buses exist and before anything is on them.
#[no_mangle]
extern "C" fn virtgpu_bridge_watch() -> c_int {
    if earlycon::is_up() {
        // SAFETY: Both buses are registered (`postcore_initcall`, `driver_init()`), and the
        // notifiers are static.
        unsafe {
            bindings::bus_register_notifier(&raw const bindings::pci_bus_type, PCI.0.get());
            bindings::bus_register_notifier(
                &raw const bindings::platform_bus_type,
                PLATFORM.0.get(),
            );
        }
    }
    0
}

/// A PCI function was found and its BARs are about to be sized, with decoding off; see
/// `DECLARE_PCI_FIXUP_EARLY()` in `helpers.c`.
///
/// # Safety
///
/// Called by the PCI core with a valid device.
#[no_mangle]
unsafe extern "C" fn virtgpu_bridge_pci_early(device: *mut kernel_bindings::pci_dev) {
    if !earlycon::is_up() {
        return;
    }
    // SAFETY: By the safety requirement; a device has a bus.
    let (bus, devfn, id) = unsafe {
        let device = &*device;
        (
            (*device.bus).number,
            device.devfn,
            (device.vendor, device.device),
        )
    };
    let Some(address) = u8::try_from(devfn)
        .ok()
        .and_then(|devfn| Address::new(bus, devfn >> 3, devfn & 7))
    else {
        return;
    };
    let gpu = (id == (VENDOR, DEVICE_GPU)).then_some(device.addr());
    let dword = |offset: u8| {
        let mut value = 0;
        // SAFETY: A valid device. If it cannot be read, the value is all ones.
        unsafe { kernel_bindings::pci_read_config_dword(device, offset.into(), &mut value) };
        u64::from(value)
    };
    let bar = |number: u8| {
        let low = dword(BARS + 4 * number);
        // PCI 3.0, section 6.2.5.1: type 2 is 64 bits wide.
        let high = if low & 6 == 4 {
            dword(BARS + 4 * number + 4)
        } else {
            0
        };
        high << 32 | low & !0xf
    };
    console::locked(|| earlycon::pci_found(address, gpu, bar));
}

/// A GPU's BARs have come to rest; see `DECLARE_PCI_FIXUP_FINAL()` in `helpers.c`.
///
/// # Safety
///
/// Called by the PCI core with a valid device.
#[no_mangle]
unsafe extern "C" fn virtgpu_bridge_pci_final(device: *mut kernel_bindings::pci_dev) {
    if !earlycon::is_pci(device.addr()) {
        return;
    }
    let resource = |bar: u8| {
        // SAFETY: A valid device, and a number below 6.
        unsafe {
            (
                kernel_bindings::pci_resource_start(device, bar.into()),
                kernel_bindings::pci_resource_len(device, bar.into()),
            )
        }
    };
    console::locked(|| earlycon::pci_ready(resource));
}

/// # Safety
///
/// Called by the driver core for a device of the PCI bus.
unsafe extern "C" fn pci_event(
    _: *mut bindings::notifier_block,
    event: c_ulong,
    device: *mut c_void,
) -> c_int {
    // SAFETY: Devices of the PCI bus are part of a `pci_dev`.
    let device = unsafe {
        kernel::container_of!(
            device.cast::<kernel_bindings::device>(),
            kernel_bindings::pci_dev,
            dev
        )
    };
    if (event == BINDING || event == LEAVING) && earlycon::is_pci(device.addr()) {
        leave();
    }
    0
}

/// # Safety
///
/// Called by the driver core for a device of the platform bus.
unsafe extern "C" fn platform_event(
    _: *mut bindings::notifier_block,
    event: c_ulong,
    device: *mut c_void,
) -> c_int {
    if event == BINDING || event == LEAVING {
        // SAFETY: Devices of the platform bus are part of a `platform_device`.
        let device = unsafe {
            kernel::container_of!(
                device.cast::<kernel_bindings::device>(),
                kernel_bindings::platform_device,
                dev
            )
        };
        // SAFETY: A valid device; the resource is null or valid.
        let resource = unsafe {
            kernel_bindings::platform_get_resource(device, kernel_bindings::IORESOURCE_MEM, 0)
                .as_ref()
        };
        if resource.is_some_and(|resource| earlycon::is_mmio(resource.start)) {
            leave();
        }
    }
    0
}

/// The device gets a driver, or goes: from now on it is not ours.
fn leave() {
    console::locked(earlycon::stop);
    crate::linux::earlycon::unregister();
}
