//! The names of the files in a store's directory.

/// Held for as long as a process has the directory.
pub(super) const LOCK: &str = "lock";
/// The end of the name of what is not finished.
pub(super) const UNFINISHED: &str = ".tmp";

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".log";

/// The name of a file of the journal.
pub(super) fn segment(number: u32) -> String {
    format!("{PREFIX}{number:010}{SUFFIX}")
}

/// The number of a file of the journal, if it is one.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let number = digits.parse().ok()?;
    (segment(number) == name && number > 0).then_some(number)
}
