//! Why the store doesn't take a record, or can't be opened.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Less than `free_bytes_min` is free on the disk, or the disk is full. Comes back by itself.
    #[error("the disk has less than {free_bytes_min} bytes free")]
    DiskFull {
        /// What has to be free.
        free_bytes_min: u64,
    },
    /// The store holds as much as it may, and lets nothing go ([`super::WhenFull::Refuse`]).
    #[error("the store holds {bytes_max} bytes, which is its bound")]
    Full {
        /// The bound.
        bytes_max: u64,
    },
    /// More channels, readers, members or producers than the settings let it have.
    #[error("there are {max} {what} already")]
    TooMany {
        /// The plural noun of what there are too many of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A write or a sync failed: nothing is taken until the file is reopened and verified.
    #[error("writing to {} failed", file.display())]
    Failed {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Bytes that were durable are not what was written.
    #[error("{} is damaged at byte {at}: {what}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// The byte of the flaw.
        at: u64,
        /// What is wrong, and what to do.
        what: String,
    },
    /// A file of a format that this version doesn't read.
    #[error("{} has format {found}, but this version reads {readable}", file.display())]
    Format {
        /// Which file.
        file: PathBuf,
        /// The version in its header.
        found: u32,
        /// What is read here.
        readable: u32,
    },
    /// Another process has the directory.
    #[error("{} is in use by another process", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// The system refused something else.
    #[error("can't {what} {}", path.display())]
    Io {
        /// The verb of what was to be done.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
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
