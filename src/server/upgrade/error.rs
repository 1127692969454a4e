//! The reasons for which a program stays what it is.

use std::io;
use std::path::PathBuf;

use crate::server::freeze::FreezeError;

/// The reason for which an upgrade was refused; nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The next image can't be opened.
    #[error("can't open {}", path.display())]
    Open {
        /// The path of the file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path leads to something else than a file.
    #[error("{} is no file", .0.display())]
    NoFile(PathBuf),
    /// Nobody may execute the file.
    #[error("{} can't be executed", .0.display())]
    NotExecutable(PathBuf),
    /// The file was written over while it was rehearsed.
    #[error("{} was changed after it was rehearsed", .0.display())]
    Changed(PathBuf),
    /// The next image can't go on with what this one would hand over.
    #[error("{} can't take over", path.display())]
    Rehearsal {
        /// The path of the file.
        path: PathBuf,
        /// The reason.
        source: RehearsalError,
    },
    /// This image couldn't go on with what it would hand over itself.
    #[error("there would be no way back")]
    WayBack(#[source] RehearsalError),
    /// The memory that is free is too little for two handovers and what becomes of them.
    #[error("it needs {needed_mib} MiB of memory, and {free_mib} MiB are free")]
    Memory {
        /// MiB that an upgrade needs.
        needed_mib: u64,
        /// MiB that are free.
        free_mib: u64,
    },
    /// The server would stand still for too long.
    #[error(
        "everything would stand still for longer than {ms_max} ms: it did so for {ms} in a trial"
    )]
    Pause {
        /// The time for which it stood in a trial, in milliseconds.
        ms: u128,
        /// The time for which it may stand, in milliseconds.
        ms_max: u64,
    },
    /// Not everything came to a stand.
    #[error("the server could not be brought to a stand")]
    Freeze(#[from] FreezeError),
    /// The server ended meanwhile.
    #[error("the server is stopping")]
    Stopping,
    /// There is something that can't be handed over.
    #[error("{0}")]
    NotCarried(String),
    /// The system refuses to execute the next image; everything goes on.
    #[error("the system refuses to execute the next image")]
    Execution(#[source] io::Error),
    /// The system refused something else.
    #[error("{what}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl UpgradeError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// The reason for which a rehearsal came to no good end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RehearsalError {
    /// The system doesn't execute the file.
    #[error("it can't be executed")]
    Execution(#[source] io::Error),
    /// The program has no such command.
    #[error(
        "it doesn't know how to rehearse an upgrade: it is another program, or a version from before \
         upgrades"
    )]
    Foreign,
    /// The program ended without a word on how it went; this is what it complained of.
    #[error("its rehearsal ended without a report: {0}")]
    Silent(String),
    /// The program says that it can't take over, and why.
    #[error("{0}")]
    Refused(String),
    /// The program was given up.
    #[error("its rehearsal took longer than {0} s")]
    Slow(u64),
    /// The system refused something that a rehearsal needs.
    #[error("{what}")]
    System {
        /// The step that failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}
