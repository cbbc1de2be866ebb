// SPDX-License-Identifier: GPL-2.0

//! The consoles and the log level on the kernel's command line, and the console of ACPI's SPCR.
//!
//! The first of these rules that applies decides **whether the log is on the screen**:
//!
//! 1. `console=tty0` or another virtual terminal: yes. The user asks for it, and chooses the order.
//! 2. `virtgpu_bridge.console=never`: no.
//! 3. No `console=`: yes, beside the console that firmware names (ACPI's SPCR, a devicetree's
//!    stdout-path).
//! 4. Only `console=hvc0` (or hvc1 ..), or our own `console=virtgpu`: yes. Boot stubs and tools
//!    that start virtual machines add `hvc0`, even for machines that do not have one.
//! 5. Any other `console=`: no. The user wants the log on that console alone.
//!
//! `/dev/console` stays the console that is named last, or by firmware.

use core::str;

/// A console, by its names in the printk core.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Console<'a> {
    /// The name without the number, such as "ttyAMA".
    pub(crate) name: &'a str,
    /// The number.
    pub(crate) index: i16,
}

impl<'a> Console<'a> {
    /// Parses the value of `console=`: a name, a number, and options after a comma. A number alone
    /// is a serial port, "ttyS". Returns [`None`] for a console that the printk core finds by a
    /// device name, and for no console (`null` or an empty value).
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

/// The decision whether the log is on the screen, and its reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Choice<'a> {
    /// No: `virtgpu_bridge.console=never`.
    Never,
    /// Yes: no console is named.
    Unspecified,
    /// Yes: only consoles are named that boot stubs add. The field is the last one, unless that is
    /// the screen.
    Stub(Option<Console<'a>>),
    /// Yes: the screen is named last.
    Screen,
    /// Yes: the screen is named, and after it another console, if that has a name and a number.
    ScreenBefore(Console<'a>, Option<Console<'a>>),
    /// No: other consoles are named.
    Others,
}

/// Applies the rules above to the values of all `console=`. `screen` is the name of the screen's
/// console: "tty", or "virtgpu" without virtual terminals. `never` is set for
/// `virtgpu_bridge.console=never`.
pub(crate) fn choose<'a>(
    words: impl Iterator<Item = &'a str> + Clone,
    screen: &str,
    never: bool,
) -> Choice<'a> {
    let mut consoles = words.map(Console::parse);
    let Some(last) = consoles.clone().last() else {
        return if never {
            Choice::Never
        } else {
            Choice::Unspecified
        };
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

/// Returns the console log level from `quiet`, `debug`, `loglevel=` and `ignore_loglevel`: consoles
/// print messages of a lower level. Returns [`None`] if there is none of these words.
/// `ignore_loglevel` overrides the others, of which the last one counts. `quiet` is the level for
/// the word `quiet`, `CONFIG_CONSOLE_LOGLEVEL_QUIET`.
pub(crate) fn console_loglevel<'a>(
    words: impl Iterator<Item = &'a str>,
    quiet: i32,
) -> Option<i32> {
    /// `CONSOLE_LOGLEVEL_DEBUG` of `include/linux/printk.h`.
    const DEBUG: i32 = 10;
    /// `CONSOLE_LOGLEVEL_MOTORMOUTH` of `include/linux/printk.h`.
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

/// Returns the console of ACPI's SPCR ("Serial Port Console Redirection Table", version 4), by the
/// name under which Linux looks for it. `table` is the whole table. Returns [`None`] if Linux takes
/// no console from it.
pub(crate) fn spcr_console(table: &[u8]) -> Option<Console<'static>> {
    const REVISION: usize = 8;
    const INTERFACE: usize = 36;
    const BAUD_RATE: usize = 58;
    const PRECISE_BAUD_RATE: usize = 80;

    let byte = |at: usize| table.get(at).copied();
    let name = match byte(INTERFACE)? {
        // 16550 and compatible ones.
        0x00 | 0x01 | 0x05 | 0x12 => "uart",
        // PL011, SBSA (32 bits and any width), BCM2835.
        0x03 | 0x0d | 0x0e | 0x10 => "pl011",
        _ => return None,
    };
    let precise = table.get(PRECISE_BAUD_RATE..PRECISE_BAUD_RATE + 4);
    let is_precise = byte(REVISION)? >= 4 && precise.is_some_and(|rate| rate != [0; 4]);
    let is_known = is_precise || [0, 3, 4, 6, 7].contains(&byte(BAUD_RATE)?);
    is_known.then_some(Console { name, index: 0 })
}
