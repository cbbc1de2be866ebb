// SPDX-License-Identifier: GPL-2.0

//! What the command line says of consoles and levels, wherever it says so.
//!
//! **Whether the log is on the screen** is decided by these rules, the first that applies:
//!
//! | the command line | the log is on the screen |
//! |---|---|
//! | `console=tty0` or another terminal | yes: the user has said so, and in which order |
//! | `virtgpu_bridge.console=never` | no |
//! | no `console=` | yes, beside what firmware names (ACPI's SPCR, a devicetree's stdout-path) |
//! | nothing but `console=hvc0` (or hvc1 ..), or our own `console=virtgpu` | yes: boot stubs and tools that start virtual machines add `hvc0` by themselves, for machines that need not have one |
//! | any other `console=` | no: somebody wants the log there, and there alone |
//!
//! What is named last, or by firmware, stays `/dev/console`.

use core::str;

/// A console as the printk core knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Console<'a> {
    /// Its name without the number, such as "ttyAMA".
    pub(crate) name: &'a str,
    /// Its number.
    pub(crate) index: i16,
}

impl<'a> Console<'a> {
    /// Reads what follows `console=`: a name, a number and options behind a comma. A number alone
    /// is a serial port's. None of what the printk core finds by the name of a device, or of no
    /// console.
    pub(crate) fn parse(word: &'a str) -> Option<Self> {
        let word = word.split(',').next().unwrap_or_default();
        if word.is_empty() || word == "null" || word.contains(':') {
            return None;
        }
        let digits = word
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(word.len());
        let (name, number) = word.split_at(digits);
        let number = number
            .find(|c: char| !c.is_ascii_digit())
            .map_or(number, |end| &number[..end]);
        let index = match number {
            "" => 0,
            number => number.parse().ok()?,
        };
        let name = if name.is_empty() { "ttyS" } else { name };
        Some(Self { name, index })
    }
}

/// What becomes of the log and the screen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Choice<'a> {
    /// A parameter keeps it off.
    Never,
    /// Nobody names a console.
    Nobody,
    /// What is named is what boot stubs name; the last of them, if it is not the screen.
    Stub(Option<Console<'a>>),
    /// The screen is named last.
    Screen,
    /// The screen is named, and then another console, if that has a name and a number.
    ScreenBefore(Console<'a>, Option<Console<'a>>),
    /// Other consoles are named.
    Others,
}

/// Chooses, by the words that follow each `console=` and the name that the screen's console has:
/// "tty", or "virtgpu" where there are no terminals. `never` is what the parameter says.
pub(crate) fn choose<'a>(
    words: impl Iterator<Item = &'a str> + Clone,
    screen: &str,
    never: bool,
) -> Choice<'a> {
    let mut consoles = words.map(Console::parse);
    let Some(last) = consoles.clone().last() else {
        return if never { Choice::Never } else { Choice::Nobody };
    };
    let named = consoles.clone().flatten().filter(|it| it.name == screen);
    match (named.last(), last) {
        (Some(named), Some(last)) if named == last => return Choice::Screen,
        (Some(named), last) => return Choice::ScreenBefore(named, last),
        (None, _) if never => return Choice::Never,
        (None, _) => {}
    }
    match consoles.all(|it| it.is_some_and(|it| ["hvc", "virtgpu"].contains(&it.name))) {
        true => Choice::Stub(last.filter(|it| it.name == "hvc")),
        false => Choice::Others,
    }
}

/// Which messages consoles print, as the command line says by `quiet`, `debug`, `loglevel=` and
/// `ignore_loglevel`: those of a lower level. None if it says nothing. Of the first three the last
/// one counts. `quiet` is the level of a quiet kernel, `CONFIG_CONSOLE_LOGLEVEL_QUIET`.
pub(crate) fn level<'a>(words: impl Iterator<Item = &'a str>, quiet: i32) -> Option<i32> {
    /// `CONSOLE_LOGLEVEL_DEBUG` in `include/linux/printk.h`.
    const DEBUG: i32 = 10;
    /// `CONSOLE_LOGLEVEL_MOTORMOUTH` there.
    const ALL: i32 = 15;

    let (mut level, mut all) = (None, false);
    for word in words {
        match word {
            "quiet" => level = Some(quiet),
            "debug" => level = Some(DEBUG),
            "ignore_loglevel" => all = true,
            _ => {
                if let Some(number) = word.strip_prefix("loglevel=") {
                    level = number.parse().ok().or(level);
                }
            }
        }
    }
    if all {
        Some(ALL)
    } else {
        level
    }
}

/// The console that ACPI's SPCR names, out of the bytes of that table ("Serial Port Console
/// Redirection Table", version 4): the name by which Linux looks for it. None if Linux takes no
/// console from it.
pub(crate) fn of_spcr(table: &[u8]) -> Option<Console<'static>> {
    const REVISION: usize = 8;
    const INTERFACE: usize = 36;
    const BAUD_RATE: usize = 58;
    const PRECISE_BAUD_RATE: usize = 80;

    let byte = |at: usize| table.get(at).copied();
    let name = match byte(INTERFACE)? {
        // 16550 and its like.
        0x00 | 0x01 | 0x05 | 0x12 => "uart",
        // pl011, SBSA's (32 bits and any), BCM2835.
        0x03 | 0x0d | 0x0e | 0x10 => "pl011",
        _ => return None,
    };
    let precise = table.get(PRECISE_BAUD_RATE..PRECISE_BAUD_RATE + 4);
    let is_precise = byte(REVISION)? >= 4 && precise.is_some_and(|rate| rate != [0; 4]);
    let is_known = is_precise || [0, 3, 4, 6, 7].contains(&byte(BAUD_RATE)?);
    is_known.then_some(Console { name, index: 0 })
}
