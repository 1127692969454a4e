//! An upgrade as a service manager and a start in the background see it.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use super::{Upgradable, upgrade_in};
use crate::service::manager::{Manager, stop, with_sockets};
use crate::service::{Stranger, said, tidings};
use crate::support::http::HttpClient;
use crate::support::wait::until;

#[test]
fn a_manager_is_told_of_a_reload_and_of_a_longer_silence_and_that_the_server_serves_again() {
    let place = tempfile::tempdir().unwrap();
    let mut manager = Manager::within(place.path());
    let binary = env!("CARGO_BIN_EXE_tidings").as_ref();
    let server = Upgradable::start(binary, &[], |command| {
        command.env("NOTIFY_SOCKET", &manager.name);
        command.env("WATCHDOG_USEC", "20000000");
    });
    manager.wait_for("READY=1");
    let serving = format!("STATUS=serving on {}", server.program.address);
    for _ in 0..2 {
        server.is_upgraded(&[]);
        let lines = manager.wait_for("RELOADING=1");
        assert!(lines[1].starts_with("MONOTONIC_USEC="), "{lines:?}");
        manager.wait_for("WATCHDOG_USEC=90000000");
        manager.wait_for("WATCHDOG_USEC=20000000");
        assert_eq!(manager.wait_for("READY=1")[1], serving);
    }
    // Also after one that was refused, or the manager would wait for ever.
    server.let_fail("thaw.chat");
    server.is_refused(&[], "a test said");
    manager.wait_for("RELOADING=1");
    manager.wait_for("WATCHDOG_USEC=20000000");
    manager.wait_for("READY=1");
    server.is_refused(&["--binary", "/nowhere"], "No such file");
    manager.wait_for("RELOADING=1");
    let lines = manager.wait_for("READY=1");
    assert!(
        lines[1].contains("the last upgrade was refused"),
        "{lines:?}"
    );
    server.program.stop();
    manager.wait_for("STOPPING=1");
}

#[test]
fn sockets_of_a_manager_are_kept_and_no_image_takes_them_a_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = Manager::within(folder.path());
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, second) = (listen(), listen());
    let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
    let second = Stdio::from(OwnedFd::from(second));
    let serve = ["serve", "--data", "none", "--set", "control=c"];
    let mut command = with_sockets(folder.path(), ("2", first.into()), second, &serve);
    let program = command.env("NOTIFY_SOCKET", &manager.name).spawn().unwrap();
    drop(command);
    let [first, second] = addresses;
    let serving = format!("STATUS=serving on {first}, {second}");
    assert_eq!(manager.wait_for("READY=1")[1], serving);
    let pid = program.id();
    let held = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mut kept = addresses.map(HttpClient::connect);
    let mut counts = Vec::new();
    for _ in 0..2 {
        let (code, out, err) = upgrade_in(folder.path(), &["--control", "c"]);
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("2 connections carried"), "{out}");
        assert_eq!(manager.wait_for("READY=1")[1], serving);
        for (address, kept) in addresses.iter().zip(&mut kept) {
            assert_eq!(kept.get("/readyz").status, 200);
            assert_eq!(HttpClient::connect(*address).get("/readyz").status, 200);
        }
        until("the others are gone", || {
            let stats = kept[0].json("GET", "/v1/stats", &Value::Null).1;
            stats["totals"]["slots"] == 2
        });
        counts.push(held());
    }
    assert_eq!(counts[0], counts[1], "descriptors");
    stop(program);
}

#[test]
fn a_server_in_the_background_stays_there_and_is_the_same_process() {
    let folder = tempfile::tempdir().unwrap();
    let serve = [
        "serve",
        "-d",
        "--listen",
        "127.0.0.1:0",
        "--log-file",
        "log",
    ];
    let (code, out, err) = said(&mut tidings(folder.path(), &serve));
    assert_eq!(code, 0, "{err}");
    let server = Stranger::of(&out);
    for _ in 0..2 {
        let (code, _, err) = upgrade_in(folder.path(), &[]);
        assert_eq!(code, 0, "{err}");
    }
    let log = || fs::read_to_string(folder.path().join("log")).unwrap();
    until("both are logged", || {
        log().matches("upgraded from=").count() == 2
    });
    server.stop();
    assert!(log().contains("stopped"), "{}", log());
}

#[test]
fn secrets_of_the_command_line_stay_hidden_and_known() {
    let key = "an-api-key-of-the-tests-0123456789";
    let set = format!("api_keys.back.key={key}");
    let server = Upgradable::serve(&["--set", &set]);
    let pid = server.program.pid().as_raw_pid();
    let shown = || fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    for _ in 0..2 {
        server.is_upgraded(&[]);
        let shown = String::from_utf8_lossy(&shown()).into_owned();
        assert!(shown.contains("api_keys.back.key=***"), "{shown}");
        assert!(!shown.contains(key), "{shown}");
        let fields = format!("Authorization: Bearer {key}\r\n");
        let mut http = server.program.http();
        let answer = http.ask_with("GET", "/v1/stats", &fields, "").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(http.ask("GET", "/v1/stats", "").unwrap().status, 401);
    }
    server.program.signal(Signal::TERM);
}

#[test]
fn where_nobody_runs_the_command_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = upgrade_in(folder.path(), &[]);
    assert_eq!(code, 3, "{err}");
}
