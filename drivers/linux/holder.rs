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
    device::{
        handover,
        screen::{
            self,
            Device, //
        }, //
    },
    linux::{
        bindings as bridge_bindings,
        mutex::Mutex,
        notifier::Notifier,
        pci_driver,
        platform_driver,
        uevent, //
    }, //
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

/// Remembers the device, which is bound to us. Called while it is probed.
pub(crate) fn keep(device: Device) {
    let device = device.as_device();
    if !is(device) {
        // SAFETY: By the invariants of `PciDevice` and `Slot` the device is valid: it may be
        // referenced.
        let device = unsafe { bindings::get_device(device) };
        let change = Mutex::Holder.lock();
        let before = DEVICE.swap(device, Ordering::AcqRel);
        drop(change);
        // SAFETY: It is null, or a device whose reference was `DEVICE`'s. That is given up once: it
        // was taken out of `DEVICE` here, with the mutex held under which `with()` looks.
        unsafe { bindings::put_device(before) };
    }
    // SAFETY: The device is valid, as above. `pm_vt_switch_required()` (kernel/power/console.c) may
    // sleep, which a probe may. The pointer that it keeps is only compared, and is removed by
    // `released()` before another driver has the device.
    unsafe { bridge_bindings::virtgpu_keeps_its_picture(device.cast(), true) };
    // SAFETY: The device is valid, as above, and registered, since it is being probed.
    unsafe { uevent::show(device) };
}

/// The device is released. It is remembered, should it come back. Called while it is removed.
pub(crate) fn released() {
    uevent::hide();
    // SAFETY: `with()` gives a valid device. `pm_vt_switch_unregister()` (kernel/power/console.c)
    // may sleep, which the driver core's `remove()` may.
    with(|device| unsafe {
        bridge_bindings::virtgpu_keeps_its_picture(device.cast(), false);
    });
}

/// The device, if there is one: valid as long as `f` runs. Called where sleeping is allowed.
fn with<R>(f: impl FnOnce(*mut bindings::device) -> R) -> Option<R> {
    // Another device may become the screen meanwhile, and our reference go.
    let change = Mutex::Holder.lock();
    // SAFETY: It is null, or a device of which `DEVICE` has a reference, which `keep()` does not
    // give up as long as we have the mutex. `get_device()` takes null.
    let device = unsafe { bindings::get_device(DEVICE.load(Ordering::Acquire)) };
    drop(change);
    let result = (!device.is_null()).then(|| f(device));
    // SAFETY: It is null, which `put_device()` takes, or the device that was referenced above.
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
        // SAFETY: `with()` gives a valid device. The driver core may change its driver meanwhile
        // (`device_set_driver()`, with the device's lock): the read is volatile, of one pointer,
        // which is only compared.
        let driver = unsafe { (&raw const (*device).driver).read_volatile() };
        pci_driver::is(driver) || platform_driver::is(driver)
    })
    .unwrap_or(false)
}

/// Takes the device from its driver. For [`handover::settle`].
pub(crate) fn release() {
    // SAFETY: `with()` gives a valid device. `device_release_driver()` (drivers/base/dd.c) takes
    // its lock, which is not held: this runs in the work item of `settle_later()` alone.
    with(|device| unsafe { bindings::device_release_driver(device) });
}

/// Lets the driver core find a driver for the device. Returns whether it has one. For
/// [`handover::settle`].
pub(crate) fn attach() -> bool {
    // SAFETY: `with()` gives a valid device. `device_attach()` (drivers/base/dd.c) takes its lock,
    // which is not held: this runs in the work item of `settle_later()` alone.
    with(|device| unsafe { bindings::device_attach(device) } == 1).unwrap_or(false)
}

/// Whether the device has no driver at all.
pub(crate) fn is_free() -> bool {
    // SAFETY: As in `is_ours()`; the pointer is only compared with null.
    with(|device| unsafe { (&raw const (*device).driver).read_volatile() }.is_null())
        .unwrap_or(false)
}

/// Whether the device has a driver that made a virtio device of it, and that one has none. The
/// native driver may be probed asynchronously: the outcome is waited for. For [`handover::settle`].
pub(crate) fn is_orphan() -> bool {
    let mut child = ptr::null_mut();
    let seen: *mut *mut bindings::device = &mut child;
    // SAFETY: `with()` gives a valid device. `device_for_each_child()` (drivers/base/core.c) calls
    // `look()` with a child, of which it has a reference, and `seen`, which lives longer than the
    // call and is not used otherwise meanwhile.
    with(|device| unsafe { bindings::device_for_each_child(device, seen.cast(), Some(look)) });
    if child.is_null() {
        return false;
    }
    // SAFETY: `look()` has taken a reference of the child, which is given back here: it is valid
    // until then. `virtgpu_finish_probe()` takes its lock, which is not held: this runs in the work
    // item of `settle_later()` alone.
    unsafe {
        let has_driver = bridge_bindings::virtgpu_finish_probe(child.cast());
        bindings::put_device(child);
        !has_driver
    }
}

