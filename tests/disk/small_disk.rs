//! A small disk for a test, in memory (tmpfs); to mount one needs the right to.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::support::wait::until;

/// Of what `stat` counts.
const BLOCK_BYTES: u64 = 512;

/// A mounted disk, which goes with this value.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    pub fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path())
            .output()
            .expect("there is `mount`");
        assert!(
            mounted.status.success(),
            "this test has to be root, to mount a disk that it can fill: {mounted:?}"
        );
        Self { folder }
    }

    /// A folder for the server's data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn free(&self) -> u64 {
        let status = statvfs(self.folder.path()).unwrap();
        status.f_bavail * status.f_frsize
    }

    /// Takes what is free, but for so many bytes; others may write meanwhile.
    pub fn fill(&self, left: u64) {
        let filler = File::create(self.filler()).unwrap();
        let mut taken = 0;
        loop {
            let size = self.free().saturating_sub(left);
            if size == 0 {
                return;
            }
            match fallocate(&filler, FallocateFlags::empty(), taken, size) {
                Ok(()) => taken += size,
                // Somebody else was faster.
                Err(Errno::NOSPC) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Gives it back, and waits until it is free: a program that another test is just starting may hold
    /// the file for a moment longer.
    pub fn clear(&self) {
        let taken = fs::metadata(self.filler()).unwrap().blocks() * BLOCK_BYTES;
        let before = self.free();
        fs::remove_file(self.filler()).unwrap();
        until("the room is free", || self.free() >= before + taken / 2);
    }

    /// The file that takes the room.
    pub fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server has ended by now, and the folder is empty behind it.
        let unmounted = Command::new("umount").arg(self.folder.path()).status();
        let is_unmounted = unmounted.is_ok_and(|status| status.success());
        assert!(
            is_unmounted || std::thread::panicking(),
            "{} stays mounted",
            self.folder.path().display()
        );
    }
}
