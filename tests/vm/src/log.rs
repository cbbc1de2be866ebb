// SPDX-License-Identifier: GPL-2.0

//! The log that the serial port got, laid out as a console of a given width lays it out, and
//! compared with what a screen shows.

use crate::screen::{show, Cell, Screen};
use anyhow::{bail, ensure, Result};

/// What the kernel says first.
pub const FIRST_LINE: &str = "Booting Linux on physical CPU";

/// Returns the kernel's part of what the serial port got, from its first line on.
pub fn kernel_part(serial: &[u8]) -> &[u8] {
    let first = FIRST_LINE.as_bytes();
    let Some(at) = serial
        .windows(first.len())
        .rposition(|window| window == first)
    else {
        return &[];
    };
    // The line may follow the firmware's escape sequences; it begins with its time.
    let time = serial[..at]
        .iter()
        .rposition(|&byte| byte == b'[')
        .filter(|_| serial[..at].ends_with(b"] "));
    &serial[time.unwrap_or(at)..]
}

/// Returns the log without what a console begins again that another CPU took over in the middle of
/// a line.
pub fn without_replays(log: &[u8]) -> Vec<u8> {
    const REPLAYS: &[u8] = b"** replaying previous printk message **";

    let mut lines: Vec<&[u8]> = Vec::new();
    let mut replayed = false;
    for line in log.split_inclusive(|&byte| byte == b'\n') {
        match line.windows(REPLAYS.len()).position(|part| part == REPLAYS) {
            // The beginning of what follows is on the same line, or on the one before, if there was
            // any.
            Some(at) => replayed = at == 0,
            None => {
                let begins = |before: &&[u8]| line.starts_with(before.trim_ascii_end());
                if std::mem::take(&mut replayed) && lines.last().is_some_and(begins) {
                    lines.pop();
                }
                lines.push(line);
            }
        }
    }
    lines.concat()
}

/// What Linux says when a VT begins to print: most often tty0, the one that is seen.
const VT_BEGINS: [&[u8]; 2] = [b"console [tty0] enabled", b"console [tty1] enabled"];

/// Lays `log` out in rows of `columns` cells: newline, tab stops every 8 cells, and a wrap that
/// waits for the next character, so that a full row and a newline make one row. The VT prints a tab
/// as the glyph of that number.
pub fn lay_out(log: &[u8], columns: usize) -> Vec<Vec<u8>> {
    let vt = log
        .windows(VT_BEGINS[0].len())
        .position(|part| VT_BEGINS.contains(&part))
        .unwrap_or(log.len());
    lay_out_until(vt, log, columns)
}

/// As [`lay_out`], of a log that the VT prints from its start.
pub fn lay_out_of_vt(log: &[u8], columns: usize) -> Vec<Vec<u8>> {
    lay_out_until(0, log, columns)
}

/// As [`lay_out`], where the VT begins at `vt`.
fn lay_out_until(vt: usize, log: &[u8], columns: usize) -> Vec<Vec<u8>> {
    let mut rows = vec![Vec::new()];
    for (at, &byte) in log.iter().enumerate() {
        match byte {
            b'\r' => {}
            b'\n' => rows.push(Vec::new()),
            _ => {
                if rows.last().is_some_and(|row| row.len() == columns) {
                    rows.push(Vec::new());
                }
                if let Some(row) = rows.last_mut() {
                    match byte {
                        b'\t' if at < vt => row.resize(
                            ((row.len() / 8 + 1) * 8).min(columns - 1).max(row.len()),
                            b' ',
                        ),
                        _ => row.push(byte),
                    }
                }
            }
        }
    }
    while rows
        .last()
        .is_some_and(|row| row.iter().all(|&byte| byte == b' '))
    {
        rows.pop();
    }
    rows
}

