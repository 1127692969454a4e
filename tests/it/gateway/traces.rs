//! What a program leaves behind.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Pid;

use super::procfs::{children_of, described, open_in, processes, sockets};
use crate::support::program::ends_within;
use crate::support::wait::until_none;

/// The environment variable with the folder of a program under test: whatever it starts inherits
/// it, whoever its parent is later.
pub const FOLDER_VAR: &str = "FOLDER_OF_THE_TEST";

/// What a program had just before its end, and nobody may have after it.
pub struct Traces {
    folder: PathBuf,
    /// It, and what it had started.
    family: Vec<Pid>,
    /// As `/proc` calls them: `socket:[4711]`. A number isn't used again, as a port is.
    sockets: BTreeSet<String>,
}

impl Traces {
    /// Those of a program that was started with [`FOLDER_VAR`].
    pub fn of(folder: &Path, program: Pid) -> Self {
        let mut family = children_of(program);
        family.push(program);
        let inherited: BTreeSet<String> = open_in(rustix::process::getpid()).collect();
        let held = family.iter().flat_map(|pid| open_in(*pid));
        let sockets = held.filter(|one| one.starts_with("socket:") && !inherited.contains(one));
        Self {
            folder: folder.to_owned(),
            sockets: sockets.collect(),
            family,
        }
    }

    /// Whether nobody lives any more who was there.
    pub fn all_have_ended(&self) -> bool {
        let mut family = self.family.iter();
        family.all(|pid| ends_within(*pid, Duration::ZERO))
    }

    /// Fails unless everything goes but the files of the journal: no process of its kind lives, a
    /// descriptor of the folder or a socket of it is nowhere, nobody has a lock.
    #[track_caller]
    pub fn nothing_is_left(&self) {
        until_none("processes live", || self.processes());
        until_none("processes hold what is in the folder", || {
            self.processes_that_hold_it()
        });
        until_none("sockets are there", || self.sockets_left());
        until_none("files are locked", || self.files_locked());
        let strangers = self.strangers();
        assert!(strangers.is_empty(), "files were left: {strangers:?}");
    }

    fn processes(&self) -> Vec<String> {
        let name = self.folder.as_os_str().as_encoded_bytes();
        let is_of_it = |pid: &Pid| {
            ["environ", "cmdline"].iter().any(|file| {
                // Nothing of a process that has gone meanwhile.
                let bytes = fs::read(format!("/proc/{}/{file}", pid.as_raw_pid()));
                bytes.is_ok_and(|bytes| bytes.windows(name.len()).any(|part| part == name))
            })
        };
        processes().filter(is_of_it).map(described).collect()
    }

    fn processes_that_hold_it(&self) -> Vec<String> {
        let folder = self.folder.to_str().unwrap();
        let is_holding = |pid: &Pid| open_in(*pid).any(|target| target.starts_with(folder));
        processes().filter(is_holding).map(described).collect()
    }

    fn sockets_left(&self) -> Vec<String> {
        let left = sockets().filter(|socket| self.sockets.contains(&socket.name));
        left.map(|socket| socket.line).collect()
    }

    fn files_locked(&self) -> Vec<String> {
        let is_locked = |path: &PathBuf| {
            let file = File::open(path).unwrap();
            let lock = flock(&file, FlockOperation::NonBlockingLockExclusive);
            // At once, also where another thread's child has a copy of the descriptor.
            lock.is_err() || flock(&file, FlockOperation::Unlock).is_err()
        };
        // The control socket is no file that could be opened.
        let is_file = |path: &PathBuf| fs::symlink_metadata(path).unwrap().is_file();
        let paths = files_in(&self.folder).filter(|path| is_file(path) && is_locked(path));
        paths.map(|path| path.display().to_string()).collect()
    }

    /// What is neither a file of the journal nor the control socket, which whoever is killed leaves there:
    /// the next start takes its place.
    fn strangers(&self) -> Vec<String> {
        let is_stranger = |path: &PathBuf| {
            let own = path.file_name().unwrap().to_str().unwrap();
            let is_journal = own.starts_with("journal-") && own.ends_with(".log");
            let kind = fs::symlink_metadata(path).unwrap().file_type();
            let is_known = match own {
                "control.sock" => kind.is_socket(),
                _ => kind.is_file() && (is_journal || own == "lock"),
            };
            !is_known
        };
        let paths = files_in(&self.folder).filter(is_stranger);
        paths.map(|path| path.display().to_string()).collect()
    }
}

fn files_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path())
}
