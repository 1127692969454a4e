//! The names of the files in a store's directory.

/// The file that a process locks for as long as it has the store open.
pub(super) const LOCK: &str = "lock";
/// The end of the name of a segment that isn't complete yet.
pub(super) const UNFINISHED: &str = ".tmp";

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".log";

/// Makes the name of a segment's file.
pub(super) fn segment(number: u32) -> String {
    format!("{PREFIX}{number:010}{SUFFIX}")
}

/// Whether a file of this name belongs to a store, also one that a repair has put aside.
pub(super) fn is_of_store(name: &str) -> bool {
    name == LOCK || name.starts_with(PREFIX)
}

/// Returns the number of a segment, if this is the name of one.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let number = digits.parse().ok()?;
    (segment(number) == name && number > 0).then_some(number)
}
