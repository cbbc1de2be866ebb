// SPDX-License-Identifier: GPL-2.0

//! Whether the log is on the screen, by the rules in
//! [`firmware::consoles`](crate::firmware::consoles), and each of its lines once, though an early
//! console and a terminal have the same screen.
//!
//! The printk core enables the consoles that the command line names, or firmware if that names
//! none, and makes the one that was named last `/dev/console`. So the screen is named as well, and
//! then the other one again. A console that is not the last named prints the log from its start,
//! beside an early console that has shown it already. For that reason the screen counts as named
//! last while it is registered, and the other one from the arch_initcalls on, before serial ports
//! are found; unless there is another early console, which would go with ours. Then the screen is
//! cleared instead.

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
    device::screen,
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

/// What the screen's console is called.
const SCREEN: Console<'static> = Console {
    name: if cfg!(CONFIG_VT) { "tty" } else { "virtgpu" },
    index: 0,
};

/// Whether [`settle`] is to name another console than the screen.
static LATER: AtomicBool = AtomicBool::new(false);
/// Whether the early console keeps quiet, because the log is about to be printed from its start.
static MUTED: AtomicBool = AtomicBool::new(false);

/// What the command line says, and the console that is to be `/dev/console`, if it is not the
/// screen.
fn chosen() -> (Choice<'static>, Option<Console<'static>>) {
    let words = parameters::words();
    let words = words.filter_map(|word| word.strip_prefix("console="));
    let choice = choose(words, SCREEN.name, parameters::keeps_log_off());
    let last = match choice {
        Choice::Nobody => spcr::console(),
        Choice::Stub(last) | Choice::ScreenBefore(_, last) => last,
        Choice::Never | Choice::Screen | Choice::Others => None,
    };
    (choice, last)
}

/// Before the screen's console is registered, a GPU having been found: sees to it that the log is
/// on the screen, or says why not.
pub(crate) fn begin() {
    if let Some(word) = parameters::unknown_console() {
        pr_warn!("virtgpu_bridge.console={word}: not auto or never; taking auto\n");
    }
    let (choice, last) = chosen();
    let screen = match choice {
        Choice::Never => return pr_info!("the log is not on the screen: virtgpu_bridge.console=never\n"),
        Choice::Others => {
            return pr_info!(
                "the log is not on the screen: console= names others; add console={}{} to see it there\n",
                SCREEN.name,
                SCREEN.index
            )
        }
        // What the printk core does by itself.
        Choice::Nobody if last.is_none() => return,
        Choice::Screen => return,
        Choice::ScreenBefore(screen, _) => screen,
        Choice::Nobody | Choice::Stub(_) => {
            let who = match choice {
                Choice::Nobody => "only firmware names a console",
                _ => "console=hvc0 alone is what boot stubs say",
            };
            pr_info!("the log is on the screen as well: {who} (virtgpu_bridge.console=never keeps it off)\n");
            SCREEN
        }
    };
    let has_log = earlycon::is_enabled();
    let named_before = matches!(choice, Choice::ScreenBefore(..));
    if named_before && !has_log {
        return;
    }
    let can_be_named_again = last.is_some() || !named_before;
    if can_be_named_again && !(has_log && console::has_other_early_console()) {
        console::name(screen);
        LATER.store(last.is_some(), Ordering::Relaxed);
        return;
    }
    if !named_before {
        console::name(screen);
        if let Some(last) = last {
            console::name(last);
        }
    }
    MUTED.store(true, Ordering::Relaxed);
    console::locked(|| {
        screen::with_log(|log| {
            if log.catch_up() {
                log.clear();
            }
        })
    });
}

/// The screen's console is registered, if it is to be, and those of other drivers are not yet.
pub(crate) fn settle() {
    if LATER.swap(false, Ordering::Relaxed) {
        if let (_, Some(last)) = chosen() {
            console::name(last);
        }
    }
    MUTED.store(false, Ordering::Relaxed);
    let keeps = parameters::words().any(|word| word == "keep_bootcon");
    if has_terminal() && !keeps {
        earlycon::unregister();
    }
}

/// Whether a virtual terminal prints the log.
fn has_terminal() -> bool {
    #[cfg(CONFIG_VT)]
    return console::terminal_is_at().is_some();
    #[cfg(not(CONFIG_VT))]
    return false;
}

/// Whether somebody else shows what the early console is told to.
pub(crate) fn are_others_on_screen() -> bool {
    MUTED.load(Ordering::Relaxed) || nbcon::has_screen() || has_terminal()
}
