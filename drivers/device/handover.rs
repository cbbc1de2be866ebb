// SPDX-License-Identifier: GPL-2.0

//! The last stage: the native driver is there, gets the device, and we are silent. If it cannot use
//! the device, or goes, the screen is ours again.
//!
//! Linux' own driver binds to a virtio device, which is there only once virtio-pci or virtio-mmio
//! has the PCI function or the slot. So the device is released, the driver core finds them another
//! driver, and what became of it is seen on the virtio device.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};

use kernel::{
    pr_info,
    pr_warn, //
};

use crate::{
    console::nbcon,
    device::{
        bring_up::Refusal,
        screen::{
            self,
            Device, //
        }, //
    },
    linux::{
        holder,
        parameters,
        shared::{
            microseconds_since,
            ticks, //
        }, //
    }, //
};

/// The native driver is loaded.
static READY: AtomicBool = AtomicBool::new(false);
/// It does not want the device, or somebody has taken the device from it: it gets it when it, or
/// what makes a virtio device of ours, is loaded again.
static REFUSED: AtomicBool = AtomicBool::new(false);
/// What is due is being done.
static SETTLING: AtomicBool = AtomicBool::new(false);
/// The device is on its way to it.
static GIVING: AtomicBool = AtomicBool::new(false);
/// The device is with it, or on its way.
static AWAY: AtomicBool = AtomicBool::new(false);
/// The device is on its way back to us.
static TAKING: AtomicBool = AtomicBool::new(false);

/// The device cannot be reset, so that nobody else can use it.
static KEPT: AtomicBool = AtomicBool::new(false);

/// Whether a device that is offered to us is for the native driver: any while it gets ours, and
/// others once it has it.
pub(crate) fn is_for_native(device: Device) -> bool {
    GIVING.load(Ordering::Relaxed) || is_away() && !holder::is(device.as_device())
}

/// Whether the native driver is about to get the device.
pub(crate) fn is_giving() -> bool {
    GIVING.load(Ordering::Relaxed)
}

/// Whether a device that is offered to us is ours, on its way back.
pub(crate) fn is_coming_back(device: Device) -> bool {
    TAKING.load(Ordering::Relaxed) && holder::is(device.as_device())
}

/// The device that was on its way back to us cannot be used. Says so.
pub(crate) fn lost(device: Device, refusal: &Refusal) {
    TAKING.store(false, Ordering::Relaxed);
    pr_warn!(
        "{}: not ours again, the screen stays dark: {}\n",
        format_args!("{device}"),
        format_args!("{refusal}")
    );
}

/// Whether the native driver is there to get the device.
fn is_wanted() -> bool {
    READY.load(Ordering::Relaxed) && !REFUSED.load(Ordering::Relaxed)
}

fn is_away() -> bool {
    AWAY.load(Ordering::Relaxed)
}

/// The device is bound to us.
pub(crate) fn held(device: Device) {
    AWAY.store(false, Ordering::Relaxed);
    holder::keep(device);
    if is_wanted() && !SETTLING.load(Ordering::Relaxed) {
        holder::settle_later();
    }
}

/// The device is not bound to us any more; on whose wish, is for others to know.
pub(crate) fn released() {
    holder::released();
}

/// The device goes: what is found in its place later is another one.
pub(crate) fn gone() {
    AWAY.store(false, Ordering::Relaxed);
    REFUSED.store(false, Ordering::Relaxed);
}

/// The native driver was loaded.
pub(crate) fn native_is_ready() {
    READY.store(true, Ordering::Relaxed);
    transport_is_ready();
}

/// What makes virtio devices was loaded.
pub(crate) fn transport_is_ready() {
    REFUSED.store(false, Ordering::Relaxed);
    holder::settle_later();
}

/// The native driver is being unloaded.
pub(crate) fn native_is_gone() {
    READY.store(false, Ordering::Relaxed);
}

/// Gives the device away, or takes it back, if that is due. Called by one thread at a time.
pub(crate) fn settle() {
    SETTLING.store(true, Ordering::Relaxed);
    settle_what_is_due();
    SETTLING.store(false, Ordering::Relaxed);
}

fn settle_what_is_due() {
    if is_away() {
        // The native driver has lost it, or what made a virtio device of it has.
        if holder::is_orphan() || holder::is_free() {
            REFUSED.store(true, Ordering::Relaxed);
            if take_back() {
                pr_info!("the screen is ours again\n");
            }
        }
    } else if is_wanted() && holder::is_ours() {
        if parameters::hands_over() && !KEPT.load(Ordering::Relaxed) {
            give();
        }
    }
}

fn give() {
    let begun = ticks();
    if !screen::stop() {
        // Nor later: whoever resets it waits for ever, or finds it FAILED.
        KEPT.store(true, Ordering::Relaxed);
        pr_warn!(
            "the device stays ours: it does not finish a reset, which the native driver needs\n"
        );
        return;
    }
    AWAY.store(true, Ordering::Relaxed);
    GIVING.store(true, Ordering::Relaxed);
    holder::release();
    let found = holder::attach();
    GIVING.store(false, Ordering::Relaxed);
    if found && !holder::is_orphan() {
        screen::settled();
        nbcon::end();
        pr_info!(
            "handed over to the native driver, dark for {} us\n",
            microseconds_since(begun)
        );
        return;
    }
    REFUSED.store(found, Ordering::Relaxed);
    // One line is said in the end, where the screen stays dark.
    if take_back() {
        if found {
            pr_warn!("the native driver does not take the device\n");
        } else {
            pr_info!("there is no driver yet that makes a virtio device of ours\n");
        }
        pr_info!("the screen is ours again\n");
    }
    screen::settled();
}

/// Takes the device from whoever has it. Returns whether the screen is ours again; if it is not, a
/// line says why.
fn take_back() -> bool {
    holder::release();
    AWAY.store(false, Ordering::Relaxed);
    TAKING.store(true, Ordering::Relaxed);
    let ours = holder::attach() && holder::is_ours();
    // Unless `lost()` has said why.
    if TAKING.swap(false, Ordering::Relaxed) && !ours {
        pr_warn!("the device does not come back, the screen stays dark\n");
    }
    ours
}
