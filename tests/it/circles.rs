//! No file of the sources needs another one that needs it in turn, directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::sources::{Source, assert_none, is_test, sources};

/// The modules of the crate, each as the path of its names, and the file that it is in.
type Modules = BTreeMap<Vec<String>, String>;

/// The names that modules re-export, each as its path there, and the path of what it names.
type Exports = BTreeMap<Vec<String>, Vec<String>>;

/// Where the names of the crate are.
struct Crate {
    modules: Modules,
    exports: Exports,
}

/// The path of the module that a file is: `["auth", "login"]` for `auth/login.rs`, `["auth"]` for
/// `auth/mod.rs`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let parts = path.split('/').filter(|part| *part != "mod");
    parts.map(str::to_owned).collect()
}

/// The statements of a file, each with the number of its first line.
fn statements(source: &Source) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in &source.lines {
        // A visibility names a module and needs nothing of it.
        let line = match line.split_once("pub(in ") {
            Some((before, rest)) => format!(
                "{before}{}",
                rest.split_once(") ").map_or("", |(_, item)| item)
            ),
            None => line.clone(),
        };
        if open {
            let (_, statement) = found.last_mut().expect("an open statement");
            *statement += line.trim();
        } else {
            found.push((*number, line.trim().to_owned()));
        }
        let (_, statement) = found.last().expect("a statement");
        let imports = ["use ", "pub use ", "pub(super) use ", "pub(crate) use "];
        open =
            imports.iter().any(|start| statement.starts_with(start)) && !statement.ends_with(';');
    }
    found
}

/// The tree of an import that begins with one of `starts`.
fn tree<'a>(statement: &'a str, starts: &[&str]) -> Option<&'a str> {
    starts
        .iter()
        .find_map(|start| statement.strip_prefix(start))
        .and_then(|rest| rest.strip_suffix(';'))
}

/// The paths that a re-export names, or nothing if the statement is not one.
///
/// A re-export gives a name another place; it needs nothing of what it names.
fn exported(statement: &str) -> Option<Vec<Vec<String>>> {
    tree(
        statement,
        &["pub use ", "pub(super) use ", "pub(crate) use "],
    )
    .map(leaves)
}

/// The paths that a statement needs, a tree of imports taken apart.
fn paths(statement: &str) -> Vec<Vec<String>> {
    if exported(statement).is_some() {
        return Vec::new();
    }
    tree(statement, &["use "]).map_or_else(|| inline_paths(statement), leaves)
}

fn leaves(tree: &str) -> Vec<Vec<String>> {
    let mut leaves = Vec::new();
    expand(&mut Vec::new(), tree, &mut leaves);
    leaves
}

fn expand(prefix: &mut Vec<String>, tree: &str, leaves: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((before, group)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        let parts = path.split("::").map(|part| part.trim().to_owned());
        leaves.push(prefix.iter().cloned().chain(parts).collect());
        return;
    };
    let parts = before
        .split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let length = prefix.len();
    prefix.extend(parts.map(str::to_owned));
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut from) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(prefix, &group[from..at], leaves);
                from = at + 1;
            }
            _ => {}
        }
    }
    if !group[from..].trim().is_empty() {
        expand(prefix, &group[from..], leaves);
    }
    prefix.truncate(length);
}

/// Paths in the midst of code, such as `super::convert::time(…)`.
fn inline_paths(statement: &str) -> Vec<Vec<String>> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    statement
        .split(|c| !part(c))
        .filter(|text| text.contains("::"))
        .map(|text| text.split("::").map(str::to_owned).collect())
        .collect()
}

impl Crate {
    fn of(sources: &[Source]) -> Self {
        let modules: Modules = sources
            .iter()
            .map(|source| (module_of(&source.path), source.path.clone()))
            .collect();
        let mut found = Self {
            modules,
            exports: Exports::new(),
        };
        for source in sources {
            let from = module_of(&source.path);
            for path in statements(source)
                .iter()
                .filter_map(|(_, statement)| exported(statement))
                .flatten()
            {
                if let (Some(to), Some(name)) = (found.absolute(&from, &path), path.last()) {
                    let at = from.iter().chain([name]).cloned().collect();
                    found.exports.insert(at, to);
                }
            }
        }
        found
    }

