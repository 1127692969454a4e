//! A child by its PID and pidfd: how it is watched, killed and reaped.
//!
//! Unlike [`std::process::Child`] it can be made of two numbers. Dropped, it kills and reaps the child.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};

/// The status, as `wait(2)` gives it, of a child that somebody else has reaped: exit code 255.
const UNKNOWN_STATUS: i32 = 255 << 8;

/// One child of this process.
#[derive(Debug)]
pub(super) struct ChildHandle {
    pid: Pid,
    /// Readable when the child has died.
    pidfd: OwnedFd,
    exited: Option<ExitStatus>,
}

impl ChildHandle {
    /// Takes over a child that was just started.
    pub(super) fn of(mut child: Child) -> io::Result<Self> {
        // The child isn't reaped yet, so its PID can't belong to another process.
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self {
                pid,
                pidfd,
                exited: None,
            }),
            Err(error) => {
                if child.kill().is_ok() {
                    // After SIGKILL this waits only as long as the kernel needs to end the process.
                    let _ = child.wait();
                }
                Err(error.into())
            }
        }
    }

    /// Goes on with a child whose PID and pidfd another program image had.
    pub(super) fn adopt(pid: Pid, pidfd: OwnedFd, exited: Option<ExitStatus>) -> Self {
        Self { pid, pidfd, exited }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn raw_pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn pidfd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }

    /// Returns the status of a child that was reaped.
    pub(super) fn exited(&self) -> Option<ExitStatus> {
        self.exited
    }

    /// Reaps the child if it has died; returns whether it just was.
    pub(super) fn reap(&mut self) -> bool {
        self.reap_with(WaitIdOptions::NOHANG)
    }

    /// Sends SIGKILL; the death is noticed later, like any other.
    pub(super) fn kill(&self) {
        if self.exited.is_none() {
            // The only error is that the child has died already.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
    }

    /// Takes the status of a child that was reaped by its PID.
    pub(super) fn reaped(&mut self, status: ExitStatus) {
        self.exited.get_or_insert(status);
    }

    /// Takes it apart into the numbers that a handover has; nobody reaps the child then.
    #[cfg(test)]
    pub(super) fn numbers(mut self) -> (Pid, OwnedFd) {
        // Nothing to do where it is dropped.
        self.exited = Some(ExitStatus::default());
        let pidfd = self.pidfd.try_clone().expect("a descriptor");
        (self.pid, pidfd)
    }

    fn reap_with(&mut self, options: WaitIdOptions) -> bool {
        if self.exited.is_some() {
            return false;
        }
        let id = WaitId::PidFd(self.pidfd.as_fd());
        self.exited = match waitid(id, WaitIdOptions::EXITED | options) {
            Ok(status) => status.as_ref().and_then(exit_status),
            // Where SIGCHLD is ignored the kernel reaps it.
            Err(Errno::CHILD) => Some(ExitStatus::from_raw(UNKNOWN_STATUS)),
            Err(_) => None,
        };
        self.exited.is_some()
    }
}

impl AsFd for ChildHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for ChildHandle {
    fn drop(&mut self) {
        if self.exited.is_none() {
            self.kill();
            // After SIGKILL this waits only as long as the kernel needs to end the process.
            self.reap_with(WaitIdOptions::empty());
        }
    }
}

/// The status as the rest of the program knows it, which is made of the one of `wait(2)`.
fn exit_status(status: &WaitIdStatus) -> Option<ExitStatus> {
    let dumped = if status.dumped() { 0x80 } else { 0 };
    let exited = status.exit_status().map(|code| (code & 0xff) << 8);
    let raw = exited.or_else(|| Some(status.terminating_signal()? | dumped))?;
    Some(ExitStatus::from_raw(raw))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn start(script: &str) -> ChildHandle {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stderr(Stdio::null());
        ChildHandle::of(command.spawn().unwrap()).unwrap()
    }

    fn status_of(mut child: ChildHandle) -> ExitStatus {
        poll(&mut [PollFd::new(&child, PollFlags::IN)], None).unwrap();
        assert!(child.reap() && !child.reap(), "once");
        child.exited().unwrap()
    }

    #[test]
    fn a_child_has_the_status_that_it_ended_with() {
        assert_eq!(status_of(start("exit 0")).code(), Some(0));
        assert_eq!(status_of(start("exit 200")).code(), Some(200));
        assert_eq!(status_of(start("kill -TERM $$")).signal(), Some(15));
        let aborted = status_of(start("ulimit -c 0; kill -ABRT $$"));
        assert_eq!((aborted.signal(), aborted.code()), (Some(6), None));
    }

    #[test]
    fn a_child_is_there_until_it_is_killed_or_dropped() {
        let mut child = start("exec sleep 600");
        assert!(!child.reap());
        child.kill();
        assert_eq!(status_of(child).signal(), Some(9));
        let child = start("exec sleep 600");
        let pid = child.pid;
        drop(child);
        let gone = rustix::process::test_kill_process(pid);
        assert_eq!(gone, Err(Errno::SRCH), "killed and reaped");
    }

    #[test]
    fn a_child_that_somebody_else_has_reaped_is_dead() {
        let mut child = start("exit 3");
        let options = rustix::process::WaitOptions::empty();
        rustix::process::waitpid(Some(child.pid), options).unwrap();
        assert!(child.reap());
        assert_eq!(child.exited().unwrap().code(), Some(255));
    }
}
