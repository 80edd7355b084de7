//! Imports in `gf-emulator-core` point one way: down the layers of ARCHITECTURE.md, and never around a circle of files.
//!
//! The sources are parsed with `syn`; an import through a re-export counts as an import of the file that defines the
//! item. A module file and its own children are exempt from each other. Test modules do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// The path of a module, without `crate`.
type Module = Vec<String>;

/// Every module of a crate, and the paths that each of them uses.
#[derive(Default)]
struct Sources {
    uses: BTreeMap<Module, Vec<Module>>,
    /// Items that a module re-exports, by name.
    exports: BTreeMap<Module, BTreeMap<String, Module>>,
}

/// Collects the paths that one file uses.
struct Collector<'a> {
    module: &'a Module,
    uses: Vec<Module>,
    exports: BTreeMap<String, Module>,
}

impl Sources {
    fn of_crate(root: &Path) -> Self {
        let mut sources = Self::default();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_dir() {
                    folders.push(entry);
                } else if entry.extension().is_some_and(|extension| extension == "rs") {
                    let name = entry.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                    sources.add(&name, &std::fs::read_to_string(&entry).unwrap());
                }
            }
        }
        sources
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let mut sources = Self::default();
        for (name, text) in files {
            sources.add(name, text);
        }
        sources
    }

    fn add(&mut self, name: &str, text: &str) {
        let mut module: Module = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        if module.iter().any(|part| part == "tests") {
            return;
        }
        let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut collector = Collector { module: &module, uses: Vec::new(), exports: BTreeMap::new() };
        collector.visit_file(&file);
        let Collector { uses, exports, .. } = collector;
        self.uses.insert(module.clone(), uses);
        self.exports.insert(module, exports);
    }

    /// Returns the module whose file defines `path`, after following re-exports. `None` if it is not in this crate.
    fn definition(&self, path: &[String]) -> Option<&Module> {
        let mut path = path.to_vec();
        for _ in 0..20 {
            let (module, rest) =
                (0..=path.len()).rev().find_map(|n| Some((self.uses.get_key_value(&path[..n])?.0, &path[n..])))?;
            let Some(next) = rest.first().and_then(|name| self.exports[module].get(name)) else {
                return Some(module);
            };
            path = next.iter().chain(&rest[1..]).cloned().collect();
        }
        panic!("{} is re-exported in a circle", path.join("::"));
    }

    /// Returns the imports of each module.
    fn imports(&self) -> BTreeMap<&Module, BTreeSet<&Module>> {
        let is_child = |child: &Module, parent: &Module| child.split_last().is_some_and(|(_, rest)| rest == parent);
        let imports = self.uses.iter().map(|(module, uses)| {
            let defined = uses.iter().filter_map(|path| self.definition(path));
            (module, defined.filter(|other| *other != module && !is_child(module, other)).collect())
        });
        imports.collect()
    }

    /// Returns the sets of modules that import each other, directly or indirectly.
    fn circles(&self) -> Vec<BTreeSet<&Module>> {
        let imports = self.imports();
        let reachable = |from: &'_ Module| {
            let mut found = BTreeSet::new();
            let mut open: Vec<_> = imports.get(from).into_iter().flatten().copied().collect();
            while let Some(module) = open.pop() {
                if found.insert(module) {
                    open.extend(imports.get(module).into_iter().flatten());
                }
            }
            found
        };
        let reach: BTreeMap<_, _> = imports.keys().map(|module| (*module, reachable(module))).collect();
        let circles = reach.iter().filter(|(module, found)| found.contains(**module)).map(|(module, found)| {
            found.iter().copied().filter(|other| reach[other].contains(module)).collect::<BTreeSet<_>>()
        });
        circles.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Describes the imports from a lower layer to a higher one. `layers` has the top-level modules, lowest first.
    fn upward(&self, layers: &[Vec<String>]) -> Vec<String> {
        let rank = |module: &Module| {
            // `lib.rs` is the top layer.
            let Some(name) = module.first() else { return layers.len() };
            let layer = layers.iter().position(|layer| layer.contains(name));
            layer.unwrap_or_else(|| panic!("ARCHITECTURE.md has no layer for `{name}`"))
        };
        let imports = self.imports();
        let all = imports.iter().flat_map(|(module, others)| others.iter().map(move |other| (*module, *other)));
        all.filter(|(module, other)| rank(module) < rank(other))
            .map(|(module, other)| format!("{} imports {}", module.join("::"), other.join("::")))
            .collect()
    }
}

