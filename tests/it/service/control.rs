//! The control socket: a command finds the server by its settings, is answered if it may be, and its
//! exit code tells.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, Signal, geteuid};
use serde_json::Value;

use super::{said, tidings};
use crate::support::program::{Program, copy_program, ends_within};
use crate::support::wait::until;

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// Clients that are answered at a time.
const CLIENTS_MAX: usize = 16;

fn serve(folder: &Path, more: &[&str]) -> Program {
    Program::start(&mut tidings(folder, &[&SERVE[..], more].concat()))
}

/// What `tidings status --json` says of a server that serves.
#[track_caller]
fn status(folder: &Path, more: &[&str]) -> Value {
    let command = &mut tidings(folder, &[&["status", "--json"], more].concat());
    let (code, out, err) = said(command);
    assert_eq!((code, &*err), (0, ""), "{out}");
    serde_json::from_str(&out).expect("a line of JSON")
}

fn connect(folder: &Path) -> UnixStream {
    UnixStream::connect(folder.join("tidings-data/control.sock")).expect("it is there")
}

/// The next line of an answer.
#[track_caller]
fn answer(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[test]
fn a_command_finds_a_server_by_its_settings_and_its_code_says_whether_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.toml"), "[store]\ndata = \"d\"\n").unwrap();
    for (server, ask) in [
        (&[][..], &[][..]),
        (&["--data", "other"], &["--data", "other"]),
        (&["--config", "t.toml"], &["--config", "t.toml"]),
        (&["--data", "e"], &["--control", "e/control.sock"]),
        (
            &["--data", "none", "--set", "control=c"],
            &["--set", "control=c"],
        ),
    ] {
        let (code, _, err) = said(&mut tidings(folder.path(), &[&["status"], ask].concat()));
        assert_eq!(code, 3, "{err}");
        assert!(err.contains("no server runs there"), "{err}");
        let mut program = serve(folder.path(), server);
        let status = status(folder.path(), ask);
        assert_eq!(status["pid"], program.pid().as_raw_pid());
        assert_eq!(
            (&status["kind"], &status["state"]),
            (&"server".into(), &"ready".into())
        );
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["listen"][0], program.address.to_string());
        let client = program.websocket("/ws?uid=ann");
        let connections = |more: u64| {
            let (_, out, _) = said(&mut tidings(folder.path(), &[&["status"], ask].concat()));
            out.contains(&format!("has {more} connections"))
        };
        until("it counts a connection", || connections(1));
        drop(client);
        let (code, out, err) = said(&mut tidings(folder.path(), &[&["stop"], ask].concat()));
        assert_eq!((code, &*out, &*err), (0, "stopped\n", ""));
        assert_eq!(program.exit_code(), 0);
        let (code, _, err) = said(&mut tidings(folder.path(), &[&["stop"], ask].concat()));
        assert_eq!(code, 3, "{err}");
    }
}

#[test]
fn a_gateway_is_asked_in_the_same_way() {
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
    let status = status(folder.path(), &["--gateway"]);
    assert_eq!(status["kind"], "gateway");
    assert_eq!(status["pid"], gateway.pid().as_raw_pid());
    let (code, _, _) = said(&mut tidings(folder.path(), &["status"]));
    assert_eq!(code, 3, "no server runs there");
    let (code, out, _) = said(&mut tidings(folder.path(), &["stop", "--gateway"]));
    assert_eq!((code, &*out), (0, "stopped\n"));
    assert_eq!(gateway.exit_code(), 0);
}

#[test]
fn a_stop_is_over_when_the_command_says_so_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = serve(folder.path(), &[]);
    // Half a request keeps the server from ending.
    let mut http = server.http();
    assert_eq!(http.get("/healthz").status, 200);
    http.send("GET /healthz HTTP/1.1\r\n").unwrap();
    until("it is read", || {
        http.send("X: y\r\n").unwrap();
        status(folder.path(), &[])["connections"] == 1
    });
    let mut stop = tidings(folder.path(), &["stop"]);
    let mut stop = stop.stdout(Stdio::piped()).spawn().unwrap();
    server.stderr.wait_for("draining");
    let (code, out, _) = said(&mut tidings(folder.path(), &["status"]));
    assert_eq!(code, 3, "{out}");
    assert!(out.contains("is stopping"), "{out}");
    assert_eq!(stop.try_wait().unwrap(), None, "it waits");
    http.send("Host: 127.0.0.1\r\n\r\n").unwrap();
    assert_eq!(http.answer().unwrap().status, 200);
    drop(http);
    let stopped = stop.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(0));
    assert_eq!(stopped.stdout, b"stopped\n");
    assert_eq!(server.exit_code(), 0);
    let socket = folder.path().join("tidings-data/control.sock");
    assert!(!socket.exists());
}

