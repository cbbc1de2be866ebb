// SPDX-License-Identifier: GPL-2.0

//! Notifiers: callbacks that the kernel calls on an event.
//!
//! Each kind of event has a trait, which its user implements. For example:
//!
//! ```ignore
//! struct Deaths;
//!
//! impl DieNotifier for Deaths {
//!     fn died() {
//!         // This context has faulted.
//!     }
//! }
//!
//! static DEATHS: Notifier<Die<Deaths>> = Notifier::new();
//!
//! DEATHS.register();
//! ```

use core::{
    cell::UnsafeCell,
    ffi::{
        c_void,
        CStr, //
    },
    marker::PhantomData,
    ptr, //
};

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong, //
    },
    str::CStrExt,
    sync::atomic::{
        AtomicFlag,
        Relaxed, //
    }, //
};

#[cfg(all(CONFIG_VT, not(MODULE)))]
use crate::linux::console::Locked;
use crate::linux::{
    bindings as bridge_bindings,
    device_id::DeviceId, //
};

/// A kind of event.
pub(crate) trait Event {
    /// Handles an event.
    ///
    /// # Safety
    ///
    /// Called by the kernel for a notifier of this kind, with the arguments that its list passes.
    unsafe fn handle(event: c_ulong, data: *mut c_void);
}

/// A notifier for events of kind `E`, for a static.
pub(crate) struct Notifier<E> {
    block: UnsafeCell<bindings::notifier_block>,
    is_registered: AtomicFlag,
    kind: PhantomData<fn() -> E>,
}

// SAFETY: The driver never accesses `block` after `new()`. `register_with()` gives it to the kernel
// while it is in no list; then the kernel alone accesses it, with the lock of the list that it is
// in.
unsafe impl<E> Sync for Notifier<E> {}

impl<E: Event> Notifier<E> {
    /// Makes a notifier that is in no list.
    pub(crate) const fn new() -> Self {
        Self {
            block: UnsafeCell::new(bindings::notifier_block {
                notifier_call: Some(call::<E>),
                next: ptr::null_mut(),
                priority: 0,
            }),
            is_registered: AtomicFlag::new(false),
            kind: PhantomData,
        }
    }

    /// Calls `remove` with the notifier if it is registered. When `remove` returns, no callback
    /// runs.
    #[cfg(MODULE)]
    fn unregister_with(&'static self, remove: impl FnOnce(*mut bindings::notifier_block)) {
        if self.is_registered.xchg(false, Relaxed) {
            remove(self.block.get());
        }
    }

    /// Calls `add` with the notifier, which is static and in no list, unless it is registered.
    /// `add` returns 0, or an error if there is no such list.
    fn register_with(&'static self, add: impl FnOnce(*mut bindings::notifier_block) -> c_int) {
        if !self.is_registered.xchg(true, Relaxed) && add(self.block.get()) != 0 {
            self.is_registered.store(false, Relaxed);
        }
    }
}

/// Passes an event to `E`.
///
/// # Safety
///
/// Called by the kernel for a notifier of kind `E`.
unsafe extern "C" fn call<E: Event>(
    _: *mut bindings::notifier_block,
    event: c_ulong,
    data: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirement.
    unsafe { E::handle(event, data) };
    0
}

/// The kind of event that a [`DieNotifier`] handles.
pub(crate) struct Die<T>(PhantomData<T>);

/// Handles faults of the kernel.
pub(crate) trait DieNotifier {
    /// Handles a fault. Called by `die()` (arch/arm64/kernel/traps.c) in the context that has
    /// faulted.
    fn died();
}

impl<T: DieNotifier> Event for Die<T> {
    unsafe fn handle(_: c_ulong, _: *mut c_void) {
        T::died();
    }
}

impl<T: DieNotifier> Notifier<Die<T>> {
    /// Adds the notifier to the kernel's list, unless it is there. In any context but NMI.
    pub(crate) fn register(&'static self) {
        self.register_with(|block| {
            // SAFETY: `register_with()` passes a static notifier that is in no list.
            // `register_die_notifier()` (kernel/notifier.c) takes the lock of its list.
            unsafe { bridge_bindings::register_die_notifier(block.cast()) }
        });
    }

    /// Removes the notifier from the kernel's list, if it is there. May sleep.
    #[cfg(MODULE)]
    pub(crate) fn unregister(&'static self) {
        self.unregister_with(|block| {
            // SAFETY: `unregister_with()` passes a notifier that is in the list.
            // `unregister_die_notifier()` (kernel/notifier.c) waits until nobody walks the list
            // (`synchronize_rcu()`).
            unsafe { bridge_bindings::unregister_die_notifier(block.cast()) };
        });
    }
}

/// The kind of event that a [`ModuleNotifier`] handles.
pub(crate) struct Module<T>(PhantomData<T>);

/// Handles the loading and unloading of modules.
pub(crate) trait ModuleNotifier {
    /// Handles the module `name` that has been loaded. May sleep.
    fn loaded(name: &CStr);

    /// Handles the module `name` that is being unloaded, after its `exit()`, or after its `init()`
    /// has failed. May sleep.
    fn unloaded(name: &CStr);
}