/// # Safety
///
/// Called by `device_for_each_child()` (drivers/base/core.c), with a child that is valid until this
/// returns and [`is_orphan`]'s place for what is found.
unsafe extern "C" fn look(child: *mut bindings::device, found: *mut c_void) -> c_int {
    // SAFETY: By the safety requirement the child is valid. Its bus does not change once it is
    // registered, as a child is.
    let bus = unsafe { (*child).bus };
    if bus.is_null() {
        return 0;
    }
    // SAFETY: A bus that has a device is registered, and stays as long as the device does. It has a
    // name, a terminated string: `bus_register()` (drivers/base/bus.c) names its folder in sysfs
    // after that.
    let name = unsafe { CStr::from_char_ptr((*bus).name) };
    if name.to_bytes() != b"virtio" {
        return 0;
    }
    if !WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: The bus has a device, the child, and stays as long as that. The notifier is
        // static, and by the flag it is in no list: the flag is cleared by `module_event()` alone,
        // when the module of the bus goes, which has unregistered the bus, and with it the list, by
        // then.
        unsafe { bindings::bus_register_notifier(bus, VIRTIO.as_ptr()) };
    }
    // SAFETY: By the safety requirement `found` is a place for a pointer that nobody else uses, and
    // the child is valid and may be referenced.
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
    // SAFETY: The notifiers are static, and registered once: `hooks::virtgpu_bridge_watch()`, an
    // `arch_initcall`, is the only caller. The buses are parts of the kernel image, registered
    // before that (`pci_driver_init()` is a `postcore_initcall`, `platform_bus_init()` is called
    // by `driver_init()`), and never go.
    unsafe {
        bridge_bindings::virtgpu_watch_modules(MODULES.as_ptr().cast());
        bindings::bus_register_notifier(&raw const bindings::pci_bus_type, PCI.as_ptr());
        bindings::bus_register_notifier(&raw const bindings::platform_bus_type, PLATFORM.as_ptr());
    }
}

/// Has [`handover::settle`] called soon, by a thread that may wait for anything. From any context
/// but NMI.
pub(crate) fn settle_later() {
    // SAFETY: `queue_work()` may be called in any context but NMI. The callers are notifiers of
    // modules and of buses, initcalls and probes, all of them in process context, when there are
    // workqueues.
    unsafe { bridge_bindings::virtgpu_settle_later() };
}

/// The work of [`settle_later`].
#[no_mangle]
extern "C" fn virtgpu_bridge_settle() {
    handover::settle();
}

/// Has [`screen::follow`] called about every second, as long as the device is bound to us. From any
/// context but NMI.
pub(crate) fn follow_display_later() {
    // SAFETY: `queue_delayed_work()` may be called in any context but NMI. The callers are a probe
    // and the work item itself.
    unsafe { bridge_bindings::virtgpu_follow_later() };
}

/// The work of [`follow_display_later`].
#[no_mangle]
extern "C" fn virtgpu_bridge_follow() {
    if screen::follow() {
        follow_display_later();
    }
}

/// A `device_initcall_sync`: drivers that are built in have been registered.
#[no_mangle]
extern "C" fn virtgpu_bridge_native() -> c_int {
    if cfg!(CONFIG_DRM_VIRTIO_GPU = "y") {
        handover::native_is_ready();
        // SAFETY: `flush_work()` waits for `handover::settle()`, which may take the console lock,
        // the locks of devices and our mutexes. An initcall holds none of them.
        unsafe { bridge_bindings::virtgpu_settle_now() };
    }
    0
}

/// # Safety
///
/// Called by the module loader (kernel/module/main.c) with a module that is valid until this
/// returns.
unsafe extern "C" fn module_event(
    _: *mut bindings::notifier_block,
    event: c_ulong,
    module: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirement. The name is an array in the module, and a terminated
    // string: the loader takes no module whose name does not fit.
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
/// Called by `bus_notify()` (drivers/base/bus.c) for a device of a bus on which ours may be, or the
/// virtio device that another driver has made of it: it is valid until this returns.
unsafe extern "C" fn device_event(
    _: *mut bindings::notifier_block,
    event: c_ulong,
    device: *mut c_void,
) -> c_int {
    const UNBOUND: c_ulong =
        bridge_bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER as c_ulong;
    const GOES: c_ulong = bridge_bindings::bus_notifier_event_BUS_NOTIFY_DEL_DEVICE as c_ulong;
    let device = device.cast::<bindings::device>();
    // SAFETY: By the safety requirement the device is valid. Its parent is only compared.
    let parent = unsafe { (*device).parent };
    match event {
        UNBOUND if is(device) || is(parent) => settle_later(),
        GOES => {
            screen::gone(device);
            if is(device) {
                handover::gone();
            }
        }
        _ => {}
    }
    0
}
