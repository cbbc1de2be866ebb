// SPDX-License-Identifier: GPL-2.0

//! What the driver's own files are changed into for a patch.

use crate::modules::{path_of, Module, Name};
use anyhow::{bail, ensure, Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::{collections::BTreeSet, ops::Range};
use syn::{spanned::Spanned, Item};

/// What the project's own tests switch on; the series has nothing that it guards.
pub const TEST_HOOKS: &str = "CONFIG_VIRTGPU_BRIDGE_CRASH_TEST";

/// Says, with a colon, which licence a file has.
pub const SPDX: &str = "SPDX-License-Identifier";

/// The module of the crate's root that has the KUnit tests.
const KUNIT: &str = "kunit";

/// What stands for the attribute that allows dead code, as long as modules are missing.
const ALLOW: &str = "// Most of it has no user yet: the next patches bring them.
#![allow(dead_code, unused_imports, unused_macros)]";

/// Removes what only the project's own tests need: items and statements below a `cfg` of
/// [`TEST_HOOKS`].
///
/// # Errors
///
/// Fails if the text is no Rust.
pub fn without_test_hooks(text: &str) -> Result<String> {
    if !text.contains(TEST_HOOKS) {
        return Ok(text.to_owned());
    }
    let tokens: TokenStream = text.parse().ok().context("no tokens")?;
    let mut lines = Vec::new();
    find_hooks(tokens, &mut lines);
    ensure!(!lines.is_empty(), "a use of {TEST_HOOKS} is no attribute");
    let text = without_lines(text, &lines);
    // Such a variable is written to by the hook alone.
    let mut parts = text.split("#[allow(unused_mut)]");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain += part.trim_start().replacen("let mut ", "let ", 1).as_str();
    }
    Ok(plain)
}

/// Finds the lines of everything that has an attribute which names [`TEST_HOOKS`].
fn find_hooks(tokens: TokenStream, lines: &mut Vec<Range<usize>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        let is_hook = is_attribute(&tokens, at) && tokens[at + 1].to_string().contains(TEST_HOOKS);
        if !is_hook {
            if let TokenTree::Group(group) = &tokens[at] {
                find_hooks(group.stream(), lines);
            }
            at += 1;
            continue;
        }
        let start = tokens[at].span().start().line;
        while is_attribute(&tokens, at) {
            at += 2;
        }
        // It ends with a semicolon, or, if it is no binding, with its first block.
        let is_binding = matches!(&tokens[at], TokenTree::Ident(word)
            if ["let", "static", "const", "use"].contains(&word.to_string().as_str()));
        while at + 1 < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(mark) if mark.as_char() == ';' => break,
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && !is_binding => {
                    break
                }
                _ => at += 1,
            }
        }
        lines.push(start..tokens[at].span().end().line + 1);
        at += 1;
    }
}

fn is_attribute(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == '#')
        && matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
            if group.delimiter() == Delimiter::Bracket)
}

/// Removes lines, counted from 1, and an empty line between two that are left.
fn without_lines(text: &str, lines: &[Range<usize>]) -> String {
    let mut left = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let is_second = line.is_empty() && (left.is_empty() || left.ends_with("\n\n"));
        let was_removed = lines.iter().any(|range| range.end <= number);
        if !lines.iter().any(|range| range.contains(&number)) && !(is_second && was_removed) {
            left += line;
            left.push('\n');
        }
    }
    left
}

fn lines_of(item: &impl Spanned) -> Range<usize> {
    let span = item.span();
    span.start().line..span.end().line + 1
}

/// The file of a module, without the declarations of modules that are not there.
///
/// # Errors
///
/// Fails if the text is no Rust.
pub fn module(name: &Name, module: &Module, is_there: &BTreeSet<Name>) -> Result<String> {
    if module.children.is_subset(is_there) {
        return Ok(module.text.clone());
    }
    let mut lines = Vec::new();
    for item in syn::parse_file(&module.text)?.items {
        let Item::Mod(child) = &item else { continue };
        let child = [&name[..], &[child.ident.to_string()]].concat();
        if module.children.contains(&child) && !is_there.contains(&child) {
            lines.push(lines_of(&item));
        }
    }
    Ok(without_lines(&module.text, &lines))
}

