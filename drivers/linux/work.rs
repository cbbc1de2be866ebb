// SPDX-License-Identifier: GPL-2.0

//! Work that is done later by a task, or by a timer. `hooks.c` has the work items and timers, since
//! only macros of C initialise them at compile time; each calls a function of the driver by name.
//!
//! ```ignore
//! work::blink_later(200);
//!
//! /// Blinks the cursor, as the work of [`work::blink_later`].
//! #[no_mangle]
//! extern "C" fn rust_virtgpu_bridge_blink() { .. }
//! ```

use crate::linux::bindings;

/// Returns whether the work item of [`show_frame_later`] runs: there are kernel threads, and the
/// machine neither sleeps nor stops. In any context.
pub(crate) fn is_possible() -> bool {
    // SAFETY: The function reads `system_state`, a word, in any context.
    unsafe { bindings::virtgpu_bridge_schedules() }
}

/// Returns whether user space runs, and the machine neither sleeps nor stops. In any context.
pub(crate) fn is_user_space_running() -> bool {
    // SAFETY: The function reads `system_state`, a word, in any context.
    unsafe { bindings::virtgpu_bridge_is_running() }
}

/// Queues a work item that calls `rust_virtgpu_bridge_show_frame()` after 1/60 s. In any context.
pub(crate) fn show_frame_later() {
    // SAFETY: The function queues an irq_work of the driver. `irq_work_queue()` (kernel/irq_work.c)
    // may be called in any context, NMI included.
    unsafe { bindings::virtgpu_bridge_show_frame_later() };
}

/// Queues a work item that calls `rust_virtgpu_bridge_blink()` after `delay_ms` milliseconds,
/// unless it is queued already. In any context.
#[cfg(CONFIG_VT)]
pub(crate) fn blink_later(delay_ms: u32) {
    // SAFETY: `oops_in_progress` is a static of kernel/printk/printk.c: an aligned word, which is
    // read at once. Others may change it meanwhile, and either value will do.
    let is_oops = unsafe { (&raw const bindings::oops_in_progress).read_volatile() } != 0;
    if !is_oops {
        // SAFETY: The function reads a bit, writes a word, and calls `irq_work_queue()`, all of
        // which is allowed in any context, NMI included.
        unsafe { bindings::virtgpu_bridge_blink_later(delay_ms) };
    }
}

/// Starts timers that call `rust_virtgpu_bridge_check_tty()` after 1/4 s, on this CPU and on
/// others. In any context; from NMI on this CPU only.
#[cfg(CONFIG_VT)]
pub(crate) fn check_tty_later() {
    // SAFETY: The function queues an irq_work, here and on other CPUs, which may be done in any
    // context; from NMI it leaves the other CPUs out.
    unsafe { bindings::virtgpu_bridge_check_tty_later() };
}

/// Queues a work item that calls `rust_virtgpu_bridge_start_kms()` after 1 s. In any context but
/// NMI.
pub(crate) fn start_kms_later() {
    // SAFETY: `queue_delayed_work()` may be called in any context but NMI. The callers are a probe,
    // a work item and the work item itself.
    unsafe { bindings::virtgpu_bridge_start_kms_later() };
}

/// Queues a work item that calls `rust_virtgpu_bridge_update_framebuffer()`. In any context.
pub(crate) fn update_framebuffer_later() {
    // SAFETY: The function calls `irq_work_queue()`, which is allowed in any context.
    unsafe { bindings::virtgpu_bridge_update_framebuffer_later() };
}

/// Waits until the work of [`update_framebuffer_later`] is done, which nobody queues any more. May
/// sleep. The caller holds neither the console lock nor a mutex of the driver.
#[cfg(MODULE)]
pub(crate) fn finish_framebuffer_update() {
    // SAFETY: `irq_work_sync()` and `flush_work()` wait for work that may take the console lock,
    // the driver's mutexes and locks of DRM. The caller, the module's `exit()`, holds none of them.
    unsafe { bindings::virtgpu_bridge_finish_framebuffer_update() };
}

/// Queues a work item that calls `rust_virtgpu_bridge_handover()`. In any context but NMI.
pub(crate) fn handover_later() {
    // SAFETY: `queue_work()` may be called in any context but NMI. The callers are notifiers of
    // modules and of buses, initcalls and probes: tasks, when there are workqueues.
    unsafe { bindings::virtgpu_bridge_handover_later() };
}

/// Waits until the work of [`handover_later`] is done. May sleep. The caller holds neither the
/// console lock nor a lock of a device or of the driver.
pub(crate) fn finish_handover() {
    // SAFETY: `flush_work()` waits for work that may take the console lock, the locks of devices,
    // and the driver's mutexes. The caller, an initcall, holds none of them.
    unsafe { bindings::virtgpu_bridge_finish_handover() };
}

/// Queues a work item that calls `rust_virtgpu_bridge_poll_device()` after about 1 s. In any
/// context but NMI.
pub(crate) fn poll_device_later() {
    // SAFETY: `queue_delayed_work()` may be called in any context but NMI. The callers are a probe
    // and the work item itself.
    unsafe { bindings::virtgpu_bridge_poll_device_later() };
}

/// Waits until the work of [`poll_device_later`] is done, and ends it, even if it queues itself.
/// May sleep. The caller holds neither the console lock, nor a mutex of the driver, nor a lock of
/// DRM's.
#[cfg(MODULE)]
pub(crate) fn stop_polling_device() {
    // SAFETY: `cancel_delayed_work_sync()` waits for work that may take the console lock, the
    // driver's mutexes and locks of DRM. The callers, `remove()` and `shutdown()`, hold none of
    // them, but the device's lock, which that work does not take.
    unsafe { bindings::virtgpu_bridge_stop_polling_device() };
}
