//! The files of a layer form no circle, so each can be read before those that use it.
//!
//! A `mod.rs` that names its children to hand them on is not counted: an arrow from a `mod.rs` to
//! a file below it is left out, and a name that a `mod.rs` hands on leads to the file that has it.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::paths;
use super::source::{Source, load_generator, sources};

/// The circles that remain, each by its files; the list may only shrink.
const KNOTS: &[&[&str]] = &[];

type Graph = BTreeMap<String, BTreeSet<String>>;

/// The files, by the path of their module.
struct Files {
    by_module: BTreeMap<Vec<String>, Source>,
    /// Where a `mod.rs` says that a name comes from.
    handed_on: BTreeMap<Vec<String>, Vec<String>>,
}

impl Files {
    fn new(sources: Vec<Source>) -> Self {
        let mut handed_on = BTreeMap::new();
        for source in &sources {
            let module = source.module();
            let code = source.code();
            for part in code
                .split("pub use ")
                .chain(code.split("pub(super) use "))
                .skip(1)
            {
                let statement = part.split(';').next().unwrap_or_default();
                let rooted = match statement.split("::").next() {
                    Some("crate" | "super" | "self") => format!("use {statement};"),
                    _ => format!("use self::{statement};"),
                };
                for path in paths(&rooted, &module) {
                    let mut name = module.clone();
                    name.extend(path.last().cloned());
                    handed_on.insert(name, path[1..].to_vec());
                }
            }
        }
        let by_module = sources.into_iter().map(|s| (s.module(), s)).collect();
        Self {
            by_module,
            handed_on,
        }
    }

    /// The file that a path leads to.
    fn file_of(&self, path: &[String]) -> Option<&Vec<String>> {
        let mut path = path.to_vec();
        // Names are handed on through a few modules at most.
        for _ in 0..4 {
            let known = (1..=path.len()).rev().find_map(|size| {
                let target = self.handed_on.get(&path[..size])?;
                (target[..] != path[..size]).then(|| [target, &path[size..]].concat())
            });
            match known {
                Some(target) => path = target,
                None => break,
            }
        }
        (1..=path.len()).rev().find_map(|size| {
            let (module, _) = self.by_module.get_key_value(&path[..size])?;
            Some(module)
        })
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        for (module, source) in &self.by_module {
            let name = source.path.display().to_string();
            let used = graph.entry(name).or_default();
            for path in paths(&source.code(), module) {
                if path[0] != "crate" {
                    continue;
                }
                let Some(target) = self.file_of(&path[1..]) else {
                    continue;
                };
                let is_child = target.len() > module.len() && target.starts_with(module);
                let is_mod = source.path.ends_with("mod.rs") || source.path.ends_with("lib.rs");
                if target != module && !(is_child && is_mod) {
                    used.insert(self.by_module[target].path.display().to_string());
                }
            }
        }
        graph
    }
}

/// Every set of two or more files that each reach all others of it.
fn circles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reached = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            for used in graph.get(at).into_iter().flatten() {
                if seen.insert(used.clone()) {
                    next.push(used);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = graph.keys().map(|file| (file, reached(file))).collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for (file, all) in &reached {
        if all.contains(*file) && !circles.iter().any(|circle| circle.contains(*file)) {
            let back = |other: &&String| reached.get(other).is_some_and(|all| all.contains(*file));
            circles.push(all.iter().filter(back).cloned().collect());
        }
    }
    circles.retain(|circle| circle.len() > 1);
    circles
}

/// The circles that the files of a crate form.
fn circles_of(sources: Vec<Source>) -> Vec<BTreeSet<String>> {
    circles(&Files::new(sources.into_iter().filter(|s| !s.is_test()).collect()).graph())
}

#[test]
fn files_of_the_load_generator_form_no_circle() {
    let found = circles_of(load_generator());
    assert!(found.is_empty(), "these files use each other: {found:#?}");
}

#[test]
fn files_form_no_circle() {
    let known: Vec<BTreeSet<String>> = (KNOTS.iter())
        .map(|knot| knot.iter().map(|&file| file.into()).collect())
        .collect();
    let found = circles_of(sources());
    let new: Vec<_> = found
        .iter()
        .filter(|circle| !known.contains(circle))
        .collect();
    assert!(new.is_empty(), "these files use each other: {new:#?}");
    let gone: Vec<_> = known.iter().filter(|knot| !found.contains(knot)).collect();
    assert!(gone.is_empty(), "take these off the list: {gone:#?}");
}

#[test]
fn the_rule_follows_names_that_a_module_hands_on() {
    let source = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.into(),
    };
    let files = Files::new(vec![
        source("a/mod.rs", "mod x; mod y; mod z; pub use x::X; use y::Y;"),
        source("a/x.rs", "use super::y::Y;\npub struct X;"),
        source("a/y.rs", "use crate::a::{X, z::Z};\npub struct Y;"),
        source("a/z.rs", "pub struct Z;"),
    ]);
    let knot = ["a/x.rs", "a/y.rs"].map(String::from).into();
    assert_eq!(circles(&files.graph()), [knot]);
}
