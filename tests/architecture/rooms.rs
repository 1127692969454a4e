//! The rules for a file: it is short, and only one has unsafe code.

use super::source::{load_generator, sources};

/// Lines of a file at most: about ten screens; above that a file has more than one noun in it.
const LINES_MAX: usize = 600;

/// The one file with `unsafe`: what an upgrade asks of the kernel that no safe function gives.
const UNSAFE: &str = "server/upgrade/kernel.rs";

#[test]
fn a_file_is_one_noun_and_one_alone_is_unsafe() {
    for source in sources().into_iter().chain(load_generator()) {
        let lines = source.text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines",
            source.path.display()
        );
        let code = source.code();
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let is_unsafe = words.any(|word| word == "unsafe");
        assert_eq!(
            is_unsafe,
            source.path.ends_with(UNSAFE),
            "{}",
            source.path.display()
        );
    }
}
