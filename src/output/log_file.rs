//! A file as the log: it takes the place of standard error, and can be opened anew while the program
//! runs.
//!
//! The file becomes the program's standard error, so whatever writes there follows. A change of files
//! is one step of the kernel between two writes: each line is in the old file or in the new one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// Shortest time between two looks at whether the file was moved away: often enough that nothing is
/// missed for long, and nothing beside the lines themselves.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A log file that is open, and not yet in use.
#[derive(Debug)]
pub struct OpenLogFile(File);

impl OpenLogFile {
    /// Opens a log file for appending; its group may read it as well.
    ///
    /// # Errors
    ///
    /// The file can't be opened; it has to be in a folder that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        // A terminal must not become ours, and a pipe without a reader must not keep us waiting.
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .custom_flags(flags.bits() as i32)
            .open(path)?;
        Ok(Self(file))
    }

    /// Puts the file into the place of standard error.
    ///
    /// # Errors
    ///
    /// The system's error; standard error stays what it was.
    pub fn take_over(self) -> io::Result<()> {
        Ok(rustix::stdio::dup2_stderr(&self.0)?)
    }
}

/// A log file that this process follows by itself, since nobody tells it when to open the file anew.
#[derive(Debug)]
pub(super) struct FollowedFile {
    path: PathBuf,
    looked_at: Instant,
}

impl FollowedFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let looked_at = Instant::now();
        Self { path, looked_at }
    }

    /// Opens the file anew if another one has its name now, or none; looks once a second at most.
    pub(super) fn look(&mut self) {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked_at = Instant::now();
        let there = std::fs::metadata(&self.path).map(|file| (file.dev(), file.ino()));
        let own = rustix::fs::fstat(rustix::stdio::stderr()).map(|file| (file.st_dev, file.st_ino));
        if let (Ok(there), Ok(own)) = (&there, &own)
            && there == own
        {
            return;
        }
        // A file that can't be opened is tried again; until then the old one takes the lines.
        _ = OpenLogFile::open(&self.path).and_then(OpenLogFile::take_over);
    }
}