    /// A path as it is seen from the root of the crate, or `None` if it leads out of the crate.
    fn absolute(&self, from: &[String], path: &[String]) -> Option<Vec<String>> {
        let (base, rest) = match path.first()?.as_str() {
            "crate" => (&[][..], &path[1..]),
            "self" => (from, &path[1..]),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                (&from[..from.len().checked_sub(ups)?], &path[ups..])
            }
            child => {
                let at: Vec<_> = from.iter().cloned().chain([child.to_owned()]).collect();
                if !self.modules.contains_key(&at) && !self.exports.contains_key(&at) {
                    return None;
                }
                (from, path)
            }
        };
        Some(base.iter().chain(rest).cloned().collect())
    }

    /// The file that an absolute path leads to, through re-exports: that of the last module on the
    /// path.
    fn file(&self, path: &[String]) -> Option<&String> {
        let (mut at, mut rest): (Vec<String>, _) = (Vec::new(), path.to_vec());
        // A name that is re-exported in a circle does not compile.
        while !rest.is_empty() {
            at.push(rest.remove(0));
            let is_module = self.modules.contains_key(&at);
            // A module and a function that it exports may share a name.
            let exported = self
                .exports
                .get(&at)
                .filter(|_| !is_module || rest.is_empty());
            if let Some(to) = exported {
                rest = to.iter().cloned().chain(rest).collect();
                at.clear();
            } else if !is_module {
                at.pop();
                break;
            }
        }
        self.modules.get(&at)
    }

    /// The files that a file needs, each with the line that needs it first.
    fn needs(&self, source: &Source) -> BTreeMap<String, usize> {
        let from = module_of(&source.path);
        let mut needs = BTreeMap::new();
        for (number, statement) in statements(source) {
            for path in paths(&statement) {
                let file = self
                    .absolute(&from, &path)
                    .and_then(|path| self.file(&path));
                if let Some(file) = file.filter(|file| **file != source.path) {
                    needs.entry(file.clone()).or_insert(number);
                }
            }
        }
        needs
    }
}

fn graph(sources: &[Source]) -> BTreeMap<String, BTreeMap<String, usize>> {
    let names = Crate::of(sources);
    sources
        .iter()
        .map(|source| (source.path.clone(), names.needs(source)))
        .collect()
}

/// Whether there is a way from a file to another.
fn reaches(graph: &BTreeMap<String, BTreeMap<String, usize>>, from: &str, to: &str) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(file) = open.pop() {
        if file == to {
            return true;
        }
        if seen.insert(file) {
            open.extend(graph[file].keys().map(String::as_str));
        }
    }
    false
}

#[test]
fn no_two_files_need_each_other() {
    let mut sources = sources();
    sources.retain(|source| !is_test(&source.path));
    let graph = graph(&sources);
    let mut found = Vec::new();
    for (file, edges) in &graph {
        for (needed, line) in edges {
            if reaches(&graph, needed, file) {
                found.push((
                    file.clone(),
                    *line,
                    format!("needs {needed}, which needs it in turn"),
                ));
            }
        }
    }
    assert_none("circles of files", &found);
}

fn source(path: &str, text: &str) -> Source {
    let lines = text.lines().enumerate();
    Source {
        path: path.to_owned(),
        lines: lines.map(|(at, line)| (at + 1, line.to_owned())).collect(),
        length: 0,
    }
}

#[test]
fn the_graph_sees_imports_and_paths() {
    let graph = graph(&[
        source(
            "a/mod.rs",
            "mod b;\nmod c;\npub use b::B;\nfn f() { c::g() }",
        ),
        source("a/b.rs", "use super::{\nc::{C, D as E},\nA,\n};"),
        source("a/c.rs", "fn g() { crate::d::h(); }"),
        source("d.rs", "use crate::a::b::B;"),
    ]);
    let edges = |file: &str| graph[file].keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(edges("a/mod.rs"), ["a/c.rs"]);
    assert_eq!(edges("a/b.rs"), ["a/c.rs", "a/mod.rs"]);
    assert_eq!(edges("a/c.rs"), ["d.rs"]);
    assert!(reaches(&graph, "d.rs", "a/c.rs") && reaches(&graph, "a/c.rs", "a/b.rs"));
}

#[test]
fn the_graph_sees_through_re_exports() {
    let graph = graph(&[
        source("a/mod.rs", "mod b;\nmod c;\npub use b::B;\npub use c::C;"),
        source("a/b.rs", "use super::C;"),
        source("a/c.rs", "use crate::e::B;"),
        source("e.rs", "pub use crate::a::B;\nfn f(_: B::D) {}"),
    ]);
    let edges = |file: &str| graph[file].keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(edges("a/mod.rs"), [""; 0]);
    assert_eq!(edges("a/b.rs"), ["a/c.rs"]);
    assert_eq!(edges("a/c.rs"), ["a/b.rs"]);
    assert_eq!(edges("e.rs"), ["a/b.rs"]);
}
