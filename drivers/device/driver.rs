// SPDX-License-Identifier: GPL-2.0

//! The driver's registrations, and its callbacks for the driver core, the PM core and the module
//! loader.

use core::ffi::CStr;

use kernel::{
    error::{
        code::ENODEV,
        Result, //
    },
    pr_err, //
};

use crate::{
    device::{
        active,
        bring_up::{
            self,
            BringUpError, //
        },
        discovery,
        handover::{
            self,
            Watch, //
        },
        native::Event, //
    },
    linux::{
        driver_core::BusDevice,
        mutex::Mutex,
        notifier::{
            Bus,
            Module,
            ModuleNotifier,
            Notifier, //
        },
        pci_device::PciDevice,
        pci_driver,
        pci_fixup::{
            declare_pci_fixup,
            PciFixup, //
        },
        platform_driver::{
            self,
            Slot, //
        },
        pm::Sleep,
        uevent,
        work, //
    },
    pci::Enumerated, //
};

/// The native driver's module.
const NATIVE: &CStr = c"virtio_gpu";
/// The module with the bus of virtio devices.
const VIRTIO_BUS: &CStr = c"virtio";
/// The modules that make virtio devices.
const TRANSPORTS: [&CStr; 2] = [c"virtio_pci", c"virtio_mmio"];

/// The driver of PCI functions and virtio-mmio slots.
struct Driver;

static PCI_DRIVER: pci_driver::Registration<Driver> = pci_driver::Registration::new();
static PLATFORM_DRIVER: platform_driver::Registration<Driver> =
    platform_driver::Registration::new();
static MODULES: Notifier<Module<Driver>> = Notifier::new();
static PCI_BUS: Notifier<Bus<Watch>> = Notifier::new();
static PLATFORM_BUS: Notifier<Bus<Watch>> = Notifier::new();

/// Registers the driver. For an `arch_initcall`, when the buses exist and have no devices yet: so
/// the driver is probed before the drivers of all virtio devices.
pub(crate) fn register() {
    let class = uevent::register();
    let pci = PCI_DRIVER.register();
    let platform = PLATFORM_DRIVER.register();
    for error in [class.err(), pci.err(), platform.err()]
        .into_iter()
        .flatten()
    {
        pr_err!("no driver of ours: {:?}\n", error);
    }
    MODULES.register();
    PCI_BUS.register_pci();
    PLATFORM_BUS.register_platform();
}

/// Offers the device to the native driver, if that is built in. For a `device_initcall_sync`, when
/// built-in drivers have been registered.
pub(crate) fn built_in_drivers_are_registered() {
    if cfg!(CONFIG_DRM_VIRTIO_GPU = "y") {
        handover::driver_loaded(Event::NativeLoaded);
        work::finish_handover();
    }
}

/// Binds a device, or leaves it to other drivers.
///
/// # Errors
///
/// ENODEV if it is for other drivers or cannot be used. The reason is in the log then, except for a
/// virtio-mmio slot that has no GPU.
fn probe(device: BusDevice) -> Result {
    let _guard = Mutex::Probe.lock();
    let error = match active::probe(device, || handover::is_for_native(device)) {
        Ok(()) => {
            handover::bound(device);
            work::poll_device_later();
            active::started();
            handover::offer_to_kms();
            return Ok(());
        }
        Err(error) => error,
    };
    match error {
        None | Some(BringUpError::Mmio(_)) => {}
        Some(error) if handover::is_coming_back(device) => handover::not_taken_back(device, &error),
        // The error was logged when the device was discovered.
        Some(error) if error.is_timeout() && discovery::has_timed_out() => {}
        Some(error) => bring_up::report_error(device, &error),
    }
    Err(ENODEV)
}

/// Releases a device.
fn remove(device: BusDevice) {
    if handover::is_active(device) {
        let _guard = Mutex::Probe.lock();
        handover::released();
        active::remove(handover::is_offering());
    }
}

/// Prepares a device for the end of this kernel.
fn shutdown(device: BusDevice) {
    if handover::is_active(device) {
        active::shutdown();
    }
}

impl pci_driver::Driver for Driver {
    fn probe(device: PciDevice) -> Result {
        probe(BusDevice::Pci(device))
    }

    fn remove(device: PciDevice) {
        remove(BusDevice::Pci(device));
    }

    fn shutdown(device: PciDevice) {
        shutdown(BusDevice::Pci(device));
    }
}

impl pci_driver::FunctionReset for Driver {
    // Handle a reset of the function like sleep.
    fn reset_prepare() {
        active::suspend();
    }

    fn reset_done() {
        active::resume();
    }
}

impl platform_driver::Driver for Driver {
    fn probe(slot: Slot) -> Result {
        probe(BusDevice::Mmio(slot))
    }

    fn remove(slot: Slot) {
        remove(BusDevice::Mmio(slot));
    }

    fn shutdown(slot: Slot) {
        shutdown(BusDevice::Mmio(slot));
    }
}

impl Sleep for Driver {
    fn suspend() {
        active::suspend();
    }

    fn resume() {
        active::resume();
    }
}

impl ModuleNotifier for Driver {
    fn loaded(name: &CStr) {
        if name == NATIVE {
            handover::driver_loaded(Event::NativeLoaded);
        } else if TRANSPORTS.contains(&name) {
            // This module may be loaded after the native driver.
            handover::driver_loaded(Event::TransportLoaded);
        }
    }

    fn unloaded(name: &CStr) {
        if name == NATIVE {
            handover::native_unloaded();
        } else if name == VIRTIO_BUS {
            // SAFETY: This is the module of the virtio bus. Its `exit()` has unregistered the bus.
            unsafe { handover::virtio_bus_unloaded() };
        }
    }
}

// SAFETY: `active::enumerated()` keeps the device's address, and uses it until `active::removed()`
// is called for it; `BusNotifier::removed()` calls that.
unsafe impl PciFixup for Driver {
    fn is_active() -> bool {
        active::is_discovered()
    }

    fn early(found: &Enumerated, device: PciDevice, bar: impl FnOnce(u8) -> u64) {
        active::enumerated(found, device, bar);
    }
}

declare_pci_fixup!(rust_virtgpu_bridge_pci_fixup, Driver);

/// Recovers the device and follows changes of its displays, as the work of
/// [`work::poll_device_later`], which goes on as long as the device is bound.
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_poll_device() {
    if active::poll() {
        work::poll_device_later();
    }
}
