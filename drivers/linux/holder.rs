// SPDX-License-Identifier: GPL-2.0

//! The device that we hold, or held, as the driver core sees it: giving it away, taking it back,
//! and the events upon which that is considered.

use core::{
    ffi::{
        c_void,
        CStr, //
    },
    ptr,
    sync::atomic::{
        AtomicBool,
        AtomicPtr,
        Ordering, //
    },
};

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong, //
    },
    str::CStrExt, //
};

use crate::{
    linux::{
        bindings as bridge_bindings,
        mutex::Mutex,
        notifier::Notifier,
        pci_driver,
        platform_driver,
        uevent, //
    },
    stages::{
        device,
        handover, //
    },
};

/// The native driver's module.
const NATIVE: &CStr = c"virtio_gpu";
/// The module with the bus of virtio devices.
const BUS: &CStr = c"virtio";
/// The modules that make virtio devices.
const TRANSPORTS: [&CStr; 2] = [c"virtio_pci", c"virtio_mmio"];

/// The device, of which we have a reference; or null.
static DEVICE: AtomicPtr<bindings::device> = AtomicPtr::new(ptr::null_mut());
/// Whether the bus of virtio devices is watched.
static WATCHED: AtomicBool = AtomicBool::new(false);

static MODULES: Notifier = Notifier::new(module_event);
static VIRTIO: Notifier = Notifier::new(device_event);
static PCI: Notifier = Notifier::new(device_event);
static PLATFORM: Notifier = Notifier::new(device_event);

/// Remembers the device, which is bound to us.
pub(crate) fn keep(device: *mut bindings::device) {
    if !is(device) {
        // SAFETY: A valid device.
        let device = unsafe { bindings::get_device(device) };
        let change = Mutex::Holder.lock();
        let before = DEVICE.swap(device, Ordering::AcqRel);
        drop(change);
        // SAFETY: Null, or a device that we have a reference of.
        unsafe { bindings::put_device(before) };
    }
    // SAFETY: A valid device.
    unsafe { bridge_bindings::virtgpu_keeps_its_picture(device.cast(), true) };
    uevent::show(device);
}

/// The device is released. It is remembered, should it come back.
pub(crate) fn released() {
    uevent::hide();
    // SAFETY: A valid device.
    with(|device| unsafe {
        bridge_bindings::virtgpu_keeps_its_picture(device.cast(), false);
    });
}

/// The device, if there is one, for as long as `f` runs. Called where sleeping is allowed.
fn with<R>(f: impl FnOnce(*mut bindings::device) -> R) -> Option<R> {
    // Another device may become the screen meanwhile, and our reference go.
    let change = Mutex::Holder.lock();
    // SAFETY: Null, or a device that we have a reference of as long as we have the mutex.
    let device = unsafe { bindings::get_device(DEVICE.load(Ordering::Acquire)) };
    drop(change);
    let result = (!device.is_null()).then(|| f(device));
    // SAFETY: Null, or a device that was referenced above.
    unsafe { bindings::put_device(device) };
    result
}

/// Whether this is the device.
pub(crate) fn is(device: *mut bindings::device) -> bool {
    !device.is_null() && DEVICE.load(Ordering::Relaxed) == device
}

/// Whether our driver has the device.
pub(crate) fn is_ours() -> bool {
    with(|device| {
        // SAFETY: A valid device; the pointer is only compared.
        let driver = unsafe { (&raw const (*device).driver).read_volatile() };
        pci_driver::is(driver) || platform_driver::is(driver)
    })
    .unwrap_or(false)
}

/// Takes the device from its driver.
pub(crate) fn release() {
    // SAFETY: A valid device, whose lock is not held.
    with(|device| unsafe { bindings::device_release_driver(device) });
}

/// Lets the driver core find a driver for the device. Returns whether it has one.
pub(crate) fn attach() -> bool {
    // SAFETY: A valid device, whose lock is not held.
    with(|device| unsafe { bindings::device_attach(device) } == 1).unwrap_or(false)
}

/// Whether the device has no driver at all.
pub(crate) fn is_free() -> bool {
    // SAFETY: A valid device; the pointer is only compared.
    with(|device| unsafe { (&raw const (*device).driver).read_volatile() }.is_null())
        .unwrap_or(false)
}

/// Whether the device has a driver that made a virtio device of it, and that one has none. The
/// native driver may be probed asynchronously: the outcome is waited for.
pub(crate) fn is_orphan() -> bool {
    let mut child = ptr::null_mut();
    let seen: *mut *mut bindings::device = &mut child;
    // SAFETY: A valid device. `look()` gets `seen`, which lives longer than the call.
    with(|device| unsafe { bindings::device_for_each_child(device, seen.cast(), Some(look)) });
    if child.is_null() {
        return false;
    }
    // SAFETY: A valid device, of which `look()` has got a reference, given back here. Its lock is
    // not held.
    unsafe {
        let has_driver = bridge_bindings::virtgpu_finish_probe(child.cast());
        bindings::put_device(child);
        !has_driver
    }
}

