// SPDX-License-Identifier: GPL-2.0

//! Which file imports which.

use crate::{source::Source, DRIVERS};
use std::collections::{BTreeMap, BTreeSet};

/// The crate's root.
const ROOT: &str = "virtgpu_bridge.rs";

/// The files, and the imports of each.
pub struct Files(BTreeMap<String, BTreeSet<String>>);

impl Files {
    /// Finds the imports of all sources.
    pub fn new(sources: &[Source]) -> Self {
        let paths: BTreeSet<&str> = sources.iter().map(|it| it.path.as_str()).collect();
        let mut handed_on = BTreeMap::new();
        for source in sources.iter().filter(|it| it.path.ends_with("/mod.rs")) {
            let folder = source.path.trim_end_matches("/mod.rs");
            for path in uses(&source.code, true) {
                let Some((name, module)) = path.split_last() else {
                    continue;
                };
                let file = format!("{folder}/{}.rs", module.join("/"));
                handed_on.insert((folder.to_owned(), name.clone()), file);
            }
        }
        let mut imports = BTreeMap::new();
        for source in sources {
            let folder = source
                .path
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            let mut found = uses(&source.code, false);
            found.extend(inline_paths(&source.code));
            let mut files = BTreeSet::new();
            for path in found {
                let mut parts: Vec<String> = match path.split_first() {
                    Some((first, rest)) if first == "crate" => rest.to_vec(),
                    Some((first, rest)) if first == "super" && !folder.is_empty() => {
                        let folder = folder.split('/').map(str::to_owned);
                        folder.chain(rest.iter().cloned()).collect()
                    }
                    _ => continue,
                };
                if let Some(file) = resolve(&mut parts, &paths, &handed_on) {
                    if file != source.path {
                        files.insert(file);
                    }
                }
            }
            imports.insert(source.path.clone(), files);
        }
        Self(imports)
    }

    /// Returns the imports that do not run from a layer to one that it may use.
    pub fn upward(&self, layers: &[(&str, &[&str])]) -> Vec<String> {
        let mut faults = Vec::new();
        for (file, imports) in &self.0 {
            if file == ROOT {
                continue;
            }
            let from = layer(file);
            let Some((_, allowed)) = layers.iter().find(|(name, _)| *name == from) else {
                faults.push(format!("{DRIVERS}/{file}: {from} is no layer"));
                continue;
            };
            for import in imports {
                let to = layer(import);
                if to != from && !allowed.contains(&to) {
                    let fault = format!("{DRIVERS}/{file}: {from} must not use {to} ({import})");
                    faults.push(fault);
                }
            }
        }
        faults
    }

    /// Returns the files that import each other in a circle.
    pub fn circles(&self) -> Vec<String> {
        let mut faults = BTreeSet::new();
        for file in self.0.keys() {
            let reached = self.reached(file);
            if reached.contains(file.as_str()) {
                let back = |other: &&&str| self.reached(other).contains(file.as_str());
                let circle: Vec<_> = (reached.iter().filter(back))
                    .map(|it| format!("{DRIVERS}/{it}"))
                    .collect();
                faults.insert(format!("circle of imports: {}", circle.join(", ")));
            }
        }
        faults.into_iter().collect()
    }

    /// Returns all files that a file imports, directly or by others.
    fn reached(&self, file: &str) -> BTreeSet<&str> {
        let mut reached = BTreeSet::new();
        let mut left = vec![file];
        while let Some(next) = left.pop() {
            for import in self.0.get(next).into_iter().flatten() {
                if reached.insert(import.as_str()) {
                    left.push(import);
                }
            }
        }
        reached
    }
}

/// Returns the layer of a file: its first folder, or the file in the crate's root.
fn layer(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

/// Returns the file that defines a path below the crate's root.
fn resolve(
    parts: &mut Vec<String>,
    paths: &BTreeSet<&str>,
    handed_on: &BTreeMap<(String, String), String>,
) -> Option<String> {
    // A name that a folder's mod.rs hands on is that of the file which defines it.
    for length in (1..parts.len()).rev() {
        let key = (parts[..length].join("/"), parts[length].clone());
        if let Some(file) = handed_on
            .get(&key)
            .filter(|file| paths.contains(file.as_str()))
        {
            return Some(file.clone());
        }
    }
    while !parts.is_empty() {
        let name = parts.join("/");
        for file in [format!("{name}.rs"), format!("{name}/mod.rs")] {
            if paths.contains(file.as_str()) {
                return Some(file);
            }
        }
        parts.pop();
    }
    None
}

/// Returns the paths of `use` declarations: those that hand names on (`pub use`), or the others.
fn uses(code: &str, public: bool) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].trim_end_matches(' ');
        let is_start = before.is_empty() || before.ends_with('\n') || before.ends_with(')');
        let is_public = before.ends_with(')') || before.ends_with("pub");
        let declaration = &rest[at + 4..];
        let end = declaration.find(';').unwrap_or(declaration.len());
        if (is_start || is_public) && is_public == public {
            tree(&declaration[..end], &mut Vec::new(), &mut paths);
        }
        rest = &declaration[end..];
    }
    paths
}

/// Adds the paths of a tree of imports, all of which begin with `prefix`.
fn tree(text: &str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    let text = text.trim();
    if let Some(list) = text.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        let (mut depth, mut start) = (0, 0);
        for (at, char) in list.char_indices().chain([(list.len(), ',')]) {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let item = list[start..at].trim();
                    if !item.is_empty() {
                        tree(item, prefix, paths);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    match text.split_once("::") {
        Some((first, rest)) => {
            prefix.push(first.trim().to_owned());
            tree(rest, prefix, paths);
            prefix.pop();
        }
        None => {
            let name = text.split_whitespace().next().unwrap_or_default();
            let mut path = prefix.clone();
            if name != "self" && name != "*" {
                path.push(name.to_owned());
            }
            paths.push(path);
        }
    }
}

/// Returns the paths that begin with `crate::` in the code itself.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let is_path = |char: char| char.is_alphanumeric() || char == '_' || char == ':';
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let path = &code[at..];
        let end = path.find(|char| !is_path(char)).unwrap_or(path.len());
        let parts = path[..end].split("::").filter(|part| !part.is_empty());
        paths.push(parts.map(str::to_owned).collect());
    }
    paths
}
