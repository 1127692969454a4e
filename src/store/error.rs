//! The errors of a store: it doesn't take a record, or can't be opened.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why a store fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Less than `free_bytes_min` is free on the disk, or the disk is full. The store takes records
    /// again by itself once there is room.
    #[error("the disk has less than {free_bytes_min} bytes free")]
    DiskFull {
        /// Bytes that have to be free.
        free_bytes_min: u64,
    },
    /// The store holds as much as it may, and lets nothing go ([`super::WhenFull::Refuse`]).
    #[error("the store holds {bytes_max} bytes, which is its bound")]
    Full {
        /// The bound of the store's size, in bytes.
        bytes_max: u64,
    },
    /// There are as many channels, readers, members or producers as the settings allow.
    #[error("there are {max} {what} already")]
    TooMany {
        /// The things that there are too many of, as a plural noun.
        what: &'static str,
        /// The most that there may be.
        max: usize,
    },
    /// One sender has its share of what the store has little room for: nothing was taken, and others aren't
    /// refused.
    #[error("there are {max} {what} already")]
    OverShare {
        /// The things of which the sender has its share, as a plural noun.
        what: &'static str,
        /// The share.
        max: usize,
    },
    /// A write or a sync failed: nothing is taken until the file is reopened and verified.
    #[error("writing to {} failed", file.display())]
    Failed {
        /// The path of the file.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Bytes that were durable are not what was written.
    #[error("{} is damaged at byte {at}: {what}", file.display())]
    Damaged {
        /// The path of the file.
        file: PathBuf,
        /// The byte of the flaw.
        at: u64,
        /// A description of the damage, and the way to mend it.
        what: String,
    },
    /// A file of a format that this version doesn't read.
    #[error("{} has format {found}, but this version reads {readable}", file.display())]
    Format {
        /// The path of the file.
        file: PathBuf,
        /// The format in the file's head.
        found: u32,
        /// The format that this version reads.
        readable: u32,
    },
    /// Whether the record was taken isn't known: it may be given again, with the same id.
    #[error("whether it was taken is not known; send it again with the same id")]
    Unsettled,
    /// The store that nodes share is out of reach, or doesn't take anything now: nothing was taken.
    #[error("the shared log is out of reach: {0}")]
    Away(Box<str>),
    /// The store that nodes share has no room: nothing was taken. It takes records again by itself once
    /// there is room.
    #[error("the shared log is full: {0}")]
    LogFull(Box<str>),
    /// Another process has the directory.
    #[error("{} is in use by another process", directory.display())]
    Locked {
        /// The path of the directory.
        directory: PathBuf,
    },
    /// The system refused something else.
    #[error("can't {what} {}", path.display())]
    Io {
        /// The step that failed, as a verb.
        what: &'static str,
        /// The path of the file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl StoreError {
    /// Makes an [`StoreError::Io`]; `what` is the failed step as a verb phrase.
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            what,
            path: path.into(),
            source,
        }
    }

    /// Makes a [`StoreError::Damaged`] that names the commands to look at the damage and to cut it
    /// off.
    pub(super) fn damaged(file: impl Into<PathBuf>, at: u64, flaw: &str) -> Self {
        let file = file.into();
        let (directory, path) = (file.parent().unwrap_or(Path::new(".")), file.display());
        let what = format!(
            "{flaw}; restore it from a copy, or look with `tidings store verify {}` and cut it \
             with `tidings store repair {path} --cut-at {at}`",
            directory.display()
        );
        Self::Damaged { file, at, what }
    }
}
