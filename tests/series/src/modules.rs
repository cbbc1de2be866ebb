// SPDX-License-Identifier: GPL-2.0

//! The crate's modules: which file each has, and which others it uses.

use crate::edit;
use anyhow::{ensure, Context, Result};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::{Attribute, Item};

/// The path of a module in the crate; the root's is empty.
pub type Name = Vec<String>;

/// A module that has a file of its own.
pub struct Module {
    /// The file, below the folder of the crate's root.
    pub file: PathBuf,
    /// The source, without what is there for the project's own tests only.
    pub text: String,
    /// The modules that its file declares.
    pub children: BTreeSet<Name>,
    /// The modules that it names, but for its own children.
    pub uses: BTreeSet<Name>,
    /// The functions that it defines, those for C among them. Some are named in a macro's call.
    pub defines: BTreeSet<String>,
    /// All names in it, among which are the functions of C that it calls.
    pub names: BTreeSet<String>,
}

/// All modules of a crate, by their paths.
pub struct Modules(pub BTreeMap<Name, Module>);

impl Modules {
    /// Reads a crate, from the file of its root on. Leaves out modules whose `#[path]` is outside
    /// of the root's folder.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or parsed.
    pub fn read(root: &Path) -> Result<Self> {
        let folder = root.parent().context("the crate's root has no folder")?;
        let mut modules = BTreeMap::new();
        let mut paths = BTreeMap::new();
        let mut todo = vec![(Name::new(), root.to_owned())];
        while let Some((name, file)) = todo.pop() {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let text = edit::without_test_hooks(&text)
                .with_context(|| format!("cannot parse {}", file.display()))?;
            let parsed = syn::parse_file(&text)
                .with_context(|| format!("cannot parse {}", file.display()))?;
            let mut children = BTreeSet::new();
            for item in &parsed.items {
                let Item::Mod(item) = item else { continue };
                if item.content.is_some() || path_of(&item.attrs).is_some() {
                    continue;
                }
                let child: Name = [&name[..], &[item.ident.to_string()]].concat();
                todo.push((
                    child.clone(),
                    file_of(&file, &name, &item.ident.to_string())?,
                ));
                children.insert(child);
            }
            let tokens: TokenStream = text.parse().ok().context("no tokens")?;
            let names = words(tokens.clone());
            let mut defines = functions(tokens.clone());
            defines.extend(
                names
                    .iter()
                    .filter(|name| name.starts_with("rust_"))
                    .cloned(),
            );
            let mut named = Vec::new();
            find_paths(tokens, &mut named);
            paths.insert(name.clone(), named);
            let module = Module {
                file: file.strip_prefix(folder)?.to_owned(),
                text,
                children,
                uses: BTreeSet::new(),
                defines,
                names,
            };
            modules.insert(name, module);
        }
        let names: BTreeSet<Name> = modules.keys().cloned().collect();
        for (name, module) in &mut modules {
            for path in &paths[name] {
                let used = resolve(name, path, &names);
                // The root is there from the beginning, and a folder's file with its first module.
                let is_own = module.children.iter().any(|child| used.starts_with(child));
                if !used.is_empty() && used != *name && !is_own {
                    module.uses.insert(used);
                }
            }
        }
        Ok(Self(modules))
    }
}

/// The value of an attribute `#[path = ".."]`.
pub fn path_of(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let pair = attribute.meta.require_name_value().ok()?;
        let syn::Expr::Lit(value) = &pair.value else {
            return None;
        };
        let syn::Lit::Str(value) = &value.lit else {
            return None;
        };
        pair.path.is_ident("path").then(|| value.value())
    })
}

/// The file of a module that `parent`, whose path is `name`, declares.
fn file_of(parent: &Path, name: &[String], child: &str) -> Result<PathBuf> {
    let mut folder = parent.parent().context("a file has no folder")?.to_owned();
    if !name.is_empty() && parent.file_name().is_none_or(|file| file != "mod.rs") {
        folder.push(name.last().context("a module has no name")?);
    }
    let (plain, nested) = (
        folder.join(format!("{child}.rs")),
        folder.join(child).join("mod.rs"),
    );
    ensure!(
        plain.exists() || nested.exists(),
        "{} has no file",
        plain.display()
    );
    Ok(if plain.exists() { plain } else { nested })
}

