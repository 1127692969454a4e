//! A start in the background returns when the server is ready, or says why it isn't.

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, getsid, kill_process};

use super::{Stranger, said, tidings};
use crate::gateway::procfs::{children_of, open_in};
use crate::support::http::HttpClient;
use crate::support::parsed;
use crate::support::wait::until;

const SECRET: &str = "a-secret-0123456789-of-this-test";

const SERVE: [&str; 4] = ["serve", "-d", "--listen", "127.0.0.1:0"];

/// The address that a server says it listens on.
#[track_caller]
fn address_of(folder: &Path, more: &[&str]) -> SocketAddr {
    let status = ["status", "--json", "--data", "data"];
    let (code, out, err) = said(&mut tidings(folder, &[&status, more].concat()));
    assert_eq!(code, 0, "{err}");
    let address = parsed(&out)["listen"][0].take();
    let address = address.as_str().expect("an address");
    address.parse().expect("an address")
}

#[test]
fn a_server_in_the_background_answers_once_its_start_has_returned() {
    let gateway = [
        "gateway",
        "--detach",
        "--listen",
        "127.0.0.1:0",
        "--upstream",
        "ws://127.0.0.1:9/link",
        "--link-key",
        SECRET,
    ];
    for (arguments, ask) in [(&SERVE[..], &[][..]), (&gateway, &["--gateway"])] {
        let folder = tempfile::tempdir().unwrap();
        let files = ["--pid-file", "pid", "--log-file", "log", "--data", "data"];
        let start = &mut tidings(folder.path(), &[arguments, &files].concat());
        let (code, out, err) = said(start);
        assert_eq!((code, &*err), (0, ""), "{out}");
        let server = Stranger::of(&out);
        let mut http = HttpClient::connect(address_of(folder.path(), ask));
        assert_eq!(http.get("/readyz").status, 200);
        drop(http);
        let pid = fs::read_to_string(folder.path().join("pid")).unwrap();
        assert_eq!(pid, out);
        assert_eq!(getsid(Some(server.0)).unwrap(), server.0);
        let shown = fs::read(format!("/proc/{}/cmdline", server.0.as_raw_pid())).unwrap();
        assert!(!String::from_utf8_lossy(&shown).contains(SECRET));
        let streams: Vec<String> = open_in(server.0).take(3).collect();
        assert_eq!(streams[..2], ["/dev/null", "/dev/null"]);
        assert!(streams[2].ends_with("/log"), "{streams:?}");
        server.stop();
        assert!(!folder.path().join("pid").exists());
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(log.trim_end().ends_with("stopped"), "{log}");
    }
}

#[test]
fn a_start_in_the_background_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for (more, reason) in [
        (&["--listen", &*listen][..], "another program has this port"),
        (&["--set", "workers=many"], "workers is"),
        (&["--pid-file", "no/pid"], "can't write the PID file no/pid"),
        (&["--log-file", "no/log"], "can't open the log file no/log"),
        (&["--data", "/dev/null/data"], "can't open the data"),
    ] {
        let serve = ["serve", "-d", "--set", "listen=127.0.0.1:0"];
        let (code, out, err) = said(&mut tidings(folder.path(), &[&serve, more].concat()));
        assert_eq!((code, &*out), (1, ""), "{more:?}");
        assert!(err.starts_with("tidings: "), "{more:?}: {err}");
        assert!(err.contains(reason), "{more:?}: {err}");
    }
}

#[test]
fn of_two_starts_at_once_one_returns_with_its_server_and_the_other_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut start = tidings(folder.path(), &[&SERVE[..], &["--data", "data"]].concat());
        start.stdout(Stdio::piped()).stderr(Stdio::piped());
        start.spawn().unwrap()
    };
    let ended = [start(), start()].map(|one| one.wait_with_output().unwrap());
    let (good, bad): (Vec<_>, Vec<_>) = ended.iter().partition(|one| one.status.success());
    let servers = good.iter().map(|one| String::from_utf8_lossy(&one.stdout));
    let servers: Vec<Stranger> = servers.map(|pid| Stranger::of(&pid)).collect();
    assert_eq!((servers.len(), bad.len()), (1, 1), "{ended:?}");
    let reason = String::from_utf8_lossy(&bad[0].stderr);
    assert!(reason.contains("can't open the data in data"), "{reason}");
    servers.into_iter().for_each(Stranger::stop);
}

#[test]
fn a_start_in_the_background_that_is_killed_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("settings");
    mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
    let mut start = tidings(
        folder.path(),
        &[&SERVE[..], &["--config", "settings"]].concat(),
    );
    let start = start.stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = start.spawn().unwrap();
    // Returns once the server waits for its settings.
    let settings = OpenOptions::new().write(true).open(&pipe).unwrap();
    let parent = Pid::from_child(&start);
    until("there is a server", || !children_of(parent).is_empty());
    kill_process(children_of(parent)[0], Signal::KILL).unwrap();
    let ended = start.wait_with_output().unwrap();
    drop(settings);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stdout.is_empty());
    let reason = String::from_utf8_lossy(&ended.stderr);
    let expected = "tidings: the server ended before it was ready: signal: 9 (SIGKILL)\n";
    assert_eq!(reason, expected);
}
