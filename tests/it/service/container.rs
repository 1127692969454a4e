//! `tidings` as the first process of a container: it reaps the orphans, and takes no status from its own
//! processes; signals work.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::said;
use crate::gateway::procfs::children_of;
use crate::support::program::{Program, ends_within};
use crate::support::wait::until;

/// Orphans at a time.
const ORPHANS: usize = 20;

/// How a gateway is begun there.
const GATEWAY: &str = "gateway --listen 127.0.0.1:0 --upstream ws://127.0.0.1:9/link --data data --set control=control";

/// How a server is begun there.
const SERVE: &str = "serve --listen 127.0.0.1:0 --data data --set control=control";

/// `tidings` as the first process of a namespace, and its PID out here.
fn first_process(folder: &Path, more: &str, arguments: &str) -> (Program, Pid) {
    let tidings = env!("CARGO_BIN_EXE_tidings");
    let script = format!("{more} exec {tidings} {arguments}");
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

/// `tidings` as another process of its container.
fn within(inner: Pid) -> Command {
    let mut command = Command::new("nsenter");
    if !geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.args([
        "--pid",
        "--mount",
        "--target",
        &inner.as_raw_nonzero().to_string(),
    ]);
    command.arg(env!("CARGO_BIN_EXE_tidings"));
    command
}

/// Makes a gate, and gives the script of orphans that end when it is opened and closed; each is left by its
/// parent before the program begins.
fn orphans_behind(folder: &Path, gate: &str) -> String {
    mkfifoat(CWD, folder.join(gate), Mode::from_raw_mode(0o600)).unwrap();
    format!("for i in $(seq {ORPHANS}); do (cat {gate} > /dev/null &); done;")
}

/// Opens a gate, and closes it when that is dropped.
fn open(folder: &Path, gate: &str) -> File {
    let mut options = OpenOptions::new();
    options.write(true).open(folder.join(gate)).unwrap()
}

#[test]
fn the_first_process_of_a_container_reaps_orphans_and_knows_how_its_own_processes_end() {
    let folder = tempfile::tempdir().unwrap();
    let orphans = orphans_behind(folder.path(), "gate");
    let (mut program, inner) = first_process(folder.path(), &orphans, GATEWAY);
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
    let opened = open(folder.path(), "gate");
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

#[test]
fn the_first_process_of_a_container_is_upgraded_and_reaps_orphans_before_meanwhile_and_after() {
    for (arguments, own, asked) in [(SERVE, 0, &[][..]), (GATEWAY, 1, &["--gateway"])] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let gates = ["before", "meanwhile", "after"];
        let orphans = gates.map(|gate| orphans_behind(path, gate)).concat();
        let (mut program, inner) = first_process(path, &orphans, arguments);
        let until_there_are = |gates: usize| {
            until("the others are reaped", || {
                children_of(inner).len() == gates * ORPHANS + own
            });
        };
        let upgrade = || {
            let mut command = within(inner);
            command
                .args(["upgrade", "--control"])
                .arg(path.join("control"));
            said(command.args(asked))
        };
        until_there_are(3);
        drop(open(path, "before"));
        until_there_are(2);
        thread::scope(|scope| {
            let upgrade = scope.spawn(upgrade);
            drop(open(path, "meanwhile"));
            let (code, _, err) = upgrade.join().unwrap();
            assert_eq!(code, 0, "{err}");
        });
        until_there_are(1);
        assert_eq!(
            children_of(program.pid()),
            [inner],
            "it is the same process"
        );
        drop(open(path, "after"));
        until_there_are(0);
        if own > 0 {
            let push = children_of(inner)[0];
            kill_process(push, Signal::KILL).unwrap();
            let died = program.stderr.wait_for("process died");
            assert!(died.contains("signal: 9"), "{died}");
        }
        let (code, _, err) = upgrade();
        assert_eq!(code, 0, "{err}");
        until_there_are(0);
        assert_eq!(program.http().get("/readyz").status, 200);
        kill_process(inner, Signal::TERM).unwrap();
        assert_eq!(program.exit_code(), 0);
    }
}
