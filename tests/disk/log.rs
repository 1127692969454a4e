//! A log on a disk that is full: the server serves and stops as ever, and the log goes on once there
//! is room.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::small_disk::SmallDisk;
use crate::support::http::HttpClient;
use crate::support::parsed;
use crate::support::program::Lines;
use crate::support::wait::until;

fn stats(address: SocketAddr) -> Value {
    let answer = HttpClient::connect(address).ask("GET", "/v1/stats", "");
    parsed(&answer.unwrap().body)
}

fn signal(server: &Child, signal: Signal) {
    kill_process(Pid::from_child(server), signal).unwrap();
}

#[test]
fn lines_for_a_full_disk_are_dropped_and_counted_and_the_log_goes_on_once_there_is_room() {
    let disk = SmallDisk::mount("1m");
    let path = disk.data();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data", "none"])
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut said = Lines::of(server.stdout.take().unwrap());
    let line = said.wait_for("listening on ");
    let address = line.split_once("://").unwrap().1.parse().unwrap();
    disk.fill(0);
    // The last page of the file has room for some lines.
    until("a line is dropped", || {
        signal(&server, Signal::USR1);
        stats(address)["log_dropped"].as_u64() > Some(0)
    });
    assert_eq!(HttpClient::connect(address).get("/healthz").status, 200);
    disk.clear();
    until("the log goes on", || {
        signal(&server, Signal::USR2);
        let log = fs::read_to_string(&path).unwrap();
        log.contains("lines of the log were dropped") && log.contains("SIGUSR2")
    });
    signal(&server, Signal::TERM);
    assert_eq!(server.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(&path).unwrap();
    // Behind it may stand that the last SIGUSR2 came too late.
    assert!(log.lines().any(|line| line.ends_with(" stopped")), "{log}");
}