/// Compares a screen with the end of `log`; gives the number of rows, all equal character for
/// character. A screen that scrolled may keep its last row free.
pub fn compare_tail(screen: &Screen, log: &[u8]) -> Result<usize> {
    let expected = lay_out(log, screen.columns);
    let written = screen.written();
    let least = expected.len().min(screen.rows.len() - 1);
    let count = written.len().clamp(least, expected.len().max(least));
    compare_rows(screen, &expected[expected.len() - count..])
}

/// Compares a screen with the beginning of `log`; the last line may be written in part only.
pub fn compare_head(screen: &Screen, log: &[u8]) -> Result<usize> {
    let mut expected = lay_out(log, screen.columns);
    expected.truncate(screen.written().len());
    ensure!(!expected.is_empty(), "nothing is on the screen");
    if let (Some(row), Some(seen)) = (expected.last_mut(), screen.written().last()) {
        let seen = seen
            .iter()
            .rposition(|&cell| cell != Some(b' '))
            .map_or(0, |last| last + 1);
        row.truncate(seen);
    }
    compare_rows(screen, &expected)
}

/// Compares a screen, from its first row on, with rows laid out; names the first row that differs.
pub fn compare_rows(screen: &Screen, expected: &[Vec<u8>]) -> Result<usize> {
    ensure!(
        !expected.is_empty(),
        "the serial port's log has not the kernel's first line"
    );
    let written = screen.written();
    let wanted = |row: &[u8]| -> Vec<Cell> {
        let blanks = std::iter::repeat(b' ').take(screen.columns - row.len());
        row.iter()
            .copied()
            .chain(blanks)
            .map(|byte| Some(screen.font.lookalike(byte)))
            .collect()
    };
    let blank = vec![Some(b' '); screen.columns];
    let mut differing = 0;
    let mut first = None;
    for at in 0..expected.len().max(written.len()) {
        let wanted = expected
            .get(at)
            .map_or_else(|| blank.clone(), |row| wanted(row));
        let seen = written.get(at).unwrap_or(&blank);
        if *seen != wanted {
            differing += 1;
            first.get_or_insert((at, wanted, seen));
        }
    }
    if let Some((at, wanted, seen)) = first {
        bail!(
            "{differing} of {} rows differ, first row {}:\n    expected |{}|\n    read     |{}|",
            expected.len(),
            at + 1,
            show(&wanted),
            show(seen)
        );
    }
    ensure!(
        screen.clean_edges,
        "the strip right of or below the text is not black"
    );
    Ok(expected.len())
}

/// Compares a screen whose text begins again at the top with the end of `log`: every row but the
/// few that are blank before the next one are of the last lines, in turn.
pub fn compare_ring(screen: &Screen, log: &[u8]) -> Result<usize> {
    let expected = lay_out(log, screen.columns);
    let mut rows: Vec<_> = screen.rows.iter().map(|row| show(row)).collect();
    let gap = rows
        .windows(2)
        .position(|pair| pair[0].is_empty() && !pair[1].is_empty());
    if let Some(gap) = gap {
        rows.rotate_left(gap + 1);
    }
    rows.retain(|row| !row.is_empty());
    let least = expected.len().min(screen.rows.len() - 3);
    ensure!(rows.len() >= least, "{} rows of {least}", rows.len());
    let expected = &expected[expected.len().saturating_sub(rows.len())..];
    for (seen, wanted) in rows.iter().zip(expected) {
        let wanted = String::from_utf8_lossy(wanted);
        ensure!(
            *seen == wanted.trim_end(),
            "a row is |{seen}|, not |{wanted}|"
        );
    }
    Ok(rows.len())
}

/// What is on the screen of a kernel that has died.
pub struct LogEnd {
    /// Rows of text.
    pub rows: usize,
    /// How many rows are left out in each gap.
    pub left_out: Vec<usize>,
}

