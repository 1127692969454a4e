//! What a start does to the files at once, and the next image of the program only once it goes on.

use std::path::PathBuf;

/// What is still to be done to the files of a store that was opened without changing them.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// Whether the active segment was read: it may not be durable yet.
    pub(super) is_unsynced: bool,
    /// Whether it ends with a batch that was not written to its end.
    pub(super) is_torn: bool,
    /// Segments that nobody needs.
    pub(super) unneeded: Vec<PathBuf>,
}
