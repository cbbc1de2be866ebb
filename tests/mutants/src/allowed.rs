// SPDX-License-Identifier: GPL-2.0

//! The list of faults without an effect: each is a paragraph of the file with the line's text, the
//! change and the reason, in this order. Lines that begin with `#` are comments.

use crate::fault::Fault;
use anyhow::{ensure, Context, Result};

/// A fault that is known to have no effect.
#[derive(Debug, PartialEq)]
pub struct Allowed {
    file: String,
    text: String,
    change: String,
    /// The reason why it has no effect.
    pub reason: String,
}

impl Allowed {
    /// Returns whether it is this fault; the line number may differ.
    pub fn is(&self, fault: &Fault) -> bool {
        self.file == fault.file && self.text == fault.text && self.change == fault.change
    }

    /// Returns the name for messages.
    pub fn name(&self) -> String {
        format!("{}: {} ({})", self.file, self.text, self.change)
    }
}

/// Parses the list.
pub fn read(list: &str) -> Result<Vec<Allowed>> {
    let lines: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.trim().is_empty())
        .filter(|paragraph| !paragraph.is_empty())
        .map(|paragraph| {
            let mut lines = paragraph.iter().map(|line| line.trim().to_owned());
            let mut next = || {
                lines
                    .next()
                    .context("a paragraph has fewer than four lines")
            };
            let (file, text, change) = (next()?, next()?, next()?);
            let reason = lines.collect::<Vec<_>>().join(" ");
            ensure!(!reason.is_empty(), "{file}: {text}: no reason");
            Ok(Allowed {
                file,
                text,
                change,
                reason,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# A comment.\n\na.rs\n\tx + 1\n\t1 -> 2\n\tA reason\n\tof two lines.\n\n\
        b.rs\n\ty\n\tz -> nothing\n\tAnother one.\n";

    #[test]
    fn a_paragraph_is_a_fault() {
        let list = read(LIST).unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].reason, "A reason of two lines.");
        let source = "const A: u8 = x + 1;";
        let mut faults = crate::fault::all("a.rs", source).unwrap();
        faults
            .iter_mut()
            .for_each(|it| it.text = "x + 1".to_owned());
        let is: Vec<_> = faults.iter().filter(|it| list[0].is(it)).collect();
        assert!(is.len() == 1 && is[0].plant(source) == "const A: u8 = x + 2;");
        assert!(!faults.iter().any(|it| list[1].is(it)));
    }

    #[test]
    fn a_fault_without_a_reason_is_refused() {
        assert!(read("a.rs\n\tx\n\t1 -> 2\n").is_err());
        assert!(read("a.rs\n\tx\n").is_err());
    }
}