#[test]
fn a_stop_that_runs_out_of_time_tells_what_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = serve(folder.path(), &["--set", "stop_ms_max=100"]);
    let mut http = server.http();
    assert_eq!(http.get("/healthz").status, 200);
    http.send("GET /healthz HTTP/1.1\r\n").unwrap();
    let (code, out, err) = said(&mut tidings(folder.path(), &["stop"]));
    assert_eq!((code, &*out), (1, ""), "{err}");
    assert!(err.contains("not clean: connections_cut 1"), "{err}");
    // Its data is free at once.
    serve(folder.path(), &[]).stop();
    assert_eq!(server.exit_code(), 1);
}

/// A pipe in which there is no room.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let size = fcntl_setpipe_size(&writer, 4_096).unwrap();
    rustix::io::write(&writer, &vec![b'x'; size]).unwrap();
    (reader, writer)
}

#[test]
fn a_stop_returns_when_the_process_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    // It ends late, since its log can't be written.
    let (_reader, full) = full_pipe();
    let mut command = tidings(folder.path(), &SERVE);
    command.stdout(Stdio::null()).stderr(full);
    let mut server = command.spawn().unwrap();
    drop(command);
    until("it serves", || {
        said(&mut tidings(folder.path(), &["status"])).0 == 0
    });
    let (code, out, _) = said(&mut tidings(folder.path(), &["stop"]));
    assert_eq!((code, &*out), (0, "stopped\n"));
    let is_gone = ends_within(Pid::from_child(&server), Duration::from_millis(50));
    assert!(is_gone, "it was said to have stopped");
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn a_stop_at_once_cuts_and_tells_what_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = serve(folder.path(), &["--set", "stop_ms_max=60000"]);
    let mut http = server.http();
    assert_eq!(http.get("/healthz").status, 200);
    http.send("GET /healthz HTTP/1.1\r\n").unwrap();
    let (code, out, err) = said(&mut tidings(folder.path(), &["stop", "--now"]));
    assert_eq!((code, &*out), (1, ""), "{err}");
    assert!(err.contains("not clean: connections_cut 1"), "{err}");
    assert_eq!(server.exit_code(), 1);
}

#[test]
fn a_socket_of_a_server_that_was_killed_hinders_nobody() {
    let folder = tempfile::tempdir().unwrap();
    serve(folder.path(), &[]).kill();
    assert!(folder.path().join("tidings-data/control.sock").exists());
    let (code, _, err) = said(&mut tidings(folder.path(), &["status"]));
    assert_eq!(code, 3, "{err}");
    let server = serve(folder.path(), &[]);
    assert_eq!(status(folder.path(), &[])["pid"], server.pid().as_raw_pid());
    server.stop();
}

#[test]
fn a_file_with_mistakes_still_leads_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    fs::write(&file, "[store]\ndata = \"d\"\n").unwrap();
    let server = serve(folder.path(), &["--config", "t.toml"]);
    for broken in [
        "workers = \"many\"\n[store]\ndata = \"d\"\n",
        "[store]\ndata = \"d\"\n[http]\nidle_ms_max = \n",
    ] {
        fs::write(&file, broken).unwrap();
        let status = status(folder.path(), &["--config", "t.toml"]);
        assert_eq!(status["pid"], server.pid().as_raw_pid());
    }
    let gone = &mut tidings(folder.path(), &["status", "--config", "gone.toml"]);
    let (code, _, err) = said(gone);
    assert_eq!(code, 1);
    assert!(err.contains("gone.toml: can't read the settings"), "{err}");
    server.stop();
}

#[test]
fn a_server_without_data_has_no_socket_unless_its_settings_name_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), &["--data", "none"]);
    let (code, _, err) = said(&mut tidings(folder.path(), &["status", "--data", "none"]));
    assert_eq!(code, 1);
    assert!(err.contains("there is no control socket"), "{err}");
    server.stop();
    let server = serve(folder.path(), &["--set", "control=none"]);
    assert!(!folder.path().join("tidings-data/control.sock").exists());
    server.stop();
}