impl Collector<'_> {
    /// Makes a path absolute, without `crate`.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let mut module = self.module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            // A child module or another crate; `definition` returns `None` for other crates.
            _ => {}
        }
        module.extend_from_slice(rest);
        Some(module)
    }

    fn collect_use(&mut self, tree: &UseTree, prefix: &[String], is_export: bool) {
        match tree {
            UseTree::Path(path) => {
                let prefix: Vec<_> = prefix.iter().cloned().chain([path.ident.to_string()]).collect();
                self.collect_use(&path.tree, &prefix, is_export);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.collect_use(tree, prefix, is_export));
            }
            UseTree::Name(name) => self.add_use(prefix, &name.ident.to_string(), &name.ident.to_string(), is_export),
            UseTree::Rename(rename) => {
                self.add_use(prefix, &rename.ident.to_string(), &rename.rename.to_string(), is_export);
            }
            UseTree::Glob(_) => assert!(prefix.starts_with(&["super".into()]), "glob import of {}", prefix.join("::")),
        }
    }

    fn add_use(&mut self, prefix: &[String], item: &str, name: &str, is_export: bool) {
        let mut path = prefix.to_vec();
        if item != "self" {
            path.push(item.to_owned());
        }
        let Some(path) = self.absolute(&path) else { return };
        // A macro of this file, which gets a path in this way.
        let is_here = path.split_last().is_some_and(|(last, module)| last == name && module == self.module);
        if is_here {
            return;
        }
        if is_export {
            self.exports.insert(name.to_owned(), path);
        } else {
            self.uses.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if attributes.iter().any(is_test_only) {
            return;
        }
        if let Item::Use(item) = item {
            self.collect_use(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let path: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.uses.extend(self.absolute(&path));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, node: &'ast syn::Macro) {
        self.collect_tokens(node.tokens.clone());
    }
}

impl Collector<'_> {
    /// Finds paths in the arguments of a macro, which are tokens.
    fn collect_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        path.clear();
                    }
                    path.push(ident.to_string());
                    if path.len() > 1 {
                        self.uses.extend(self.absolute(&path));
                    }
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.collect_tokens(group.stream());
                    colons = 0;
                }
                _ => colons = 0,
            }
        }
    }
}

fn is_test_only(attribute: &Attribute) -> bool {
    let mut is_test = attribute.path().is_ident("test");
    if attribute.path().is_ident("cfg") {
        let condition = attribute.meta.require_list().unwrap().tokens.to_string();
        is_test |= ["test", "doctest"].contains(&condition.as_str()) || condition.contains("(test");
    }
    is_test
}

/// Parses the layers in ARCHITECTURE.md, lowest first: the names in the first column of the table under "Layers".
fn documented_layers(text: &str) -> Vec<Vec<String>> {
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with("Layers of gf-emulator-core"))
        .expect("a section \"Layers\"");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = |row: &str| {
        let first = row.split('|').nth(1).unwrap_or_default();
        let quoted = first.split('`').skip(1).step_by(2);
        quoted.map(|name| name.trim_end_matches('/').trim_end_matches(".rs").to_owned()).collect()
    };
    rows.map(names).collect()
}

fn describe(circles: &[BTreeSet<&Module>]) -> String {
    let circle = |circle: &BTreeSet<&Module>| circle.iter().map(|m| m.join("::")).collect::<Vec<_>>().join(", ");
    circles.iter().map(circle).collect::<Vec<_>>().join("\n")
}

#[test]
fn imports_point_down_the_layers_and_form_no_circles() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = Sources::of_crate(&workspace.join("gf-emulator-core/src"));
    assert!(sources.uses.len() > 100, "only {} files found", sources.uses.len());
    let circles = sources.circles();
    assert!(circles.is_empty(), "files that import each other:\n{}", describe(&circles));
    let layers = documented_layers(&std::fs::read_to_string(workspace.join("ARCHITECTURE.md")).unwrap());
    let upward = sources.upward(&layers);
    assert!(upward.is_empty(), "imports that point up:\n{}", upward.join("\n"));
    for name in layers.iter().flatten() {
        assert!(sources.uses.contains_key(&vec![name.clone()]), "ARCHITECTURE.md lists `{name}`, which does not exist");
    }
}

#[test]
fn finds_circles_in_every_kind_of_import() {
    let circles = |a: &str, b: &str| {
        let sources = Sources::of(&[
            ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("a.rs", a),
            ("b/mod.rs", "mod inner; pub(crate) use inner::B;"),
            ("b/inner.rs", b),
            ("c.rs", "use crate::b::B; use super::a;"),
        ]);
        describe(&sources.circles())
    };
    assert_eq!(circles("use std::fmt;", "use crate::A;"), "");
    for a in [
        "use crate::b::B;",
        "use crate::{b::{self, B as Other}};",
        "fn f() { super::b::B::new(); }",
        "fn f() -> crate::b::B {}",
        "fn f() { log::info!(\"{}\", crate::b::B::new()); }",
        "use crate::c::C;",
    ] {
        for b in ["use crate::A;", "use super::super::a::A;", "impl crate::a::T for B {}"] {
            assert!(circles(a, b).starts_with("a, b::inner"), "{a} and {b}");
        }
        assert_eq!(circles(&format!("#[cfg(test)] mod tests {{ {a} }}"), "use crate::A;"), "", "{a} in a test");
    }
}

#[test]
fn finds_imports_that_point_up() {
    let layers = documented_layers(
        "# x\n## Layers of gf-emulator-core\n| layer | what |\n|---|---|\n| `a.rs`, `b/` | |\n| `c/` | |\n## y\n| `d` |",
    );
    assert_eq!(layers, [vec!["a", "b"], vec!["c"]]);
    let sources =
        |a: &str| Sources::of(&[("lib.rs", ""), ("a.rs", a), ("b/mod.rs", ""), ("c/mod.rs", "use crate::a;")]);
    assert!(sources("use crate::b;").upward(&layers).is_empty());
    assert_eq!(sources("use crate::c::C;").upward(&layers), ["a imports c"]);
}
