// SPDX-License-Identifier: GPL-2.0

//! Checks the driver's sources, as a part of `make style`: that imports run from a layer to those
//! below it, that no files import each other in a circle, that public items are documented, and
//! that retired names do not come back. Prints each fault with its place, and fails if there is
//! one.

mod imports;
mod source;

use imports::Files;
use source::Source;
use std::{fs, io, path::Path, process::ExitCode};

/// Where the sources are.
const DRIVERS: &str = "drivers";

/// The layers, from the top down, and those that each may use. The crate's root may use all.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "console",
        &["device", "scanout", "text", "firmware", "linux"],
    ),
    (
        "device",
        &[
            "scanout", "text", "gpu", "virtio", "firmware", "pci", "linux",
        ],
    ),
    ("scanout", &["text", "gpu", "virtio"]),
    ("linux", &["text", "virtio", "firmware", "pci"]),
    ("gpu", &["virtio"]),
    ("firmware", &["pci"]),
    ("pci", &[]),
    ("virtio", &[]),
    ("text", &[]),
];

/// Names that said nothing to a reader who knows virtio, DRM and printk, or that said several
/// things.
const RETIRED: &[&str] = &[
    "Agreement",
    "Bell",
    "Deeds",
    "Found",
    "Held",
    "Left",
    "Place",
    "Shows",
    "Way",
    "Wish",
    "doors",
    "due",
    "endings",
    "gone",
    "hang",
    "holder",
    "ink",
    "lent",
    "liar",
    "light",
    "lit",
    "look",
    "note",
    "quietly",
    "revive",
    "room",
    "rooms",
    "stage",
    "stages",
    "take_down",
    "told",
    "way",
];

fn main() -> ExitCode {
    match run() {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            faults.iter().for_each(|fault| println!("{fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("layers: {error}; run it in the project's folder");
            ExitCode::FAILURE
        }
    }
}

/// Returns all faults.
fn run() -> io::Result<Vec<String>> {
    let mut sources = Vec::new();
    read(Path::new(DRIVERS), &mut sources)?;
    let mut faults = Vec::new();
    for source in &sources {
        faults.extend(source.undocumented());
        faults.extend(source.identifiers(RETIRED));
    }
    // The UEFI driver is a crate of its own.
    sources.retain(|source| !source.path.starts_with("uefi/"));
    let files = Files::new(&sources);
    faults.extend(files.upward(LAYERS));
    faults.extend(files.circles());
    Ok(faults)
}

/// Reads all sources in a folder.
fn read(folder: &Path, sources: &mut Vec<Source>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(|entry| entry.path());
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            read(&path, sources)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let name = path.strip_prefix(DRIVERS).unwrap_or(&path);
            let text = fs::read_to_string(&path)?;
            sources.push(Source::new(&name.to_string_lossy(), &text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(sources: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> = sources
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        let files = Files::new(&sources);
        let mut faults = files.upward(LAYERS);
        faults.extend(files.circles());
        faults
    }

    #[test]
    fn an_import_of_a_higher_layer_is_a_fault() {
        let text = "use crate::{\n    console::nbcon,\n    text::Cell, //\n};\n";
        assert_eq!(
            faults(&[("linux/vc.rs", text), ("console/nbcon.rs", "")]),
            ["drivers/linux/vc.rs: linux must not use console (console/nbcon.rs)"]
        );
        // A path in the code counts, one in a comment does not.
        let text = "// crate::console::nbcon\nfn f() { crate::console::nbcon::stop(); }\n";
        assert_eq!(
            faults(&[("text/cell.rs", text), ("console/nbcon.rs", "")]),
            ["drivers/text/cell.rs: text must not use console (console/nbcon.rs)"]
        );
    }

    #[test]
    fn an_import_of_a_lower_layer_is_none() {
        let text = "use crate::device::active::{self, Observer as Other};\n";
        let sources = [("console/vt.rs", text), ("device/active.rs", "")];
        assert!(faults(&sources).is_empty());
    }

    #[test]
    fn files_that_import_each_other_are_a_circle_also_by_names_that_mod_rs_hands_on() {
        let sources = [
            ("pci/mod.rs", "pub(crate) use bars::{Allocator, Window};\n"),
            ("pci/bars.rs", "use super::walk::Path;\n"),
            ("pci/walk.rs", "use super::Allocator;\n"),
            ("pci/config.rs", "use super::bars::Window;\n"),
        ];
        assert_eq!(
            faults(&sources),
            ["circle of imports: drivers/pci/bars.rs, drivers/pci/walk.rs"]
        );
    }

    #[test]
    fn public_items_want_a_description() {
        let text = "/// Says what it is.\n#[inline]\npub(crate) fn f() {}\npub(crate) fn g() {}\n\
                    struct Private;\npub(crate) mod other;\npub(crate) use other::X;\n\
                    pub(crate) struct S {\n    /// One.\n    pub(crate) a: u8,\n    pub(crate) b: u8,\n}\n";
        let source = Source::new("text/cell.rs", text);
        assert_eq!(
            source.undocumented(),
            [
                "drivers/text/cell.rs:4: not documented: pub(crate) fn g() {}",
                "drivers/text/cell.rs:8: not documented: pub(crate) struct S {",
                "drivers/text/cell.rs:11: not documented: pub(crate) b: u8,",
            ]
        );
    }

    #[test]
    fn retired_names_are_found_in_code_alone() {
        let text = "// a way\nfn f() { \"look\"; let way = 1; let ways = way_of(); }\n";
        let source = Source::new("text/cell.rs", text);
        assert_eq!(
            source.identifiers(RETIRED),
            ["drivers/text/cell.rs:2: retired name: way"]
        );
    }
}
