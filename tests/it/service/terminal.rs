//! A terminal that a program under test runs at, and that can be closed.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A command that runs `tidings` as the first process of a session with this terminal, which closes
/// when it is dropped.
pub fn at_a_terminal(arguments: &[&str]) -> (Command, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let mut command = Command::new("setsid");
    command
        .arg("--ctty")
        .arg(env!("CARGO_BIN_EXE_tidings"))
        .args(arguments)
        .stdin(other_end(std::ffi::OsStr::from_bytes(name.as_bytes())));
    (command, terminal)
}

fn other_end(name: &std::ffi::OsStr) -> File {
    let mut options = OpenOptions::new();
    // The terminal is for the program, not for the test.
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, O_NOCTTY);
    options.read(true).write(true).open(name).unwrap()
}

const O_NOCTTY: i32 = rustix::fs::OFlags::NOCTTY.bits() as i32;
