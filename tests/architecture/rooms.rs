//! The rules for a file: it is short, and has no unsafe code.

use super::source::{load_generator, sources};

/// Lines of a file at most: about ten screens; above that a file has more than one noun in it.
const LINES_MAX: usize = 600;

#[test]
fn a_file_is_one_noun_and_nothing_is_unsafe() {
    for source in sources().into_iter().chain(load_generator()) {
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
