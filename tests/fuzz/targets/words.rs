// SPDX-License-Identifier: GPL-2.0

//! Options of the user and of firmware in text: those of `earlycon=virtgpu`, the words of
//! `console=`, those that set a level; and ACPI's SPCR, which names a console as well.
//!
//! An input is a byte that selects one of these, and then the words, as on a command line.

use super::bytes::{
    is_a_line,
    Bytes, //
};
use crate::{
    firmware::{
        cmdline::DeviceAddress,
        consoles::{
            choose,
            console_loglevel,
            spcr_console,
            Choice,
            Console, //
        }, //
    },
    pci::Ecam, //
};

pub(super) fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    let kind = bytes.u8();
    let rest = bytes.0;
    match kind % 3 {
        0 => options(rest),
        1 => core::str::from_utf8(rest).is_ok_and(consoles),
        _ => spcr(rest),
    }
}

fn options(text: &[u8]) -> bool {
    let address = match DeviceAddress::parse(text) {
        Ok(address) => address,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    let DeviceAddress { ecam, function } = address;
    assert!(ecam % Ecam::BUS_BYTES == 0);
    assert!(function.device() < 32 && function.function() < 8);
    // The options, written as text, parse to the same options.
    let again = format!("pci,{ecam:#x},{function}");
    assert_eq!(DeviceAddress::parse(again.as_bytes()), Ok(address));
    true
}

fn consoles(line: &str) -> bool {
    let words = || {
        line.split(' ')
            .filter_map(|word| word.strip_prefix("console="))
    };
    let named = |console: &Console<'_>| {
        assert!(!console.name.is_empty() && console.index >= 0);
        // Each name is in the line, except for the default one.
        assert!(console.name == "ttyS" || line.contains(console.name));
    };
    words().filter_map(Console::parse).for_each(|it| named(&it));
    for screen in ["tty", "virtgpu"] {
        for never in [false, true] {
            match choose(words(), screen, never) {
                Choice::Never => assert!(never),
                Choice::Unspecified => assert!(!never && words().next().is_none()),
                Choice::Stub(console) => console.iter().for_each(named),
                Choice::Screen => {}
                Choice::ScreenBefore(it, last) => {
                    assert!(it.name == screen && last != Some(it));
                }
                Choice::Others => assert!(!never),
            }
        }
    }
    let level = console_loglevel(line.split(' '), 4);
    words().next().is_some() || level.is_some()
}

fn spcr(table: &[u8]) -> bool {
    let console = spcr_console(table);
    assert!(console.is_none_or(|it| ["uart", "pl011"].contains(&it.name) && it.index == 0));
    console.is_some()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let seed = |kind: u8, text: &[u8]| [&[kind], text].concat();
    let mut pl011 = [0; 90];
    (pl011[8], pl011[36], pl011[58]) = (4, 3, 7);
    let lines = [
        "console=tty0 console=ttyAMA0,115200n8 quiet",
        "console=hvc0",
        "console=tty1 debug console=hvc1",
        "console=virtgpu0 loglevel=7 ignore_loglevel",
        "console=0 console=null console=00:01.0:x",
        "console=ttyS2147483648 console=tty32768",
        "loglevel=-1",
    ];
    let options = ["pci,0x4010000000,00:01.0", "pci,ffffffff00000,ff:1f.7"];
    let lines = lines.iter().map(|line| seed(1, line.as_bytes()));
    let options = options.iter().map(|text| seed(0, text.as_bytes()));
    lines.chain(options).chain([seed(2, &pl011)]).collect()
}
