// SPDX-License-Identifier: GPL-2.0

//! Preferred consoles: decides by the rules in [`firmware::consoles`](crate::firmware::consoles)
//! whether the log is on the screen, and keeps each line from being shown twice, although an early
//! console and a terminal share the screen.
//!
//! The printk core enables the consoles that the command line names, or firmware if the command
//! line names none. The last preferred one becomes `/dev/console`. So the screen is added, and then
//! the other console again. A console that is not the last one prints the log from its start, which
//! an early console has already shown. For that reason the screen is the last one while it is
//! registered, and the other console is added in the `arch_initcall`, before serial ports are
//! found. Another early console would be unregistered together with the driver's; if there is one,
//! the screen is cleared instead.

use kernel::{
    pr_info,
    pr_warn,
    sync::atomic::{
        AtomicFlag,
        Relaxed, //
    }, //
};

use crate::{
    console::nbcon,
    device::active,
    firmware::consoles::{
        choose,
        Choice,
        Console, //
    },
    linux::{
        console,
        earlycon,
        parameters,
        spcr, //
    }, //
};

/// The console on the screen.
const SCREEN: Console<'static> = Console {
    name: if cfg!(CONFIG_VT) { "tty" } else { "virtgpu" },
    index: 0,
};

/// Set if [`finish`] is to add another console than the screen.
static ADDS_LATER: AtomicFlag = AtomicFlag::new(false);
/// Set while the early console is muted, because another console is about to print the log from its
/// start.
static IS_MUTED: AtomicFlag = AtomicFlag::new(false);

/// Returns the choice of the command line, and the console that is to be `/dev/console`, if that is
/// not the screen.
fn choice() -> (Choice<'static>, Option<Console<'static>>) {
    let words = parameters::words();
    let words = words.filter_map(|word| word.strip_prefix("console="));
    let choice = choose(words, SCREEN.name, parameters::console_is_never());
    let last = match choice {
        Choice::Unspecified => spcr::console(),
        Choice::Stub(last) | Choice::ScreenBefore(_, last) => last,
        Choice::Never | Choice::Screen | Choice::Others => None,
    };
    (choice, last)
}

/// Adds the screen as a preferred console, or logs why not. Called when a GPU was discovered,
/// before the screen's console is registered.
pub(crate) fn start() {
    if let Some(word) = parameters::unknown_console() {
        pr_warn!("virtgpu_bridge.console={word}: not auto or never; taking auto\n");
    }
    let (choice, last) = choice();
    let screen = match choice {
        Choice::Never => {
            return pr_info!("the log is not on the screen: virtgpu_bridge.console=never\n")
        }
        Choice::Others => {
            return pr_info!(
                "the log is not on the screen: console= names others; add console={}{} to see it there\n",
                SCREEN.name,
                SCREEN.index
            )
        }
        // The printk core prefers the screen without help.
        Choice::Unspecified if last.is_none() => return,
        Choice::Screen => return,
        Choice::ScreenBefore(screen, _) => screen,
        Choice::Unspecified | Choice::Stub(_) => {
            let reason = match choice {
                Choice::Unspecified => "only firmware names a console",
                _ => "console=hvc0 alone is what boot stubs say",
            };
            pr_info!("the log is on the screen as well: {reason} (virtgpu_bridge.console=never keeps it off)\n");
            SCREEN
        }
    };
    let has_log = earlycon::is_enabled();
    let is_named = matches!(choice, Choice::ScreenBefore(..));
    if is_named && !has_log {
        return;
    }
    let can_add_later = last.is_some() || !is_named;
    if can_add_later && !(has_log && earlycon::has_other()) {
        console::add_preferred(screen);
        ADDS_LATER.store(last.is_some(), Relaxed);
        return;
    }
    if !is_named {
        console::add_preferred(screen);
        if let Some(last) = last {
            console::add_preferred(last);
        }
    }
    IS_MUTED.store(true, Relaxed);
    console::locked(|_| {
        active::with_log(|log| {
            if log.mark_vt_synced() {
                log.clear();
            }
        })
    });
}

/// Adds the other console, and unregisters the early console if a terminal prints the log. Called
/// when the screen's console is registered, and those of other drivers are not yet.
pub(crate) fn finish() {
    if ADDS_LATER.xchg(false, Relaxed) {
        if let (_, Some(last)) = choice() {
            console::add_preferred(last);
        }
    }
    IS_MUTED.store(false, Relaxed);
    let keeps = parameters::words().any(|word| word == "keep_bootcon");
    if has_terminal() && !keeps {
        earlycon::unregister();
    }
}

/// Returns whether a virtual terminal prints the log.
fn has_terminal() -> bool {
    #[cfg(CONFIG_VT)]
    return console::tty_seq().is_some();
    #[cfg(not(CONFIG_VT))]
    return false;
}

/// Returns whether another console shows, or is about to show, the text of the early console.
pub(crate) fn earlycon_is_muted() -> bool {
    IS_MUTED.load(Relaxed) || nbcon::has_screen() || has_terminal()
}
