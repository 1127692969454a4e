//! Signals that aren't meant for a program change nothing in it, from its start on and in its processes;
//! a terminal that is gone stops all of it in order.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::gateway::procfs::children_of;
use crate::service::terminal::at_a_terminal;
use crate::support::http::HttpClient;
use crate::support::program::{Lines, Program};
use crate::support::wait::until;

const GATEWAY: [&str; 5] = [
    "gateway",
    "--listen",
    "127.0.0.1:0",
    "--upstream",
    "ws://127.0.0.1:9/link",
];

/// A gateway in a group of its own, as a shell starts one.
fn gateway(data: &std::path::Path) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    start(command.args(GATEWAY).process_group(0), data)
}

fn start(command: &mut Command, data: &std::path::Path) -> Program {
    command.arg("--data").arg(data).env(
        "TIDINGS_GATEWAY_LINK_KEY",
        "0123456789abcdef0123456789abcdef",
    );
    Program::start(command)
}

/// The push process, once it is past its start.
fn push_of(gateway: &mut Program) -> Pid {
    gateway.stderr.wait_for("the link is dead");
    children_of(gateway.pid())[0]
}

#[test]
fn a_push_process_goes_on_at_signals_that_are_not_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = gateway(folder.path());
    let push = push_of(&mut gateway);
    for signal in [Signal::USR1, Signal::USR2, Signal::HUP, Signal::INT] {
        kill_process(push, signal).unwrap();
    }
    // One that it heeds comes behind those, and the next process is another one.
    kill_process(push, Signal::TERM).unwrap();
    let line = gateway.stderr.wait_for("process died");
    assert!(line.contains("exit status: 0"), "{line}");
    until("there is another one", || {
        children_of(gateway.pid()).iter().any(|pid| *pid != push)
    });
    gateway.stop();
}

#[test]
fn a_signal_for_an_upgrade_that_the_push_process_gets_too_replaces_both_and_harms_neither() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = gateway(folder.path());
    let push = push_of(&mut gateway);
    kill_process_group(gateway.pid(), Signal::USR2).unwrap();
    gateway.stderr.wait_for("upgraded");
    let line = gateway.stderr.wait_for("process ended for its successor");
    assert!(line.contains("exit status: 0"), "{line}");
    let mut http = HttpClient::connect(gateway.address);
    assert_eq!(http.get("/healthz").status, 200);
    drop(http);
    assert_ne!(push_of(&mut gateway), push);
    gateway.stop();
}

#[test]
fn a_terminal_that_is_gone_stops_a_gateway_and_its_process_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut command, terminal) = at_a_terminal(&GATEWAY);
    let mut gateway = start(&mut command, folder.path());
    push_of(&mut gateway);
    let mut http = HttpClient::connect(gateway.address);
    let body = r#"{"to":{"room":"tea"},"data":1}"#;
    let answer = http.ask_with_json("POST", "/v1/messages", body).unwrap();
    assert_eq!(answer.status, 202);
    drop(http);
    drop(terminal);
    assert_eq!(gateway.exit_code(), 0);
    let log = gateway.stderr.all();
    assert!(log.contains("SIGHUP"), "{log}");
    let ended = "process ended process=push status=exit status: 0";
    assert!(log.contains(ended), "{log}");
    assert!(gateway.stdout.all().contains(": 1 messages, which wait in"));
}

/// A server that waits for its settings, which come through a pipe.
fn starting(pipe: &std::path::Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            "none",
            "--config",
        ])
        .arg(pipe)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_signal_that_means_nothing_does_not_end_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("settings");
    mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
    let mut child = starting(&pipe);
    // Returns once the server has opened it too.
    let mut settings = OpenOptions::new().write(true).open(&pipe).unwrap();
    let pid = Pid::from_child(&child);
    for signal in [Signal::USR1, Signal::USR2] {
        kill_process(pid, signal).unwrap();
    }
    settings.write_all(b"workers = 1\n").unwrap();
    drop(settings);
    Lines::of(child.stdout.take().unwrap()).wait_for("listening on ");
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
