//! `tidings` as the first process of a container: it reaps the orphans, and takes no status from its own
//! processes; signals work.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::gateway::procfs::children_of;
use crate::support::program::{Program, ends_within};
use crate::support::wait::until;

/// Orphans at a time.
const ORPHANS: usize = 20;

/// A gateway that is the first process of a namespace, and its PID out here.
fn first_process(folder: &Path, more: &str) -> (Program, Pid) {
    let tidings = env!("CARGO_BIN_EXE_tidings");
    let script = format!(
        "{more} exec {tidings} gateway --listen 127.0.0.1:0 --upstream ws://127.0.0.1:9/link --data data"
    );
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", &script])
        .current_dir(folder)
        .env(
            "TIDINGS_GATEWAY_LINK_KEY",
            "0123456789abcdef0123456789abcdef",
        );
    let program = Program::start(&mut command);
    let inner = children_of(program.pid());
    assert_eq!(inner.len(), 1, "{inner:?}");
    let inner = inner[0];
    (program, inner)
}

#[test]
fn the_first_process_of_a_container_reaps_orphans_and_knows_how_its_own_processes_end() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    mkfifoat(CWD, &gate, Mode::from_raw_mode(0o600)).unwrap();
    // Each is left by its parent before the gateway begins, and ends when the gate is opened and closed.
    let orphans = format!("for i in $(seq {ORPHANS}); do (cat gate > /dev/null &); done;");
    let (mut program, inner) = first_process(folder.path(), &orphans);
    program.stderr.wait_for("the link is dead");
    until("all are there", || children_of(inner).len() == ORPHANS + 1);
    let push_of = |program: &mut Program| {
        let line = program.stderr.wait_for("process started");
        line.contains("process=push")
    };
    for _ in 0..5 {
        // The youngest, which nobody but the gateway has started.
        let push = *children_of(inner)
            .last()
            .expect("the push process is there");
        kill_process(push, Signal::KILL).unwrap();
        let died = program.stderr.wait_for("process died");
        assert!(died.contains("signal: 9"), "{died}");
        assert!(push_of(&mut program));
    }
    // All end at once, while the push process ends, too.
    let push = *children_of(inner)
        .last()
        .expect("the push process is there");
    let opened = OpenOptions::new().write(true).open(&gate).unwrap();
    kill_process(push, Signal::KILL).unwrap();
    drop(opened);
    let died = program.stderr.wait_for("process died");
    assert!(died.contains("signal: 9"), "{died}");
    assert!(push_of(&mut program));
    until("no orphan is left", || children_of(inner).len() == 1);

    kill_process(inner, Signal::USR1).unwrap();
    program.stderr.wait_for("renewed: workers 1, processes 1");
    kill_process(inner, Signal::HUP).unwrap();
    program.stderr.wait_for("SIGHUP");
    kill_process(inner, Signal::TERM).unwrap();
    assert!(ends_within(inner, crate::support::PATIENCE));
    assert_eq!(program.exit_code(), 0);
}
