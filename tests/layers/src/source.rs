// SPDX-License-Identifier: GPL-2.0

//! A source file, and what one line of it shows.

use crate::DRIVERS;

/// A source file of the driver.
pub struct Source {
    /// Its path below `drivers/`.
    pub path: String,
    text: String,
    /// The text without comments and strings, of the same lines.
    pub code: String,
}

impl Source {
    /// Takes the text of the file at `path`, below `drivers/`.
    pub fn new(path: &str, text: &str) -> Self {
        let code = text.lines().map(code_of).collect::<Vec<_>>().join("\n");
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    /// Returns the public items that have no documentation.
    pub fn undocumented(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut is_documented = false;
        let mut in_attribute = false;
        for (number, line) in (1..).zip(self.text.lines()) {
            let line = line.trim();
            if line.starts_with("///") {
                is_documented = true;
                continue;
            }
            // What a macro is given has its documentation where the macro is used.
            is_documented |= line == "$(#[$attr])*";
            if in_attribute || line.starts_with("#[") || line.starts_with("$(#[") {
                in_attribute = !line.ends_with(']') && !line.ends_with("])*");
                continue;
            }
            if line.starts_with("//") {
                continue;
            }
            let item = line
                .strip_prefix("pub(crate) ")
                .or(line.strip_prefix("pub "));
            // A module says in its own file what it is.
            let is_module = item.is_some_and(|item| {
                item.starts_with("use ") || item.starts_with("mod ") && item.ends_with(';')
            });
            if item.is_some() && !is_module && !is_documented {
                faults.push(format!(
                    "{DRIVERS}/{}:{number}: not documented: {line}",
                    self.path
                ));
            }
            is_documented = false;
        }
        faults
    }

    /// Returns where these names are identifiers.
    pub fn identifiers(&self, names: &[&str]) -> Vec<String> {
        let mut faults = Vec::new();
        for (number, line) in (1..).zip(self.code.lines()) {
            let mut found: Vec<_> = line
                .split(|char: char| !(char.is_alphanumeric() || char == '_'))
                .filter(|word| names.contains(word))
                .collect();
            found.dedup();
            for name in found {
                faults.push(format!(
                    "{DRIVERS}/{}:{number}: retired name: {name}",
                    self.path
                ));
            }
        }
        faults
    }
}

/// Returns a line without its comment and the contents of its strings.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if in_string => {
                chars.next();
            }
            '"' => {
                in_string = !in_string;
                code.push(char);
            }
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if !in_string => code.push(char),
            _ => {}
        }
    }
    code
}
