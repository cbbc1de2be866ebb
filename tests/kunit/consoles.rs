// SPDX-License-Identifier: GPL-2.0

//! Tests of the consoles and levels that the command line and ACPI's SPCR name.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_consoles))]
mod consoles {
    use crate::firmware::consoles::{
        choose,
        console_loglevel,
        spcr_console,
        Choice,
        Console, //
    };

    /// `CONFIG_CONSOLE_LOGLEVEL_QUIET`, as its default is.
    const QUIET: i32 = 4;

    fn console(name: &'static str, index: i16) -> Option<Console<'static>> {
        Some(Console { name, index })
    }

    /// Returns the choice for these consoles, in a kernel with virtual terminals.
    fn chosen(consoles: &'static str) -> Choice<'static> {
        choose(consoles.split_ascii_whitespace(), "tty", false)
    }

    #[test]
    fn a_console_has_a_name_and_a_number() {
        let read = Console::parse;
        assert_eq!(read("tty0"), console("tty", 0));
        assert_eq!(read("ttyAMA1,115200n8"), console("ttyAMA", 1));
        assert_eq!(read("hvc0"), console("hvc", 0));
        // The printk core completes them like this.
        assert_eq!(read("tty"), console("tty", 0));
        assert_eq!(read("1,9600"), console("ttyS", 1));
        // The printk core reads no more than the number.
        assert_eq!(read("tty2x"), console("tty", 2));
        // No console, and the name of a device.
        for word in ["", ",", "null", "null,x", "00:00.0:0", "ttyS99999"] {
            assert_eq!(read(word), None);
        }
    }

    #[test]
    fn the_screen_shows_the_log_by_default() {
        assert_eq!(chosen(""), Choice::Unspecified);
        assert_eq!(chosen("hvc0"), Choice::Stub(console("hvc", 0)));
        assert_eq!(chosen("hvc0 hvc1"), Choice::Stub(console("hvc", 1)));
        // The driver's own name, in a kernel with virtual terminals.
        assert_eq!(chosen("virtgpu0"), Choice::Stub(None));
        assert_eq!(chosen("virtgpu hvc0"), Choice::Stub(console("hvc", 0)));
    }

    #[test]
    fn the_user_decides_which_console_has_the_log() {
        for others in [
            "ttyAMA0",
            "hvc0 ttyAMA0",
            "ttyS0,115200 hvc0",
            "null",
            "hvc0 null",
        ] {
            assert_eq!(chosen(others), Choice::Others);
        }
        assert_eq!(chosen("tty0"), Choice::Screen);
        assert_eq!(chosen("ttyAMA0 tty0"), Choice::Screen);
        assert_eq!(chosen("tty0 ttyAMA0 tty0"), Choice::Screen);
        let tty = |index| Console { name: "tty", index };
        let serial = console("ttyAMA", 0);
        assert_eq!(chosen("tty0 ttyAMA0"), Choice::ScreenBefore(tty(0), serial));
        assert_eq!(
            chosen("tty1 hvc0,x ttyAMA0,9600"),
            Choice::ScreenBefore(tty(1), serial)
        );
        // The preferred name cannot be added again.
        assert_eq!(chosen("tty0 00:00.0:0"), Choice::ScreenBefore(tty(0), None));
    }

    #[test]
    fn the_screen_has_another_name_without_virtual_terminals() {
        let chosen = |words: &'static str| choose(words.split_ascii_whitespace(), "virtgpu", false);
        assert_eq!(chosen("virtgpu0"), Choice::Screen);
        assert_eq!(chosen("virtgpu"), Choice::Screen);
        assert_eq!(chosen("tty0"), Choice::Others);
        assert_eq!(chosen("hvc0"), Choice::Stub(console("hvc", 0)));
    }

    #[test]
    fn never_disables_the_default_only() {
        let chosen = |words: &'static str| choose(words.split_ascii_whitespace(), "tty", true);
        assert_eq!(chosen(""), Choice::Never);
        assert_eq!(chosen("hvc0"), Choice::Never);
        assert_eq!(chosen("ttyAMA0"), Choice::Never);
        assert_eq!(chosen("tty0"), Choice::Screen);
        assert!(matches!(chosen("tty0 hvc0"), Choice::ScreenBefore(..)));
    }

    #[test]
    fn the_last_level_on_the_line_is_used() {
        let level = |words: &'static str| console_loglevel(words.split_ascii_whitespace(), QUIET);
        assert_eq!(level("earlycon=virtgpu console=tty0"), None);
        assert_eq!(level("quiet"), Some(QUIET));
        assert_eq!(level("quiet loglevel=7"), Some(7));
        assert_eq!(level("loglevel=7 quiet"), Some(QUIET));
        assert_eq!(level("debug"), Some(10));
        // All levels, wherever that is on the line.
        assert_eq!(level("ignore_loglevel quiet"), Some(15));
        // A value that is no number is ignored.
        assert_eq!(level("quiet loglevel=x"), Some(QUIET));
        assert_eq!(level("loglevel="), None);
        assert_eq!(level("quietly"), None);
    }

    #[test]
    fn firmware_names_its_serial_port() {
        // QEMU makes this for `-M virt`: revision 2, a PL011, 9600 baud.
        let mut table = [0; 80];
        table[8] = 2;
        table[36] = 3;
        table[58] = 3;
        assert_eq!(spcr_console(&table), console("pl011", 0));
        let with = |at: usize, byte: u8| {
            let mut changed = table;
            changed[at] = byte;
            spcr_console(&changed)
        };
        // The interfaces and the speeds that Linux knows, as in `acpi_parse_spcr()`.
        for interface in 0..=u8::MAX {
            let name = match interface {
                0x00 | 0x01 | 0x05 | 0x12 => Some("uart"),
                0x03 | 0x0d | 0x0e | 0x10 => Some("pl011"),
                _ => None,
            };
            let expected = name.and_then(|name| console(name, 0));
            assert_eq!(with(36, interface), expected);
        }
        for speed in 0..=u8::MAX {
            let is_known = matches!(speed, 0 | 3 | 4 | 6 | 7);
            assert_eq!(with(58, speed).is_some(), is_known);
        }
        // A truncated table.
        for length in 0..59 {
            assert_eq!(spcr_console(&table[..length]), None);
        }
    }

    #[test]
    fn a_late_revision_has_any_speed() {
        let mut table = [0; 84];
        table[36] = 3;
        table[58] = 1;
        table[80] = 1;
        assert_eq!(spcr_console(&table), None);
        table[8] = 4;
        assert_eq!(spcr_console(&table), console("pl011", 0));
        table[80] = 0;
        assert_eq!(spcr_console(&table), None);
        assert_eq!(spcr_console(&table[..83]), None);
    }
}