/// The crate's root. As long as modules are missing it does nothing; the tests' module is there if
/// `tests` says so.
///
/// # Errors
///
/// Fails if the root is not as this program knows it.
pub fn root(root: &Module, is_there: &BTreeSet<Name>, tests: bool) -> Result<String> {
    let is_complete = root.children.is_subset(is_there);
    let parsed = syn::parse_file(&root.text)?;
    let mut lines = Vec::new();
    for item in &parsed.items {
        let keeps = match item {
            Item::Mod(child) if path_of(&child.attrs).is_some() => {
                ensure!(
                    child.ident == KUNIT,
                    "the root has an unknown module {}",
                    child.ident
                );
                tests
            }
            Item::Mod(child) => is_there.contains(&vec![child.ident.to_string()]),
            Item::Use(_) | Item::Macro(_) => true,
            _ => is_complete,
        };
        if !keeps {
            lines.push(lines_of(item));
        }
    }
    let mut text = without_lines(&root.text, &lines);
    if let Some((before, after)) = text.split_once("#[path = \"../tests/kunit/mod.rs\"]") {
        text = format!("{before}#[path = \"tests/mod.rs\"]{after}");
    } else if tests {
        bail!("the root does not declare the tests");
    }
    if is_complete {
        return Ok(text);
    }
    let driver = text
        .split_once("type: ")
        .and_then(|(_, rest)| rest.split_once(','))
        .context("the root does not say which type the module has")?
        .0
        .to_owned();
    text = with_dead_code(&text)?;
    Ok(format!(
        "{}
/// The driver, which does nothing yet.
struct {driver};

impl kernel::Module for {driver} {{
    fn init(_module: &'static ThisModule) -> Result<Self> {{
        Ok(Self)
    }}
}}
",
        text.trim_end().to_owned() + "\n"
    ))
}

/// Allows dead code everywhere.
fn with_dead_code(text: &str) -> Result<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with("#![") && line.contains("dead_code"))
        .context("the root does not say where it allows dead code")?;
    let mut from = at;
    while from > 0 && lines[from - 1].starts_with("// ") && !lines[from - 1].contains("SPDX") {
        from -= 1;
    }
    lines.splice(from..=at, ALLOW.lines());
    Ok(lines.join("\n") + "\n")
}

/// The Makefile of the driver's folder, made of the project's Kbuild: for a driver within the
/// kernel's tree, without objects whose source is one of `missing`.
///
/// # Errors
///
/// Fails if Kbuild does not say where bitflags is.
pub fn makefile(kbuild: &str, missing: &BTreeSet<String>) -> Result<String> {
    let mut lines: Vec<String> = Vec::new();
    // Conditions that are open, the innermost last: whether what they hold is taken, if that is
    // known.
    let mut open: Vec<Option<bool>> = Vec::new();
    let mut found = false;
    let mut continues = false;
    for line in kbuild.lines() {
        if continues {
            continues = line.ends_with('\\');
            continue;
        }
        let outside = line.contains("$(KBUILD_EXTMOD)");
        if line.starts_with("if") {
            let taken = outside.then(|| line.starts_with("ifeq"));
            if taken == Some(false) {
                drop_comment(&mut lines);
            }
            open.push(taken);
            if outside {
                continue;
            }
        } else if line.starts_with("else") {
            if let Some(Some(taken)) = open.last_mut() {
                *taken = !*taken;
                continue;
            }
        } else if line.starts_with("endif") && open.pop().context("endif without if")?.is_some() {
            continue;
        }
        if open.contains(&Some(false)) || line.contains(TEST_HOOKS) {
            continue;
        }
        if line.starts_with("bitflags-src ") {
            drop_comment(&mut lines);
            lines.push("# The bitflags crate: this driver is its only user.".to_owned());
            lines.push("bitflags-src := $(srctree)/rust/bitflags/src/lib.rs".to_owned());
            (found, continues) = (true, line.ends_with('\\'));
            continue;
        }
        if line.is_empty() && lines.last().is_none_or(String::is_empty) {
            continue;
        }
        let is_object = |word: &&str| !missing.contains(&word.replace(".o", ".c"));
        let words = || {
            line.split(' ')
                .filter(is_object)
                .collect::<Vec<_>>()
                .join(" ")
        };
        lines.push(if line.contains("-y :=") {
            words()
        } else {
            line.to_owned()
        });
    }
    ensure!(found, "Kbuild does not say where bitflags is");
    Ok(lines.join("\n") + "\n")
}

fn drop_comment(lines: &mut Vec<String>) {
    while lines.last().is_some_and(|line| line.starts_with('#')) {
        lines.pop();
    }
}