/// Compares a screen with the end of the log of a kernel that died: nothing is missing but rows
/// that are counted, in their place.
pub fn compare_end(screen: &Screen, log: &[u8]) -> Result<LogEnd> {
    let mut rows = lay_out_until(log.len(), log, screen.columns);
    let gap = |row: &[Cell]| -> Option<usize> {
        let text = show(row);
        text.strip_prefix("... ")?
            .strip_suffix(" rows left out ...")?
            .parse()
            .ok()
    };
    let gaps: Vec<_> = screen.written().iter().map(|row| gap(row)).collect();
    let shown: usize = gaps.iter().map(|gap| gap.unwrap_or(1)).sum();
    ensure!(
        shown <= rows.len(),
        "{shown} rows of {} are said to be shown, or left out",
        rows.len()
    );
    ensure!(
        shown == rows.len() || screen.written().len() + 1 >= screen.rows.len(),
        "the screen has room for more than {} rows",
        screen.written().len()
    );
    let mut rest = rows.split_off(rows.len() - shown).into_iter();
    let mut expected = Vec::new();
    for gap in &gaps {
        match gap {
            None => expected.extend(rest.next()),
            Some(count) => {
                rest.by_ref().take(*count).for_each(drop);
                expected.push(format!("... {count} rows left out ...").into_bytes());
            }
        }
    }
    let rows = compare_rows(screen, &expected)?;
    let left_out = gaps.into_iter().flatten().collect::<Vec<_>>();
    Ok(LogEnd {
        rows: rows - left_out.len(),
        left_out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::tests::{paint, read};

    fn rows(log: &str, columns: usize) -> Vec<String> {
        lay_out(log.as_bytes(), columns)
            .iter()
            .map(|row| String::from_utf8_lossy(row).into_owned())
            .collect()
    }

    #[test]
    fn wraps_when_the_next_character_comes() {
        assert_eq!(rows("12345\r\n1234567\r\n", 5), ["12345", "12345", "67"]);
        assert_eq!(rows("12345", 5), ["12345"]);
        assert_eq!(rows("a\n\nb\n\n", 5), ["a", "", "b"]);
    }

    #[test]
    fn tabs_stop_at_every_eighth_cell_and_at_the_last() {
        assert_eq!(rows("a\tb\t\tc", 20), ["a       b          c"]);
        assert_eq!(rows("12345678\t|", 20), ["12345678        |"]);
    }

    #[test]
    fn the_kernels_part_begins_with_its_first_line() {
        let log = b"UEFI firmware\r\nEFI stub: hello\r\n\x1b[01;01H[    0.000000] Booting Linux on physical CPU 0x0\r\nmore";
        assert!(kernel_part(log).starts_with(b"[    0.000000] Booting"));
        assert!(
            kernel_part(b"\x1b[01;01HBooting Linux on physical CPU 0x0\r\n")
                .starts_with(b"Booting")
        );
        assert_eq!(kernel_part(b"UEFI firmware"), b"");
    }

    #[test]
    fn what_is_replayed_is_said_once() {
        let replays = "** replaying previous printk message **\n";
        let log = format!("one\ntwo\n{replays}two\nthree\nfo{replays}four\n");
        let said = without_replays(log.as_bytes());
        assert_eq!(String::from_utf8_lossy(&said), "one\ntwo\nthree\nfour\n");
        // Nothing of it was said before.
        let log = format!("one\n{replays}two\n");
        assert_eq!(without_replays(log.as_bytes()), b"one\ntwo\n");
    }

    #[test]
    fn a_short_log_is_compared_from_the_top() {
        let screen = read(&paint(&[b"one", b"two"]));
        assert_eq!(compare_tail(&screen, b"one\r\ntwo\r\n").unwrap(), 2);
        assert!(compare_tail(&screen, b"two\r\n").is_err());
        assert!(compare_tail(&screen, b"one\r\ntwo\r\nlost\r\n").is_err());
    }

    #[test]
    fn a_long_log_is_compared_from_its_end() {
        let log = b"zero\r\none\r\ntwo\r\nthree\r\n";
        assert_eq!(
            compare_tail(&read(&paint(&[b"two", b"three"])), log).unwrap(),
            2
        );
        assert_eq!(
            compare_tail(&read(&paint(&[b"one", b"two", b"three"])), log).unwrap(),
            3
        );
        assert!(compare_tail(&read(&paint(&[b"three"])), log).is_err());
        assert!(compare_tail(&read(&paint(&[b"zero", b"one", b"two"])), log).is_err());
        assert!(compare_tail(&read(&paint(&[])), log).is_err());
    }

    #[test]
    fn a_wrong_character_is_named() {
        let error = compare_tail(&read(&paint(&[b"two", b"thr3e"])), b"two\nthree\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("|three|") && error.contains("|thr3e|") && error.contains("row 2"),
            "{error}"
        );
    }

    #[test]
    fn lookalikes_are_equal_and_others_are_not() {
        assert!(compare_tail(&read(&paint(&[b"a\xffb"])), b"a b\n").is_ok());
        assert!(compare_tail(&read(&paint(&[b"a\x80b"])), b"a\x80b\n").is_ok());
        assert!(compare_tail(&read(&paint(&[b"a\x81b"])), b"a\x80b\n").is_err());
    }

    #[test]
    fn an_ending_has_all_but_what_is_counted() {
        let screen = |lines: &[&[u8]]| crate::screen::tests::read_wide(lines);
        let log = b"zero\none\ntwo\nthree\nfour\n";
        let left_out = |lines: &[&[u8]]| compare_end(&screen(lines), log).map(|it| it.left_out);
        assert_eq!(left_out(&[b"three", b"four"]).unwrap(), Vec::<usize>::new());
        let one: &[u8] = b"... 2 rows left out ...";
        assert_eq!(left_out(&[b"one", one, b"four"]).unwrap(), vec![2]);
        assert!(left_out(&[b"zero", one, b"four"]).is_err());
        assert!(left_out(&[b"one", one, b"three"]).is_err());
        assert!(left_out(&[b"three"]).is_err());
        assert!(left_out(&[b"four"]).is_err());
    }

    #[test]
    fn the_head_may_end_inside_a_line() {
        let log = b"first line that wraps\nsecond\n";
        assert!(compare_head(&read(&paint(&[b"first line", b" that w"])), log).is_ok());
        assert!(compare_head(&read(&paint(&[b"first lin", b" that w"])), log).is_err());
        assert!(compare_head(&read(&paint(&[b"second"])), log).is_err());
    }

    #[test]
    fn the_vt_prints_tabs_from_where_it_begins() {
        let text = |rows: Vec<Vec<u8>>| -> Vec<String> {
            rows.iter()
                .map(|row| String::from_utf8_lossy(row).into_owned())
                .collect()
        };
        for begins in [
            "legacy console [tty0] enabled",
            "legacy console [tty1] enabled",
        ] {
            let log = format!("a\tb\n{begins}\nc\td\n");
            assert_eq!(
                text(lay_out(log.as_bytes(), 60)),
                ["a       b", begins, "c\td"]
            );
            assert_eq!(
                text(lay_out_of_vt(log.as_bytes(), 60)),
                ["a\tb", begins, "c\td"]
            );
        }
    }

    #[test]
    fn a_ring_is_read_from_its_gap_on() {
        // A screen of three rows, of which one is blank.
        let ring = |lines: &[&[u8]], log: &[u8]| compare_ring(&read(&paint(lines)), log);
        let log = b"one\ntwo\nthree\n";
        assert_eq!(ring(&[b"three", b"", b"two"], log).unwrap(), 2);
        assert_eq!(ring(&[b"one", b"two", b"three"], log).unwrap(), 3);
        assert!(ring(&[b"two", b"", b"three"], log).is_err());
        assert!(ring(&[b"thre", b"", b"two"], log).is_err());
    }
}