/// # Safety
///
/// Called by the driver core for a child of our device, with [`is_orphan`]'s place for what is
/// found.
unsafe extern "C" fn look(child: *mut bindings::device, found: *mut c_void) -> c_int {
    // SAFETY: A valid device, whose bus is null or valid and has a name.
    let bus = unsafe { (*child).bus };
    if bus.is_null() {
        return 0;
    }
    // SAFETY: As above.
    let name = unsafe { CStr::from_char_ptr((*bus).name) };
    if name.to_bytes() != b"virtio" {
        return 0;
    }
    if !WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: A bus is never gone while it has a device. The notifier is static, and in no
        // list: when the bus goes, with its list, `module_event()` says so.
        unsafe { bindings::bus_register_notifier(bus, VIRTIO.as_ptr()) };
    }
    // SAFETY: By the safety requirement. The device is valid, and so it may be referenced.
    unsafe {
        found
            .cast::<*mut bindings::device>()
            .write(bindings::get_device(child))
    };
    // There is one: look no further.
    1
}

/// Watches modules come and go, and what becomes of devices that can be ours.
pub(crate) fn watch() {
    // SAFETY: The notifiers are static, and registered once; the buses are never gone.
    unsafe {
        bridge_bindings::virtgpu_watch_modules(MODULES.as_ptr().cast());
        bindings::bus_register_notifier(&raw const bindings::pci_bus_type, PCI.as_ptr());
        bindings::bus_register_notifier(&raw const bindings::platform_bus_type, PLATFORM.as_ptr());
    }
}

/// Has [`handover::settle`] called soon, by a thread that may wait for anything.
pub(crate) fn settle_later() {
    // SAFETY: Any context will do.
    unsafe { bridge_bindings::virtgpu_settle_later() };
}

/// The work of [`settle_later`].
#[no_mangle]
extern "C" fn virtgpu_bridge_settle() {
    handover::settle();
}

/// Has [`device::follow`] called about every second, as long as the device is bound to us.
pub(crate) fn follow_display_later() {
    // SAFETY: Any context will do.
    unsafe { bridge_bindings::virtgpu_follow_later() };
}

/// The work of [`follow_display_later`].
#[no_mangle]
extern "C" fn virtgpu_bridge_follow() {
    if device::follow() {
        follow_display_later();
    }
}

/// A `device_initcall_sync`: drivers that are built in have been registered.
#[no_mangle]
extern "C" fn virtgpu_bridge_native() -> c_int {
    if cfg!(CONFIG_DRM_VIRTIO_GPU = "y") {
        handover::native_is_ready();
        // SAFETY: The work may wait for nothing that we have.
        unsafe { bridge_bindings::virtgpu_settle_now() };
    }
    0
}

/// # Safety
///
/// Called by the module loader with a valid module.
unsafe extern "C" fn module_event(
    _: *mut bindings::notifier_block,
    event: c_ulong,
    module: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirement; its name is terminated.
    let name = unsafe {
        let module = module.cast::<bindings::module>();
        CStr::from_char_ptr((&raw const (*module).name).cast())
    };
    match event as u32 {
        bindings::module_state_MODULE_STATE_LIVE if name == NATIVE => handover::native_is_ready(),
        bindings::module_state_MODULE_STATE_GOING if name == NATIVE => handover::native_is_gone(),
        // What makes the virtio device may come after its driver.
        bindings::module_state_MODULE_STATE_LIVE if TRANSPORTS.contains(&name) => {
            handover::transport_is_ready();
        }
        // It has unregistered the bus.
        bindings::module_state_MODULE_STATE_GOING if name == BUS => {
            WATCHED.store(false, Ordering::Relaxed);
        }
        _ => {}
    }
    0
}

/// # Safety
///
/// Called by the driver core for a device of a bus on which ours may be, or the virtio device that
/// another driver has made of it.
unsafe extern "C" fn device_event(
    _: *mut bindings::notifier_block,
    event: c_ulong,
    device: *mut c_void,
) -> c_int {
    const UNBOUND: c_ulong =
        bridge_bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER as c_ulong;
    const GOES: c_ulong = bridge_bindings::bus_notifier_event_BUS_NOTIFY_DEL_DEVICE as c_ulong;
    let device = device.cast::<bindings::device>();
    // SAFETY: By the safety requirement.
    let parent = unsafe { (*device).parent };
    match event {
        UNBOUND if is(device) || is(parent) => settle_later(),
        GOES if is(device) => handover::gone(),
        _ => {}
    }
    0
}
