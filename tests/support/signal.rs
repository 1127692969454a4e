//! Signals to processes under test.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::until;

/// Sends a signal; one that stops has stopped all threads when this returns, which takes a while.
pub fn send(pid: Pid, signal: Signal) {
    kill_process(pid, signal).unwrap();
    if signal == Signal::STOP {
        until("all its threads stand still", || has_stopped(pid));
    }
}

/// Whether all threads are in the state T, proc_pid_stat(5).
fn has_stopped(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    threads.flatten().all(|thread| {
        let told = fs::read_to_string(thread.path().join("stat"));
        // The name, in parentheses, may hold blanks.
        told.is_ok_and(|told| {
            (told.rsplit_once(") ")).is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    })
}