/// The module in which the path that `from` names ends.
fn resolve(from: &[String], path: &[String], names: &BTreeSet<Name>) -> Name {
    let mut name: Name = match path[0].as_str() {
        "crate" => Name::new(),
        "super" => from[..from.len().saturating_sub(1)].to_vec(),
        _ => from.to_vec(),
    };
    for segment in &path[1..] {
        match segment.as_str() {
            "super" => drop(name.pop()),
            "self" => {}
            _ => {
                name.push(segment.clone());
                if !names.contains(&name) {
                    name.pop();
                    break;
                }
            }
        }
    }
    name
}

/// Finds paths that begin with `crate`, `super` or `self`, in macros as well.
fn find_paths(tokens: TokenStream, found: &mut Vec<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) => find_paths(group.stream(), found),
            TokenTree::Ident(word)
                if is_separator(&tokens, at + 1)
                    && !(at >= 2 && is_separator(&tokens, at - 2))
                    && ["crate", "super", "self"].contains(&word.to_string().as_str()) =>
            {
                read_path(&tokens[at..], &[], found);
            }
            _ => {}
        }
        at += 1;
    }
}

/// Whether the tokens from `at` on are `::`.
fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon =
        |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
    is_colon(at) && is_colon(at + 1)
}

/// Reads a path, or a tree of paths as `use` has it.
fn read_path(tokens: &[TokenTree], prefix: &[String], found: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => path.push(word.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner
                    .split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ','))
                    .filter(|part| !part.is_empty())
                {
                    read_path(part, &path, found);
                }
                return;
            }
            _ => break,
        }
        at += 1;
        if !is_separator(tokens, at) {
            break;
        }
        at += 2;
    }
    if !path.is_empty() {
        found.push(path);
    }
}

/// The names of all functions.
fn functions(tokens: TokenStream) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_next = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => names.extend(functions(group.stream())),
            TokenTree::Ident(word) if is_next => {
                names.insert(word.to_string());
                is_next = false;
            }
            TokenTree::Ident(word) => is_next = word == "fn",
            _ => is_next = false,
        }
    }
    names
}

/// All identifiers.
fn words(tokens: TokenStream) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => names.extend(words(group.stream())),
            TokenTree::Ident(word) => drop(names.insert(word.to_string())),
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Name> {
        let split = |name: &&str| name.split("::").map(str::to_owned).collect();
        names.iter().map(split).collect()
    }

    #[test]
    fn used_modules_are_found() {
        let text = "use crate::{linux::{bindings, shared::Block}, text::*};
            use super::owner::{self, Owner};
            fn f() { log!(crate::virtio::pci::X); self::inner::g(); super::super::gpu::h() }";
        let mut paths = Vec::new();
        find_paths(text.parse().unwrap(), &mut paths);
        let modules = names(&[
            "linux",
            "linux::a",
            "linux::a::inner",
            "linux::bindings",
            "linux::shared",
            "linux::owner",
            "text",
            "virtio",
            "virtio::pci",
            "gpu",
        ]);
        let from = ["linux".to_owned(), "a".to_owned()];
        let used: BTreeSet<Name> = paths
            .iter()
            .map(|path| resolve(&from, path, &modules))
            .collect();
        let wanted = names(&[
            "linux::bindings",
            "linux::shared",
            "text",
            "linux::owner",
            "virtio::pci",
            "linux::a::inner",
            "gpu",
        ]);
        assert_eq!(used, wanted);
    }

    #[test]
    fn functions_are_found() {
        let text = "mod m { extern \"C\" fn a() {} } fn b() {} type F = fn(u8);";
        assert_eq!(
            functions(text.parse().unwrap()),
            BTreeSet::from(["a".to_owned(), "b".to_owned()])
        );
    }
}
