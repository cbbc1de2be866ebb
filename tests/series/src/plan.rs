// SPDX-License-Identifier: GPL-2.0

//! The list of patches.

use anyhow::{bail, ensure, Context, Result};
use std::{fs, path::Path};

/// A patch of the series.
pub struct Patch {
    /// The first line of the commit message.
    pub subject: String,
    /// The rest of the commit message.
    pub body: String,
    /// What the patch adds: paths below the project's top folder, or one of the words of
    /// [`Part`](crate::series::Part).
    pub adds: Vec<String>,
    /// The types of checkpatch's complaints that do not count here.
    pub ignores: Vec<String>,
}

/// Separates two patches.
const SEPARATOR: &str = "%%";

/// Reads the list of patches.
///
/// # Errors
///
/// Fails if a patch has an unknown field, no subject or no body, or ignores a complaint without a
/// reason.
pub fn read(file: &Path) -> Result<Vec<Patch>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut patches = Vec::new();
    let mut lines = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .peekable();
    while lines.peek().is_some() {
        let of_one: Vec<&str> = lines
            .by_ref()
            .take_while(|line| *line != SEPARATOR)
            .collect();
        patches.push(parse(&of_one)?);
    }
    Ok(patches)
}

fn parse(lines: &[&str]) -> Result<Patch> {
    let mut patch = Patch {
        subject: String::new(),
        body: String::new(),
        adds: Vec::new(),
        ignores: Vec::new(),
    };
    let mut rest = lines.iter().skip_while(|line| line.is_empty());
    for line in rest.by_ref().take_while(|line| !line.is_empty()) {
        let (field, value) = line
            .split_once(": ")
            .with_context(|| format!("no field: {line}"))?;
        match field {
            "Subject" => patch.subject = value.to_owned(),
            "Adds" => patch
                .adds
                .extend(value.split_whitespace().map(str::to_owned)),
            "Ignores" => {
                let (types, reason) = value.split_once(" -- ").unwrap_or((value, ""));
                ensure!(!reason.is_empty(), "no reason to ignore {types}");
                patch
                    .ignores
                    .extend(types.split_whitespace().map(str::to_owned));
            }
            _ => bail!("unknown field: {line}"),
        }
    }
    patch.body = rest
        .copied()
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned();
    ensure!(!patch.subject.is_empty(), "a patch has no subject");
    ensure!(!patch.body.is_empty(), "no description: {}", patch.subject);
    ensure!(!patch.adds.is_empty(), "adds nothing: {}", patch.subject);
    Ok(patch)
}
