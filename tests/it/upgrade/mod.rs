//! The upgrade in place: the program is replaced under a server that runs, in the same process, and
//! whatever fails leaves the server as it was.

mod carried;
mod cuts;
mod during;
mod errands;
mod faults;
mod gateway;
mod golden;
mod images;
mod limits;
mod links;
mod listeners;
mod moments;
mod processes;
mod same;
mod service;
mod stages;
mod stored;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;

use crate::service::{said, tidings};
use crate::support::program::Program;
use crate::support::wait::until;

/// A server with its data in a folder, whose points can be told to fail.
pub struct Upgradable {
    pub folder: tempfile::TempDir,
    pub program: Program,
}

impl Upgradable {
    pub fn serve(more: &[&str]) -> Self {
        Self::start(Path::new(env!("CARGO_BIN_EXE_tidings")), more, |_| {})
    }

    /// One of this file, with more said of how it is started.
    pub fn start(binary: &Path, more: &[&str], with: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary);
        command.current_dir(folder.path()).env_clear();
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            // On a machine that is busy with other tests.
            .args(["--set", "freeze_ms_max=20000"])
            .args(more);
        command.env("FAULTS_OF_TIDINGS", folder.path().join("faults"));
        with(&mut command);
        let program = Program::start(&mut command);
        Self { folder, program }
    }

    /// Has this point fail or wait from now on, or none.
    pub fn let_fail(&self, point: &str) {
        // At once: a server that reads a part would go on with something else.
        let (draft, faults) = (self.folder.path().join("draft"), "faults");
        fs::write(&draft, point).unwrap();
        fs::rename(draft, self.folder.path().join(faults)).unwrap();
    }

    /// Waits until the server waits at this point, as it was told to.
    #[track_caller]
    pub fn waits_at(&self, point: &str) {
        let reached = self.folder.path().join("faults.reached");
        until(point, || {
            fs::read_to_string(&reached).is_ok_and(|text| text.lines().any(|line| line == point))
        });
        fs::remove_file(reached).unwrap();
    }

    /// Does something while an upgrade waits at this point, which goes on then; the upgrade's outcome. At a
    /// point of a freeze it is the second one, whose end is the next image.
    pub fn upgrade_and(&self, point: &str, work: impl FnOnce()) -> (i32, String, String) {
        let first = match is_of_a_freeze(point) {
            true => "rehearsed",
            false => point,
        };
        self.let_fail(first);
        self.meanwhile(&[], || {
            self.waits_at(first);
            if first != point {
                self.let_fail(point);
                self.waits_at(point);
            }
            work();
        })
    }

    /// Does something while an upgrade is under way, which nothing keeps from its end then; its outcome.
    pub fn meanwhile(&self, more: &[&str], work: impl FnOnce()) -> (i32, String, String) {
        let folder = self.folder.path();
        std::thread::scope(|scope| {
            let upgrade = scope.spawn(|| upgrade_in(folder, more));
            // A test that fails must not leave the server waiting for ever.
            let worked = catch_unwind(AssertUnwindSafe(work));
            self.let_fail("");
            let upgraded = upgrade.join().unwrap();
            worked.unwrap_or_else(|panic| resume_unwind(panic));
            upgraded
        })
    }

    /// `tidings upgrade` with more arguments: exit code, standard output and standard error.
    pub fn upgrade(&self, more: &[&str]) -> (i32, String, String) {
        upgrade_in(self.folder.path(), more)
    }

    /// An upgrade that has to go well.
    #[track_caller]
    pub fn is_upgraded(&self, more: &[&str]) -> String {
        let (code, out, err) = self.upgrade(more);
        assert_eq!(code, 0, "{err}");
        out
    }

    /// An upgrade that has to be refused for this reason.
    #[track_caller]
    pub fn is_refused(&self, more: &[&str], reason: &str) {
        let (code, out, err) = self.upgrade(more);
        assert_eq!((code, &*out), (1, ""), "{err}");
        assert!(err.contains(reason), "{reason}: {err}");
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        let (code, out, err) = said(&mut tidings(self.folder.path(), &["status", "--json"]));
        assert_eq!((code, &*err), (0, ""), "{out}");
        serde_json::from_str(&out).expect("a line of JSON")
    }

    /// The file that the server runs.
    pub fn image(&self) -> PathBuf {
        let pid = self.program.pid().as_raw_nonzero();
        fs::read_link(format!("/proc/{pid}/exe")).unwrap()
    }

    /// The server answers, and so does its control socket.
    #[track_caller]
    pub fn serves(&self) {
        assert_eq!(self.program.http().get("/readyz").status, 200);
        assert_eq!(self.status()["pid"], self.program.pid().as_raw_pid());
    }
}

/// `tidings upgrade` of the server in this folder: exit code, standard output and standard error.
pub fn upgrade_in(folder: &Path, more: &[&str]) -> (i32, String, String) {
    said(&mut tidings(folder, &[&["upgrade"], more].concat()))
}

/// All points at which an upgrade can wait, in their order.
pub const POINTS: [&str; 9] = [
    "rehearsed",
    "freeze.hush",
    "freeze.settle",
    "freeze.rest",
    "freeze.part",
    "freeze.still",
    "exec.wait",
    "thaw.wait",
    "commit.wait",
];

fn is_of_a_freeze(point: &str) -> bool {
    point.starts_with("freeze.")
}

/// How many rounds of something are run: few, or as many as the variable says.
pub fn rounds(few: usize) -> usize {
    let rounds = std::env::var("TIDINGS_UPGRADE_ROUNDS").ok();
    rounds.map_or(few, |rounds| rounds.parse().expect("a number"))
}

/// Tells threads that it is over once it is dropped, also by a test that fails.
pub struct Over(Arc<AtomicBool>);

impl Over {
    pub fn not_yet() -> Self {
        Self(Arc::default())
    }

    /// For a thread that looks.
    pub fn seen(&self) -> impl Fn() -> bool + Send + use<> {
        let is_over = Arc::clone(&self.0);
        move || is_over.load(SeqCst)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
