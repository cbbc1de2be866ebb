// SPDX-License-Identifier: GPL-2.0

//! Starts, redraws and stops the consoles when a screen is found, changes or is lost.

use kernel::sync::atomic::{
    AtomicFlag,
    Relaxed, //
};

#[cfg(CONFIG_VT)]
use crate::console::vt;
use crate::{
    console::{
        framebuffer,
        nbcon,
        preferred, //
    },
    device::{
        active::{
            self,
            Observer, //
        },
        boot_picture, //
    },
    linux::console::Locked, //
};

/// Set if an early console has shown the log from its start.
static EARLYCON_HAS_LOG: AtomicFlag = AtomicFlag::new(false);

/// The observer of the device, which acts for all consoles.
struct Consoles;

/// Discovers a screen, if there is none yet, and starts the consoles on it. Called by the
/// `console_initcall`.
pub(crate) fn init() {
    active::set_observer(&Consoles);
    EARLYCON_HAS_LOG.store(active::is_discovered(), Relaxed);
    let has_gpu = active::is_discovered() || active::discover(boot_picture::handoff);
    if has_gpu {
        preferred::start();
    }
    if active::is_discovered() {
        nbcon::start(EARLYCON_HAS_LOG.load(Relaxed));
        #[cfg(CONFIG_VT)]
        vt::init();
    }
}

impl Observer for Consoles {
    fn started(&self) {
        nbcon::start(EARLYCON_HAS_LOG.load(Relaxed));
        framebuffer::redraw();
    }

    fn redraw(&self) {
        framebuffer::stop_drawing();
        nbcon::redraw();
        #[cfg(CONFIG_VT)]
        vt::redraw();
        framebuffer::redraw();
    }

    fn displays_changed(&self) {
        framebuffer::displays_changed();
    }

    fn polled(&self) {
        #[cfg(CONFIG_VT)]
        vt::return_to_graphics();
    }

    fn save(&self, _lock: &Locked) {
        #[cfg(CONFIG_VT)]
        vt::save_foreground(_lock);
    }

    fn released(&self) {
        #[cfg(CONFIG_VT)]
        vt::released();
    }

    fn stopped(&self) {
        nbcon::stop();
    }
}
