//! What an upgrade leaves as it is, beside the connections: the process, its addresses, its files and
//! those who ask on its control socket.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Upgradable, upgrade_in};
use crate::support::api::post;
use crate::support::wait::until;

#[test]
fn process_addresses_files_and_messages_stay_and_the_answer_says_both_versions() {
    let server = Upgradable::serve(&["--pid-file", "pid", "--log-file", "log"]);
    let folder = server.folder.path();
    let pid = server.program.pid().as_raw_pid();
    post(&mut server.program.http(), "tea", 3, &json!("one"));
    let before = server.status();
    assert_eq!(before["last_upgrade"], Value::Null);
    let out = server.is_upgraded(&[]);
    let version = env!("CARGO_PKG_VERSION");
    let said = format!("{version} → {version}: 0 connections carried, a pause of ");
    assert!(out.starts_with(&said), "{out}");
    server.serves();
    let after = server.status();
    for same in ["pid", "listen", "started_unix_ms", "settings", "version"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_eq!(after["last_upgrade"]["ok"], true, "{after}");
    assert_eq!(after["last_upgrade"]["to"], version);
    let file = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(file("pid"), format!("{pid}\n"));
    assert!(file("log").contains("upgraded"), "{}", file("log"));
    let page = server.program.http().get("/v1/rooms/tea/messages");
    assert!(page.body.contains("\"one\""), "{}", page.body);
    // The lock of the data was never let go of: nobody else can have them.
    let mut other = crate::service::tidings(folder, &["serve", "--listen", "127.0.0.1:0"]);
    let (code, _, err) = crate::service::said(&mut other);
    assert_eq!(code, 1, "{err}");
    let Upgradable { program, folder } = server;
    program.stop();
    for gone in ["pid", "tidings-data/control.sock"] {
        assert!(!folder.path().join(gone).exists(), "{gone}");
    }
}

#[test]
fn one_upgrade_after_the_other_works_by_command_and_by_signal() {
    let mut server = Upgradable::serve(&["--set", "store.data=none", "--set", "control=c"]);
    let control = ["--control", "c"];
    for _ in 0..3 {
        server.is_upgraded(&control);
        server.program.stderr.wait_for("upgraded");
    }
    for _ in 0..2 {
        server.program.signal(Signal::USR2);
        server.program.stderr.wait_for("upgraded");
    }
    assert_eq!(server.program.http().get("/readyz").status, 200);
    server.program.stop();
}

#[test]
fn a_connection_that_nobody_has_accepted_yet_is_answered_by_the_next_image() {
    let server = Upgradable::serve(&[]);
    let folder = server.folder.path();
    for _ in 0..super::rounds(3) {
        let upgrade = std::thread::scope(|scope| {
            let upgrade = scope.spawn(move || upgrade_in(folder, &[]));
            // At any moment: before, in the middle, after.
            while !upgrade.is_finished() {
                assert_eq!(server.program.http().get("/healthz").status, 200);
            }
            upgrade.join().unwrap()
        });
        // A connection may be open just then, and is no reason to be cut.
        assert!(upgrade.0 == 0, "{}", upgrade.2);
    }
    server.serves();
}

#[test]
fn those_who_ask_on_the_control_socket_meanwhile_are_answered_by_the_next_image() {
    let server = Upgradable::serve(&[]);
    let path = server.folder.path().join("tidings-data/control.sock");
    let mut half = UnixStream::connect(&path).unwrap();
    half.write_all(b"{\"command\":\"sta").unwrap();
    // It is read before the upgrade begins, since both are asked one after the other.
    server.status();
    let silent = UnixStream::connect(&path).unwrap();
    server.is_upgraded(&[]);
    half.write_all(b"tus\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(&half).read_line(&mut line).unwrap();
    let status: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(status["last_upgrade"]["ok"], true, "{status}");
    drop(silent);
    until("nobody is left there", || server.status()["ok"] == true);
}

#[test]
fn a_second_upgrade_waits_for_the_first_and_both_are_done() {
    let server = Upgradable::serve(&[]);
    let folder = server.folder.path();
    std::thread::scope(|scope| {
        let spawn = |_| scope.spawn(move || upgrade_in(folder, &[]));
        let both: Vec<_> = (0..2).map(spawn).collect();
        for one in both {
            let (code, out, err) = one.join().unwrap();
            assert_eq!(code, 0, "{err}");
            assert!(out.contains("connections carried"), "{out}");
        }
    });
    server.serves();
}
