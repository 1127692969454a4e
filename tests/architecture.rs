//! The layers: who may use whom. See the crate's own documentation for the reasons.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module at the top of `src`, and what it may use beside itself. A new one needs a line.
///
/// The binary's modules stand behind the library: `tidings::` is what they see of it.
const LAYERS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("net", &["proto"]),
    ("server", &["proto", "net"]),
    ("chat", &["proto", "net"]),
    ("store", &["net"]),
    ("door", &["proto", "net", "server", "chat", "store"]),
    (
        "gateway",
        &["proto", "net", "server", "chat", "store", "door"],
    ),
    (
        "lib",
        &["proto", "net", "server", "chat", "store", "door", "gateway"],
    ),
    ("access", &[]),
    ("bench", &["tidings::store"]),
    ("client", &[]),
    ("page", &[]),
    (
        "config",
        &[
            "access",
            "tidings::server",
            "tidings::chat",
            "tidings::store",
            "tidings::door",
            "tidings::gateway",
        ],
    ),
    (
        "daemon",
        &[
            "access",
            "config",
            "page",
            "tidings::server",
            "tidings::chat",
            "tidings::store",
            "tidings::door",
            "tidings::gateway",
        ],
    ),
    (
        "cli",
        &[
            "access",
            "bench",
            "client",
            "config",
            "daemon",
            "tidings::server",
            "tidings::store",
            "tidings::gateway",
        ],
    ),
    (
        "main",
        &[
            "access", "bench", "cli", "client", "config", "daemon", "page",
        ],
    ),
];

/// Lines of a file, at most; above it a file has more than one noun in it.
const LINES_MAX: usize = 600;

/// A file of ours.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The names of the modules from the crate's root to this file.
    fn module(&self) -> Vec<String> {
        let path = self.path.with_extension("");
        let mut names: Vec<String> = path
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.pop_if(|name| *name == "mod");
        names
    }

    /// What the compiler sees of it outside of tests, without comments and strings.
    fn code(&self) -> String {
        let (code, _tests) = self
            .text
            .split_once("#[cfg(test)]\nmod ")
            .unwrap_or((&self.text, ""));
        without_comments_and_strings(code)
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&root).unwrap().to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    assert!(sources.len() > 50, "these can't be all");
    sources
}

/// Good enough for our own formatted code: raw strings and nested comments would fool it.
fn without_comments_and_strings(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(next) = rest.find(['/', '"', '\'']) {
        kept.push_str(&rest[..next]);
        rest = &rest[next..];
        let skipped = match rest.as_bytes() {
            [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
            [b'"', ..] => string_size(rest),
            // Not a lifetime.
            [b'\'', b'"' | b'/', b'\'', ..] => 3,
            _ => {
                kept.push_str(&rest[..1]);
                1
            }
        };
        rest = &rest[skipped..];
    }
    kept + rest
}

/// The size of the string literal that `text` begins with.
fn string_size(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text[1..].char_indices().find(|&(_, character)| {
        let is_end = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |(index, _)| index + 2)
}

/// The modules that paths in `code` begin with: `b` and `c` of `crate::b::d` and `crate::{c, …}`,
/// `tidings::b` of `tidings::b::d`; `super`s that climb out of a top module count as `crate`.
fn used_by(code: &str, module: &[String]) -> Vec<String> {
    // `use a::{b}` over several lines is one path.
    let code: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let code = code.replace(":: ", "::").replace("{ ", "{");
    let mut used = Vec::new();
    let climbing = "super::".repeat(module.len());
    for (root, prefix) in [
        ("crate::", ""),
        (&*climbing, ""),
        ("tidings::", "tidings::"),
    ] {
        for (at, _) in code.match_indices(root) {
            let is_longer_word = code[..at]
                .chars()
                .next_back()
                .is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':');
            if !is_longer_word {
                let names = first_names(&code[at + root.len()..]);
                used.extend(names.into_iter().map(|name| format!("{prefix}{name}")));
            }
        }
    }
    used
}

/// `a` of `a::b`; `a` and `b` of `{a::{c, d}, b}`.
fn first_names(path: &str) -> Vec<&str> {
    let word = |text: &'_ str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![&path[..word(path)]];
    };
    let (mut names, mut depth, mut begins) = (Vec::new(), 0, true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            ' ' => {}
            _ if begins => {
                names.push(&group[at..at + word(&group[at..])]);
                begins = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn a_layer_uses_only_those_below_it() {
    let layers: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let module = source.module();
        let layer = &*module[0];
        let Some(allowed) = layers.get(layer) else {
            wrong.push(format!("{layer} has no line in LAYERS"));
            continue;
        };
        for used in used_by(&source.code(), &module) {
            if used != layer && !allowed.contains(&&*used) {
                wrong.push(format!("{} uses {used}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_file_is_one_noun_and_nothing_is_unsafe() {
    for source in sources() {
        let lines = source.text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines",
            source.path.display()
        );
        let code = source.code();
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(
            !words.any(|word| word == "unsafe"),
            "{} is unsafe",
            source.path.display()
        );
    }
}

#[test]
fn the_rule_sees_every_way_to_say_a_path() {
    let module = ["server", "process", "child"].map(String::from);
    let used = |code| used_by(&without_comments_and_strings(code), &module);
    assert_eq!(used("use crate::net::{Fd, listen};"), ["net"]);
    assert_eq!(
        used("use crate::{\n    net::{Fd, x::y},\n    proto,\n};"),
        ["net", "proto"]
    );
    assert_eq!(
        used("let fd: crate::net::Fd = x(crate::chat());"),
        ["net", "chat"]
    );
    assert_eq!(used("use super::super::super::net::Fd;"), ["net"]);
    assert_eq!(used("use super::super::life::x; use super::y;"), [""; 0]);
    assert_eq!(
        used("use tidings::net; tidings::{proto::Tick};"),
        ["tidings::net", "tidings::proto"]
    );
    assert_eq!(
        used("// crate::net\n/// [`x`](crate::net)\n\"crate::net \\\" crate::x\""),
        [""; 0]
    );
    assert_eq!(used("('\"', crate::net, '\"', 'a, '/')"), ["net"]);
    assert_eq!(used("mycrate::net; a::crate::x; my_tidings::net"), [""; 0]);
}
