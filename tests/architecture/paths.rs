//! The paths that code names, each in full.

/// Every path in `code` that begins with `crate`, `super`, `self` or `tidings`, as its segments,
/// with groups spelt out: `a::{b, c::d}` gives `a::b` and `a::c::d`; `{self, x}` gives the parent.
///
/// `super` is resolved against `module`, the names from the crate's root to the file, so each path
/// begins with `crate` or `tidings`.
pub fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    // A `use` over several lines is one path.
    let code: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let code = code.replace(":: ", "::").replace("{ ", "{");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("::") {
        let root = word_before(&code[..at]);
        let before = &code[..at - root.len()];
        let is_root = matches!(root, "crate" | "super" | "self" | "tidings");
        if is_root && !before.ends_with("::") && !before.ends_with('$') {
            let mut path = Vec::new();
            if root == "tidings" {
                path.push(root.into());
            } else {
                let up = module.len() - usize::from(root == "super");
                path.push("crate".into());
                if root != "crate" {
                    path.extend_from_slice(&module[..up]);
                }
            }
            expand(&code[at + 2..], path, &mut paths);
        }
    }
    paths
}

/// The identifier that `text` ends with.
fn word_before(text: &str) -> &str {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    &text[text.trim_end_matches(is_word).len()..]
}

/// Follows a path from behind its `::`; gives what is left behind it.
fn expand<'a>(mut text: &'a str, mut path: Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    loop {
        if let Some(mut group) = text.strip_prefix('{') {
            loop {
                group = group.trim_start_matches([' ', ',']);
                if let Some(rest) = group.strip_prefix('}') {
                    return rest;
                }
                let rest = expand(group, path.clone(), paths);
                if rest.len() == group.len() {
                    // No name and no end: something that no `use` has.
                    return rest;
                }
                group = rest;
            }
        }
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        match word {
            "super" => drop(path.pop()),
            "self" | "" => {}
            word => path.push(word.into()),
        }
        match rest.strip_prefix("::") {
            Some(deeper) => text = deeper,
            None => {
                paths.push(path);
                return rest;
            }
        }
    }
}

#[test]
fn every_way_to_say_a_path_is_seen() {
    let module = ["server", "process", "child"].map(String::from);
    let paths = |code| -> Vec<String> {
        let code = super::source::without_comments_and_strings(code);
        let paths = paths(&code, &module).into_iter();
        paths.map(|path| path.join("::")).collect()
    };
    let none: [String; 0] = [];
    assert_eq!(
        paths("use crate::net::{Fd, listen::{self, x}};"),
        [
            "crate::net::Fd",
            "crate::net::listen",
            "crate::net::listen::x"
        ]
    );
    assert_eq!(
        paths("use crate::{\n    net::{Fd, x::y},\n    proto,\n};"),
        ["crate::net::Fd", "crate::net::x::y", "crate::proto"]
    );
    assert_eq!(
        paths("let fd: crate::net::Fd = x(crate::chat());"),
        ["crate::net::Fd", "crate::chat"]
    );
    assert_eq!(
        paths("use super::super::super::net::Fd; self::a::b; super::y::Z"),
        [
            "crate::net::Fd",
            "crate::server::process::child::a::b",
            "crate::server::process::y::Z"
        ]
    );
    assert_eq!(
        paths("use tidings::net; tidings::{proto::Tick};"),
        ["tidings::net", "tidings::proto::Tick"]
    );
    assert_eq!(
        paths("// crate::net\n/// [`x`](crate::net)\n\"crate::net \\\" crate::x\""),
        none
    );
    assert_eq!(paths("('\"', crate::net, '\"', 'a, '/')"), ["crate::net"]);
    assert_eq!(paths("mycrate::net; a::crate::x; my_tidings::net"), none);
}