#[test]
fn a_path_that_cant_be_is_refused_by_name_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(108);
    let file = folder.path().join("mine");
    fs::write(&file, "mine").unwrap();
    let server = serve(folder.path(), &["--set", "control=taken"]);
    for (more, reason) in [
        (["--set".into(), format!("control={long}")], "has 108 bytes"),
        (["--data".into(), long.clone()], "has 121 bytes"),
        (["--set".into(), "control=mine".into()], "is no socket"),
        (
            ["--set".into(), "control=taken".into()],
            "another server answers",
        ),
        (
            ["--set".into(), "control=no/c".into()],
            "can't make the control socket no/c",
        ),
    ] {
        let serve = [
            SERVE[0],
            SERVE[1],
            SERVE[2],
            &more[0],
            &more[1],
            "--set",
            "store.data=other",
        ];
        let serve = &serve[..if more[0] == "--data" { 5 } else { 7 }];
        let (code, _, err) = said(&mut tidings(folder.path(), serve));
        assert_eq!(code, 1, "{more:?}");
        assert!(err.contains(reason), "{more:?}: {err}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
    assert_eq!(
        status(folder.path(), &["--control", "taken"])["pid"],
        server.pid().as_raw_pid()
    );
    server.stop();
}

#[test]
fn whatever_the_umask_the_socket_is_for_its_owner_alone_and_nobody_else_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_tidings"))
        .args(SERVE)
        .current_dir(folder.path());
    let server = Program::start(&mut command);
    let socket = folder.path().join("tidings-data/control.sock");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    if geteuid().is_root() {
        let binary = folder.path().join("tidings");
        copy_program(env!("CARGO_BIN_EXE_tidings"), &binary);
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open(folder.path(), 0o755);
        open(socket.parent().unwrap(), 0o755);
        let as_nobody = || {
            let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            let mut command = Command::new("setpriv");
            command.args(nobody).arg(&binary).arg("stop");
            said(command.current_dir(folder.path()))
        };
        let (code, _, err) = as_nobody();
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("answers only root and the user"), "{err}");
        // Not the file alone keeps others out.
        open(&socket, 0o666);
        let (code, _, err) = as_nobody();
        assert_eq!(code, 1, "{err}");
        assert!(err.contains("only root and the server's own user"), "{err}");
    }
    assert_eq!(status(folder.path(), &[])["state"], "ready");
    server.stop();
}

#[test]
fn what_is_no_question_is_refused_and_a_silent_client_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), &[]);
    for (line, reason) in [
        ("x".repeat(17_000), "at most 16384 bytes"),
        ("status\n".into(), "that is no line of JSON"),
        (
            "{\"command\":\"dance\"}\n".into(),
            "there is no such command",
        ),
    ] {
        let mut client = connect(folder.path());
        client.write_all(line.as_bytes()).unwrap();
        let answer = answer(&client);
        assert_eq!(answer["ok"], false);
        assert!(
            answer["error"].as_str().unwrap().contains(reason),
            "{answer}"
        );
    }
    let silent: Vec<UnixStream> = (0..CLIENTS_MAX - 1)
        .map(|_| connect(folder.path()))
        .collect();
    assert_eq!(status(folder.path(), &[])["ok"], true);
    // Silent ones are sent away after a while, so that there are many more than have room.
    let more = (0..3 * CLIENTS_MAX).map(|_| connect(folder.path()));
    let more: Vec<UnixStream> = more.collect();
    let refused = answer(more.last().expect("there are some"));
    assert_eq!(refused["error"], "too many clients ask at once");
    drop((silent, more));
    until("there is room again", || {
        said(&mut tidings(folder.path(), &["status"])).0 == 0
    });
    server.stop();
}

#[test]
fn two_servers_that_begin_at_once_leave_each_other_their_sockets() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let start = |data: String| {
            let more = ["-d", "--set", "control=shared", "--data", &*data];
            let mut start = tidings(folder.path(), &[&SERVE[..], &more].concat());
            start.stdout(Stdio::piped()).stderr(Stdio::piped());
            start.spawn().unwrap()
        };
        let starts = [start(format!("a{round}")), start(format!("b{round}"))];
        let ended = starts.map(|one| one.wait_with_output().unwrap());
        let good: Vec<_> = ended.iter().filter(|one| one.status.success()).collect();
        assert_eq!(good.len(), 1, "{ended:?}");
        let pid = String::from_utf8_lossy(&good[0].stdout);
        let server = super::Stranger::of(&pid);
        let status = status(folder.path(), &["--control", "shared"]);
        assert_eq!(status["pid"].to_string(), pid.trim());
        server.stop();
    }
    assert!(!folder.path().join("shared").exists());
}

#[test]
fn a_server_that_is_stopped_by_a_signal_takes_its_socket_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = serve(folder.path(), &[]);
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    assert!(!folder.path().join("tidings-data/control.sock").exists());
}
