//! No file of the sources needs another one that needs it in turn, directly or through others.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::sources::{Source, assert_none, is_test, sources};

/// The modules of the crate, each as the path of its names, and the file that it is in.
type Modules = BTreeMap<Vec<String>, String>;

/// The path of the module that a file is: `["auth", "login"]` for `auth/login.rs`, `["auth"]` for `auth/mod.rs`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let parts = path.split('/').filter(|part| *part != "mod");
    parts.map(str::to_owned).collect()
}

/// The statements of a file without re-exports, each with the number of its first line.
///
/// A re-export gives a name another place; it needs nothing of what it names.
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
    found.retain(|(_, statement)| !statement.starts_with("pub") || !statement.contains(" use "));
    found
}

/// The paths that a statement names, a tree of imports taken apart.
fn paths(statement: &str) -> Vec<Vec<String>> {
    let Some(tree) = statement
        .strip_prefix("use ")
        .and_then(|rest| rest.strip_suffix(';'))
    else {
        return inline_paths(statement);
    };
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

/// The file that a path leads to from a module: that of the last module on the path.
fn target<'a>(modules: &'a Modules, from: &[String], path: &[String]) -> Option<&'a String> {
    let mut at = from.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            at.truncate(at.len().checked_sub(ups)?);
            rest = &path[ups..];
        }
        child => {
            at.push(child.to_owned());
            modules.get(&at)?;
            at.pop();
        }
    }
    for part in rest {
        at.push(part.clone());
        if !modules.contains_key(&at) {
            at.pop();
            break;
        }
    }
    modules.get(&at)
}

fn graph(sources: &[Source]) -> BTreeMap<String, BTreeMap<String, usize>> {
    let modules: Modules = sources
        .iter()
        .map(|source| (module_of(&source.path), source.path.clone()))
        .collect();
    let edges = |source: &Source| {
        let from = module_of(&source.path);
        let mut edges = BTreeMap::new();
        for (number, statement) in statements(source) {
            for path in paths(&statement) {
                if let Some(target) =
                    target(&modules, &from, &path).filter(|file| **file != source.path)
                {
                    edges.entry(target.clone()).or_insert(number);
                }
            }
        }
        edges
    };
    sources
        .iter()
        .map(|source| (source.path.clone(), edges(source)))
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

#[test]
fn the_graph_sees_imports_and_paths() {
    let source = |path: &str, text: &str| Source {
        path: path.to_owned(),
        lines: text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line.to_owned()))
            .collect(),
        length: 0,
    };
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