impl<T: ModuleNotifier> Event for Module<T> {
    unsafe fn handle(event: c_ulong, data: *mut c_void) {
        // SAFETY: The module loader (kernel/module/main.c) passes a module that is valid until this
        // returns. Its name is an array in the module, and a terminated string: the loader refuses
        // a module whose name does not fit.
        let name = unsafe {
            let module = data.cast::<bindings::module>();
            CStr::from_char_ptr((&raw const (*module).name).cast())
        };
        match event as u32 {
            bindings::module_state_MODULE_STATE_LIVE => T::loaded(name),
            bindings::module_state_MODULE_STATE_GOING => T::unloaded(name),
            _ => {}
        }
    }
}

impl<T: ModuleNotifier> Notifier<Module<T>> {
    /// Adds the notifier to the kernel's list, unless it is there. May sleep.
    pub(crate) fn register(&'static self) {
        self.register_with(|block| {
            // SAFETY: `register_with()` passes a static notifier that is in no list.
            unsafe { bridge_bindings::virtgpu_bridge_watch_modules(block.cast()) }
        });
    }
}

/// The kind of event that a [`BusNotifier`] handles.
pub(crate) struct Bus<T>(PhantomData<T>);

/// Handles changes of the devices of a bus.
pub(crate) trait BusNotifier {
    /// Handles `device`, whose parent is `parent`, and which has no driver any more. May sleep.
    fn unbound(device: DeviceId, parent: DeviceId);

    /// Handles the removal of `device` by the driver core, before it is freed. May sleep.
    fn removed(device: DeviceId);
}

impl<T: BusNotifier> Event for Bus<T> {
    unsafe fn handle(event: c_ulong, data: *mut c_void) {
        const UNBOUND: c_ulong =
            bridge_bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER as c_ulong;
        const REMOVED: c_ulong =
            bridge_bindings::bus_notifier_event_BUS_NOTIFY_DEL_DEVICE as c_ulong;
        let device = data.cast::<bindings::device>();
        match event {
            UNBOUND => {
                // SAFETY: `bus_notify()` (drivers/base/bus.c) passes a device that is valid until
                // this returns. Its parent is only compared.
                let parent = unsafe { (*device).parent };
                T::unbound(DeviceId::of(device), DeviceId::of(parent));
            }
            REMOVED => T::removed(DeviceId::of(device)),
            _ => {}
        }
    }
}

impl<T: BusNotifier> Notifier<Bus<T>> {
    /// Adds the notifier to the list of the PCI bus, unless it is there. May sleep. Called from
    /// `arch_initcall` on.
    pub(crate) fn register_pci(&'static self) {
        // SAFETY: `pci_driver_init()`, a `postcore_initcall`, has registered the bus, which is part
        // of the kernel image and never unregistered.
        unsafe { self.register(&raw const bindings::pci_bus_type) };
    }

    /// Adds the notifier to the list of the platform bus, unless it is there. May sleep. Called
    /// from initcalls on.
    pub(crate) fn register_platform(&'static self) {
        // SAFETY: `driver_init()` has registered the bus, which is part of the kernel image and
        // never unregistered.
        unsafe { self.register(&raw const bindings::platform_bus_type) };
    }

    /// Adds the notifier to the list of a bus, unless it is in one. May sleep.
    ///
    /// # Safety
    ///
    /// The bus is registered, or was: `bus_register_notifier()` compares the pointer with those of
    /// the registered buses. When the bus is unregistered, [`Notifier::bus_is_gone`] is called.
    pub(crate) unsafe fn register(&'static self, bus: *const bindings::bus_type) {
        self.register_with(|block| {
            // SAFETY: `register_with()` passes a static notifier that is in no list. By the safety
            // requirement the bus is registered, or the function fails.
            unsafe { bindings::bus_register_notifier(bus, block) }
        });
    }

    /// Marks the notifier as unregistered, since the bus has been unregistered, and its list with
    /// it. Then the notifier may be registered again.
    ///
    /// # Safety
    ///
    /// The bus is unregistered.
    pub(crate) unsafe fn bus_is_gone(&self) {
        self.is_registered.store(false, Relaxed);
    }
}

/// The kind of event that a [`VtNotifier`] handles.
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) struct Vt<T>(PhantomData<T>);

/// Handles updates of the virtual terminals.
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) trait VtNotifier {
    /// Handles changes of the screen by the VT core. Called by `notify_update()`
    /// (drivers/tty/vt/vt.c).
    /// Must not sleep.
    fn updated(lock: &Locked);
}

#[cfg(all(CONFIG_VT, not(MODULE)))]
impl<T: VtNotifier> Event for Vt<T> {
    unsafe fn handle(event: c_ulong, _: *mut c_void) {
        if event == bridge_bindings::VT_UPDATE as c_ulong {
            // SAFETY: `notify_update()` alone reports VT_UPDATE. It is called with the console lock
            // held, or by `vt_console_print()` in a panic or a debugger. The proof lives no longer
            // than this call.
            T::updated(&unsafe { Locked::new() });
        }
    }
}

#[cfg(all(CONFIG_VT, not(MODULE)))]
impl<T: VtNotifier> Notifier<Vt<T>> {
    /// Adds the notifier to the kernel's list, unless it is there.
    pub(crate) fn register(&'static self) {
        self.register_with(|block| {
            // SAFETY: `register_with()` passes a static notifier that is in no list.
            // `register_vt_notifier()` (drivers/tty/vt/vt.c) takes the lock of its list.
            unsafe { bridge_bindings::register_vt_notifier(block.cast()) }
        });
    }
}
