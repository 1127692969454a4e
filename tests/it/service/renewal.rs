//! Workers and processes are renewed by a command or a signal: its exit code tells, and nobody who is
//! connected notices.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use rustix::process::{Pid, Signal};
use serde_json::json;

use super::{said, tidings};
use crate::gateway::procfs::children_of;
use crate::support::api::post;
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

/// The numbers of a process's threads, by their names.
fn threads_of(pid: Pid) -> BTreeMap<String, u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_pid())).unwrap();
    let tasks = tasks.flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let number = task.file_name().to_str()?.parse().ok()?;
        Some((name.trim().to_owned(), number))
    });
    tasks.collect()
}

fn renew(folder: &Path, more: &[&str]) -> (i32, String, String) {
    said(&mut tidings(
        folder,
        &[&["reload", "--workers"], more].concat(),
    ))
}

#[test]
fn the_workers_of_a_server_are_renewed_and_its_clients_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = renew(folder.path(), &[]);
    assert_eq!(code, 3, "{err}");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--set", "workers=3"];
    let mut server = Program::start(&mut tidings(folder.path(), &serve));
    let mut client = server.websocket("/ws?uid=ann&room=tea");
    client.hear_text();
    let (before, main) = (threads_of(server.pid()), server.pid().as_raw_pid() as u32);
    let (code, out, err) = renew(folder.path(), &[]);
    let renewed = "renewed: workers 3, processes 0";
    assert_eq!((code, out.trim_end(), &*err), (0, renewed, ""));
    server.stderr.wait_for(renewed);
    let after = threads_of(server.pid());
    for worker in ["worker-0", "worker-1", "worker-2"] {
        assert_ne!(after[worker], before[worker], "{worker}");
    }
    assert_eq!(after["reactor-0"], before["reactor-0"]);
    assert_eq!(after.values().find(|number| **number == main), Some(&main));
    server.signal(Signal::USR1);
    server.stderr.wait_for(renewed);
    client.say(r#"{"type":"say","seq":1,"to":{"room":"tea"},"data":1}"#);
    let answer = |client: &mut WebSocketClient| parsed(&client.hear_text());
    while answer(&mut client)["type"] != "ok" {}
    let (code, _, err) = renew(folder.path(), &["--check"]);
    assert_eq!(code, 2, "{err}");
    // Who is there and reads nothing would be waited for.
    drop(client);
    server.stop();
}

#[test]
fn a_worker_that_is_busy_for_too_long_is_named_with_exit_code_1_and_the_next_renewal_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--set", "workers=1"];
    let serve = [&serve[..], &["--set", "renew_ms_max=1"]].concat();
    let server = Program::start(&mut tidings(folder.path(), &serve));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let mut http = server.http();
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Relaxed) {
                    post(&mut http, "tea", 1_000, &json!("much to do"));
                }
            });
        }
        // Between two requests the worker is quick enough.
        let mut refused = None;
        until("the worker is busy", || {
            let (code, out, err) = renew(folder.path(), &[]);
            // On a busy machine the time may be over before the worker is asked.
            if code == 1 && err.contains("stuck") {
                refused = Some((out, err));
            }
            refused.is_some()
        });
        is_over.store(true, Relaxed);
        let (out, err) = refused.unwrap();
        assert_eq!(out, "");
        assert!(err.contains("worker-0 is stuck in a callback"), "{err}");
    });
    until("the worker is renewed", || {
        let (code, out, _) = renew(folder.path(), &[]);
        code == 0 && out.trim_end() == "renewed: workers 1, processes 0"
    });
    server.stop();
}

#[test]
fn a_signal_renews_the_push_process_too() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = ["gateway", "--listen", "127.0.0.1:0", "--upstream"];
    let mut gateway = tidings(
        folder.path(),
        &[&gateway[..], &["ws://127.0.0.1:9/link"]].concat(),
    );
    let mut gateway = Program::start(gateway.env(
        "TIDINGS_GATEWAY_LINK_KEY",
        "0123456789abcdef0123456789abcdef",
    ));
    gateway.stderr.wait_for("the link is dead");
    let before = children_of(gateway.pid());
    gateway.signal(Signal::USR1);
    let ended = gateway.stderr.wait_for("process ended for its successor");
    assert!(ended.contains("exit status: 0"), "{ended}");
    gateway.stderr.wait_for("renewed: workers 1, processes 1");
    until("there is the next one", || {
        let after = children_of(gateway.pid());
        after.len() == 1 && after != before
    });
    gateway.stop();
}
