// SPDX-License-Identifier: GPL-2.0

//! The kernel's own files that the series changes, each at one place.

use anyhow::{Context, Result};

pub const KCONFIG: &str = "drivers/video/Kconfig";
pub const MAKEFILE: &str = "drivers/video/Makefile";
pub const MAINTAINERS: &str = "MAINTAINERS";
pub const INDEX: &str = "Documentation/admin-guide/index.rst";
pub const PARAMETERS: &str = "Documentation/admin-guide/kernel-parameters.txt";

/// All of them.
pub const FILES: &[&str] = &[KCONFIG, MAKEFILE, MAINTAINERS, INDEX, PARAMETERS];

/// Inserts lines before the line `at`, counted from 0.
fn insert(text: &str, at: usize, new: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.splice(at..at, new.lines());
    lines.join("\n") + "\n"
}

/// Adds a line to drivers/video/Kconfig: before its last `endmenu`.
///
/// # Errors
///
/// Fails if there is none.
pub fn kconfig(text: &str, line: &str) -> Result<String> {
    let at = text
        .lines()
        .collect::<Vec<_>>()
        .iter()
        .rposition(|line| *line == "endmenu");
    Ok(insert(
        text,
        at.context("no endmenu")?,
        &format!("{line}\n\n"),
    ))
}

/// Adds a line to the end of drivers/video/Makefile.
pub fn makefile(text: &str, line: &str) -> String {
    format!("{}\n{line}\n", text.trim_end())
}

/// Adds a section to MAINTAINERS, in the order of its titles.
///
/// # Errors
///
/// Fails if no section may follow.
pub fn maintainers(text: &str, section: &str) -> Result<String> {
    let title = section.lines().next().context("no title")?;
    let lines: Vec<&str> = text.lines().collect();
    let is_title = |at: usize| {
        at > 0
            && lines[at - 1].is_empty()
            && lines[at].starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit())
            && lines
                .get(at + 1)
                .is_some_and(|line| line.get(1..3) == Some(":\t"))
    };
    let titles: Vec<usize> = (0..lines.len()).filter(|at| is_title(*at)).collect();
    // Not all titles are in order: take the place that is most like ours.
    let in_common = |at: usize| {
        lines[at]
            .bytes()
            .zip(title.bytes())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let pair = titles
        .windows(2)
        .filter(|pair| lines[pair[0]] <= title && title < lines[pair[1]])
        .max_by_key(|pair| in_common(pair[0]).max(in_common(pair[1])));
    let at = pair.context("no place in MAINTAINERS")?[1];
    Ok(insert(text, at, &format!("{}\n\n", section.trim_end())))
}

/// Adds a page to the admin guide's index, among the guides for devices.
///
/// # Errors
///
/// Fails if there is no such list.
pub fn index(text: &str, page: &str) -> Result<String> {
    let lines: Vec<&str> = text.lines().collect();
    let title = lines
        .iter()
        .position(|line| *line == "Device-specific guides");
    let start = title.context("no guides for devices in the index")?;
    let mut last = None;
    for (at, line) in lines.iter().enumerate().skip(start) {
        match line.strip_prefix("   ") {
            Some(name) if !name.starts_with(':') => {
                if last.is_none() || name < page {
                    last = Some(at);
                }
            }
            _ if line.is_empty() && last.is_some() => break,
            _ => {}
        }
    }
    Ok(insert(
        text,
        last.context("the index is empty")? + 1,
        &format!("   {page}"),
    ))
}

/// Adds to kernel-parameters.txt: devices of `earlycon=` behind its last one, parameters in the
/// order of their names.
///
/// # Errors
///
/// Fails if `earlycon=`, or what has to follow, is not there.
pub fn parameters(text: &str, earlycon: &str, parameters: &str) -> Result<String> {
    let name = parameters
        .trim_start()
        .split(['=', '\t'])
        .next()
        .unwrap_or_default();
    let entries = |text: &str| -> Vec<(usize, String)> {
        let lines = text.lines().enumerate();
        let tops = lines.filter_map(|(at, line)| Some((at, line.strip_prefix('\t')?.to_owned())));
        tops.filter(|(_, line)| line.starts_with(|c: char| c.is_ascii_alphanumeric()))
            .collect()
    };
    let before = entries(text);
    let earlycon_at = before
        .iter()
        .position(|(_, line)| line.starts_with("earlycon="));
    let next = before.get(earlycon_at.context("no earlycon= among the parameters")? + 1);
    let text = insert(
        text,
        next.context("nothing after earlycon=")?.0,
        &format!("{}\n\n", earlycon.trim_end()),
    );
    // The list is not sorted throughout: take what begins in the same way.
    let after = entries(&text);
    let follows = after
        .iter()
        .find(|(_, line)| line[..4] == name[..4] && line.as_str() > name);
    let at = follows.with_context(|| format!("no place for {name}"))?.0;
    Ok(insert(&text, at, &format!("{}\n\n", parameters.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_to_their_places() {
        assert_eq!(
            kconfig("menu\na\n\nendmenu\n", "source").unwrap(),
            "menu\na\n\nsource\n\nendmenu\n"
        );
        assert!(kconfig("menu\n", "source").is_err());
        assert_eq!(makefile("a\n\n", "b"), "a\nb\n");
        let text = "Device-specific guides\n---\n\n.. toctree::\n   :maxdepth: 1\n\n   aoe\n   xfs\n\nMore\n";
        let with = text.replace("   aoe\n", "   aoe\n   bridge\n");
        assert_eq!(index(text, "bridge").unwrap(), with);
    }

    #[test]
    fn a_section_goes_where_its_like_are() {
        let section = |name: &str| format!("{name}\nM:\tA <a@b>\n\n");
        let text = |names: &[&str]| {
            format!(
                "List\n\n{}",
                names.iter().map(|name| section(name)).collect::<String>()
            )
        };
        let old = [
            "ADA",
            "VIRTIO CORE",
            "VIRTIO GPU DRIVER",
            "ZTE",
            "SOUND",
            "ZX",
        ];
        let new = [
            "ADA",
            "VIRTIO CORE",
            "VIRTIO GPU BOOT CONSOLE",
            "VIRTIO GPU DRIVER",
            "ZTE",
            "SOUND",
            "ZX",
        ];
        let added = maintainers(&text(&old), &section("VIRTIO GPU BOOT CONSOLE")).unwrap();
        assert_eq!(added.trim_end(), text(&new).trim_end());
    }

    #[test]
    fn parameters_go_behind_those_like_them() {
        let text = "\tearlycon=\t[KNL]\n\n\t\tefifb\n\n\tearlyprintk=\n\n\tvideo=\n\n\tvirtio_mmio.device=\n";
        let with = super::parameters(text, "\t\tours\n", "\tvirtgpu.a=\n\n\tvirtgpu.b=\n").unwrap();
        let wanted = "\tearlycon=\t[KNL]\n\n\t\tefifb\n\n\t\tours\n\n\tearlyprintk=\n\n\tvideo=\n\n\tvirtgpu.a=\n\n\tvirtgpu.b=\n\n\tvirtio_mmio.device=\n";
        assert_eq!(with, wanted);
    }
}
