//! The files of `src` and of the load generator, and their code without tests, comments and strings.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the load generator lies: a package of its own, which uses nothing of ours.
pub const LOAD_GENERATOR: &str = "benches/load";

/// One file of the library, the binary or the load generator.
pub struct Source {
    pub path: PathBuf,
    pub text: String,
}

impl Source {
    /// The names of the modules from the crate's root to this file.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.with_extension("");
        let mut names: Vec<String> = path
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.pop_if(|name| *name == "mod");
        names
    }

    /// Whether the file holds unit tests only.
    pub fn is_test(&self) -> bool {
        self.module().iter().any(|name| name == "tests")
    }

    /// The text of the file up to its unit tests, without comments and strings.
    pub fn code(&self) -> String {
        let (code, _tests) = self
            .text
            .split_once("#[cfg(test)]\nmod ")
            .unwrap_or((&self.text, ""));
        without_comments_and_strings(code)
    }
}

/// The files of the library and the binary.
pub fn sources() -> Vec<Source> {
    let sources = sources_below("src");
    assert!(sources.len() > 50, "these can't be all");
    sources
}

/// The files of the load generator.
pub fn load_generator() -> Vec<Source> {
    let sources = sources_below(&format!("{LOAD_GENERATOR}/src"));
    assert!(sources.len() > 20, "these can't be all");
    sources
}

fn sources_below(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
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
    sources
}

/// Good enough for our own formatted code: raw strings and nested comments would fool it.
pub fn without_comments_and_strings(code: &str) -> String {
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