/// The driver's Kconfig, without the options of the project's own tests, and of KUnit's if there
/// are none yet.
pub fn kconfig(text: &str, tests: bool) -> String {
    let mut keeps = true;
    let mut left = String::new();
    for line in text.lines() {
        if let Some(option) = line.strip_prefix("config ") {
            keeps =
                format!("CONFIG_{option}") != TEST_HOOKS && (tests || !option.contains("KUNIT"));
        }
        if keeps {
            left += line;
            left.push('\n');
        }
    }
    left.trim_end().to_owned() + "\n"
}

/// A file of the tests, which find their data beside them and as text.
pub fn test(text: &str) -> (String, Vec<String>) {
    let mut parts = text.split("include_bytes!(\"../data/");
    let mut changed = parts.next().unwrap_or_default().to_owned();
    let mut names = Vec::new();
    for part in parts {
        let (name, rest) = part.split_once('"').unwrap_or((part, ""));
        changed += &format!("include!(\"data/{name}.rs\"{rest}");
        names.push(name.to_owned());
    }
    (changed, names)
}

/// Bytes as the source of an array.
pub fn array(name: &str, bytes: &[u8]) -> String {
    let mut text = format!("// {SPDX}: GPL-2.0\n\n// {name}\n&[\n");
    for row in bytes.chunks(16) {
        let row: Vec<String> = row.iter().map(|byte| format!("{byte:#04x},")).collect();
        text += &format!("    {}\n", row.join(" "));
    }
    text + "]\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_of_tests_are_removed() {
        let text = "fn reset() -> bool {
    #[cfg(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST)]
    if crate::crash_test::refuses() {
        return false;
    }
    #[allow(unused_mut)]
    let mut done = true;
    #[cfg(all(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST, not(MODULE)))]
    {
        done &= crate::crash_test::stops();
    }
    #[cfg(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST)]
    crate::crash_test::in_paint();
    done
}

#[cfg(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST)]
#[path = \"../tests/crash_test/mod.rs\"]
mod crash_test;

struct Bridge;
";
        let without = "fn reset() -> bool {
    let done = true;
    done
}

struct Bridge;
";
        assert_eq!(without_test_hooks(text).unwrap(), without);
        assert_eq!(without_test_hooks(without).unwrap(), without);
        assert!(
            without_test_hooks("const NAME: &str = \"CONFIG_VIRTGPU_BRIDGE_CRASH_TEST\";").is_err()
        );
    }

    #[test]
    fn kbuild_becomes_a_makefile_of_the_tree() {
        let kbuild = "# Built outside of a kernel tree.
ifneq ($(KBUILD_EXTMOD),)
CONFIG_VIRTGPU_BRIDGE := m
else
inside := y
endif

bridge-y := crate.o linux/helpers.o linux/late.o
ifeq ($(CONFIG_VT),y)
ifeq ($(KBUILD_EXTMOD),)
vt := y
endif
bridge-$(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST) += ../tests/crash_test/hooks.o
endif

# Where it is.
bitflags-src := $(firstword $(BITFLAGS) \\
\tbuild/bitflags)
targets += x
";
        let makefile = "inside := y

bridge-y := crate.o linux/helpers.o
ifeq ($(CONFIG_VT),y)
vt := y
endif

# The bitflags crate: this driver is its only user.
bitflags-src := $(srctree)/rust/bitflags/src/lib.rs
targets += x
";
        let missing = BTreeSet::from(["linux/late.c".to_owned()]);
        assert_eq!(super::makefile(kbuild, &missing).unwrap(), makefile);
        assert!(super::makefile("targets += x\n", &missing).is_err());
    }

    #[test]
    fn options_of_tests_are_left_out() {
        let text = "# SPDX\n\nconfig A\n\tbool\n\nconfig A_KUNIT_TEST\n\tbool\n\nconfig VIRTGPU_BRIDGE_CRASH_TEST\n\tbool\n";
        assert_eq!(kconfig(text, false), "# SPDX\n\nconfig A\n\tbool\n");
        assert_eq!(
            kconfig(text, true),
            "# SPDX\n\nconfig A\n\tbool\n\nconfig A_KUNIT_TEST\n\tbool\n"
        );
    }

    #[test]
    fn data_become_arrays() {
        let (text, names) = test("static A: &[u8] = include_bytes!(\"../data/a.bin\");\n");
        assert_eq!(text, "static A: &[u8] = include!(\"data/a.bin.rs\");\n");
        assert_eq!(names, ["a.bin"]);
        assert!(array("a.bin", &[1, 0xff]).ends_with("// a.bin\n&[\n    0x01, 0xff,\n]\n"));
    }
}
