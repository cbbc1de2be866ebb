// SPDX-License-Identifier: GPL-2.0

//! The handover of the device to the native driver, virtio_gpu, and back if that driver cannot use
//! it, or is removed. [`native`](super::native) decides when.
//!
//! virtio_gpu binds to a virtio device. There is one only while virtio-pci or virtio-mmio has the
//! PCI function or the slot. So this driver releases the device, the driver core finds another
//! driver for it, and the virtio device shows the result.

use kernel::{
    pr_info,
    pr_warn,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::{
    device::{
        active,
        bring_up::BringUpError,
        native::{
            CurrentDriver,
            Event,
            Handover,
            Step, //
        }, //
    },
    linux::{
        clock::{
            microseconds_since,
            ticks, //
        },
        device_id::DeviceId,
        driver_core::{
            BusDevice,
            Device,
            DeviceRef, //
        },
        kms,
        mutex::Mutex,
        notifier::{
            Bus,
            BusNotifier,
            Notifier, //
        },
        parameters::{
            self,
            Framebuffer, //
        },
        uevent,
        work, //
    }, //
};

static STATE: Atomic<u32> = Atomic::new(Handover::empty().bits());

/// The address of the `struct device_driver` that had [`DEVICE`] when it was bound: this driver's
/// for the bus of the device.
static DRIVER: Atomic<usize> = Atomic::new(0);

/// The time in seconds, from the start of user space on, that the native driver has to come before
/// the KMS driver gets the device.
const KMS_DELAY_S: u32 = 5;
/// Counts the seconds of that time that are over.
static SECONDS: Atomic<u32> = Atomic::new(0);

/// The device that is bound to this driver, or was bound last.
static DEVICE: DeviceRef = DeviceRef::none();

/// The notifier for the bus of virtio devices.
static VIRTIO: Notifier<Bus<Watch>> = Notifier::new();

/// The callbacks for changes of the device, and of the virtio device that another driver makes of
/// it.
pub(crate) struct Watch;

impl BusNotifier for Watch {
    fn unbound(device: DeviceId, parent: DeviceId) {
        if DEVICE.is(device) || DEVICE.is(parent) {
            work::handover_later();
        }
    }

    fn removed(device: DeviceId) {
        active::removed(device);
        if DEVICE.is(device) {
            update(Event::DeviceRemoved);
        }
    }
}

/// Returns the state of the handover.
fn state() -> Handover {
    Handover::from_bits_truncate(STATE.load(Relaxed))
}

/// Applies an event to the state of the handover.
fn update(event: Event) {
    let mut bits = STATE.load(Relaxed);
    loop {
        let after = Handover::from_bits_truncate(bits).after(event).bits();
        match STATE.cmpxchg(bits, after, Relaxed) {
            Ok(_) => return,
            Err(other) => bits = other,
        }
    }
}

/// Handles an event of the module loader, after which the native driver may get the device.
pub(crate) fn driver_loaded(event: Event) {
    update(event);
    work::handover_later();
}

/// Handles the unloading of the native driver.
pub(crate) fn native_unloaded() {
    update(Event::NativeUnloaded);
}

/// Handles the unloading of the module of the virtio bus.
///
/// # Safety
///
/// The module has unregistered the bus.
pub(crate) unsafe fn virtio_bus_unloaded() {
    // SAFETY: By the safety requirement.
    unsafe { VIRTIO.bus_is_gone() };
}

/// Returns whether a device that the driver core offers to this driver is for the native driver.
pub(crate) fn is_for_native(device: BusDevice) -> bool {
    state().is_for_native(DEVICE.is(device.id()))
}

/// Returns whether the device is the one that is bound, or was bound last.
pub(crate) fn is_active(device: BusDevice) -> bool {
    DEVICE.is(device.id())
}

/// Returns whether the device is being offered to the native driver.
pub(crate) fn is_offering() -> bool {
    state().contains(Handover::OFFERING)
}

/// Returns whether a device that the driver core offers to this driver is being taken back.
pub(crate) fn is_coming_back(device: BusDevice) -> bool {
    state().is_coming_back(DEVICE.is(device.id()))
}

/// Handles the device that this driver has bound. May sleep.
pub(crate) fn bound(device: BusDevice) {
    update(Event::Bound);
    DEVICE.set(device);
    DEVICE.with(|device| {
        // The driver core sets the device's driver before it calls `probe()`.
        DRIVER.store(device.driver() as usize, Relaxed);
        device.set_keeps_picture(true);
        uevent::add_child(device);
    });
    if state().needs_work() {
        work::handover_later();
    }
}

/// Lets the KMS driver have the device, which is bound: at once, or later, if the native driver is
/// expected. Programs would have to move from one DRM device to the other, with the screen dark in
/// between. May sleep.
pub(crate) fn offer_to_kms() {
    let when = parameters::framebuffer();
    if when == Framebuffer::Never {
        return;
    }
    DEVICE.with(kms::set_device);
    if when == Framebuffer::Auto && parameters::hands_over() {
        SECONDS.store(0, Relaxed);
        work::start_kms_later();
    } else {
        kms::start();
    }
}

/// Gives the device to the KMS driver when the native driver has had time to come, as the work of
/// [`work::start_kms_later`].
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_start_kms() {
    if work::is_user_space_running() {
        SECONDS.store(SECONDS.load(Relaxed) + 1, Relaxed);
    }
    if SECONDS.load(Relaxed) < KMS_DELAY_S {
        work::start_kms_later();
    } else {
        kms::start();
    }
}

/// Handles the release of the device, for any reason. May sleep.
pub(crate) fn released() {
    kms::released();
    uevent::remove_child();
    DEVICE.with(|device| device.set_keeps_picture(false));
}

/// Ends taking the device back, and logs why it cannot be used.
pub(crate) fn not_taken_back(device: BusDevice, error: &BringUpError) {
    update(Event::TookBack);
    pr_warn!(
        "{}: not ours again, the screen stays dark: {}\n",
        format_args!("{device}"),
        format_args!("{error}")
    );
}

/// Returns whether this driver has the device.
fn is_bound() -> bool {
    let is_ours = |device: &Device| device.driver() as usize == DRIVER.load(Relaxed);
    DEVICE.with(is_ours).unwrap_or(false)
}

/// Returns the kind of the other driver that has the device. Waits until a probe of the native
/// driver has ended.
fn current_driver() -> CurrentDriver {
    DEVICE
        .with(|device| {
            if is_without_native(device) {
                return CurrentDriver::TransportOnly;
            }
            match device.driver().is_null() {
                true => CurrentDriver::None,
                false => CurrentDriver::Other,
            }
        })
        .unwrap_or(CurrentDriver::Other)
}

/// Returns whether another driver has made a virtio device of `device` that has no driver. Waits
/// until a probe of it has ended.
fn is_without_native(device: &Device) -> bool {
    (device.virtio_child(&VIRTIO)).is_some_and(|child| !child.finish_probe())
}

/// Offers the device, takes it back, or does nothing, as the state requires: the work of
/// [`work::handover_later`].
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_handover() {
    update(Event::WorkStarted);
    match state().step(is_bound, current_driver, parameters::hands_over) {
        Step::Wait => {}
        Step::Offer => offer(),
        Step::TakeBack => {
            update(Event::Refused);
            if take_back() {
                pr_info!("the screen is ours again\n");
            }
        }
    }
    update(Event::WorkEnded);
}

/// Gives the device to the native driver, and takes it back if that driver does not use it.
fn offer() {
    kms::released();
    let start = ticks();
    if !active::reset_for_native() {
        let guard = Mutex::Probe.lock();
        // A user may have unbound it meanwhile.
        if active::is_bound() {
            offer_to_kms();
        }
        drop(guard);
        // virtio-pci would wait for the reset for ever, or find the device FAILED.
        update(Event::ResetFailed);
        pr_warn!(
            "the device stays ours: it does not finish a reset, which the native driver needs\n"
        );
        return;
    }
    update(Event::Offered);
    DEVICE.with(Device::release_driver);
    let has_driver = DEVICE.with(Device::attach).unwrap_or(false);
    update(Event::OfferEnded);
    if has_driver && !DEVICE.with(is_without_native).unwrap_or(false) {
        active::end_release();
        active::stopped();
        pr_info!(
            "handed over to the native driver, dark for {} us\n",
            microseconds_since(start)
        );
        return;
    }
    if has_driver {
        update(Event::Refused);
    }
    // If the screen stays dark, `take_back()` logs the only line.
    if take_back() {
        if has_driver {
            pr_warn!("the native driver does not take the device\n");
        } else {
            pr_info!("there is no driver yet that makes a virtio device of ours\n");
        }
        pr_info!("the screen is ours again\n");
    }
    active::end_release();
}

/// Takes the device from the driver that has it. Returns whether the screen is back; logs the
/// reason if it is not.
fn take_back() -> bool {
    DEVICE.with(Device::release_driver);
    update(Event::TakesBack);
    let has_driver = DEVICE.with(Device::attach).unwrap_or(false);
    let is_back = has_driver && is_bound();
    // `not_taken_back()` has ended this if it has logged the reason.
    if state().contains(Handover::TAKING_BACK) && !is_back {
        pr_warn!("the device does not come back, the screen stays dark\n");
    }
    update(Event::TookBack);
    is_back
}
