//! Standard output and the log may be stuck, full or closed: a server serves and stops as ever, and
//! a command ends quietly.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write, pipe};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::http::HttpClient;
use crate::support::port::OwnPort;
use crate::support::program::{Lines, ends_within};
use crate::support::wait::until;
use crate::support::websocket::{Heard, WebSocketClient};

/// Descriptors of a server that is to log: each connection above them is a warning.
const DESCRIPTORS: usize = 64;

/// A server on a port of its own, whatever becomes of its output.
struct Server {
    child: Child,
    address: SocketAddr,
    _port: OwnPort,
}

impl Server {
    /// Starts `tidings` with these arguments and waits until it answers.
    fn start(arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Self {
        let port = OwnPort::new();
        let address = port.address;
        let child = Command::new("sh")
            .args([
                "-c",
                &format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\""),
            ])
            .arg(env!("CARGO_BIN_EXE_tidings"))
            .args(arguments)
            .args(["--listen", &address.to_string()])
            .env(
                "TIDINGS_GATEWAY_LINK_KEY",
                "0123456789abcdef0123456789abcdef",
            )
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("tidings starts");
        let server = Self {
            child,
            address,
            _port: port,
        };
        until("it answers", || {
            HttpClient::try_connect(address)
                .is_ok_and(|mut http| http.ask("GET", "/healthz", "").is_ok())
        });
        server
    }

    fn serve(stdout: Stdio, stderr: Stdio) -> Self {
        Self::start(&["serve", "--echo", "--data", "none"], stdout, stderr)
    }

    /// Opens more connections than there are descriptors, which the server logs.
    fn make_it_log(&self) -> Vec<TcpStream> {
        (0..2 * DESCRIPTORS)
            .filter_map(|_| TcpStream::connect(self.address).ok())
            .collect()
    }

    fn stats(&self) -> Value {
        self.try_stats().expect("an answer")
    }

    /// The stats, if a connection is to be had.
    fn try_stats(&self) -> Option<Value> {
        let mut http = HttpClient::try_connect(self.address).ok()?;
        let answer = http.ask("GET", "/v1/stats", "").ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// Stops it with SIGTERM, and gives its exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it lives");
        assert!(ends_within(pid, PATIENCE), "it doesn't stop");
        self.child.wait().expect("it was started here").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended before, unless the test failed.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

/// A file on a disk that is full.
fn full() -> Stdio {
    let file = OpenOptions::new().write(true).open("/dev/full");
    file.expect("/dev/full").into()
}

/// A pipe that is full, its reader, and how many bytes are in it.
fn stuck() -> (Stdio, impl Read + Send + 'static, usize) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let size = fcntl_setpipe_size(&writer, 4_096).expect("a small pipe");
    writer.write_all(&vec![b'-'; size]).expect("it fits");
    (writer.into(), reader, size)
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting_and_is_written_once_somebody_does() {
    let (stderr, mut reader, size) = stuck();
    let server = Server::serve(Stdio::null(), stderr);
    let mut client = WebSocketClient::connect(server.address, "/echo");
    let crowd = server.make_it_log();
    for number in 0..100 {
        client.echo(&number.to_string());
    }
    drop(crowd);
    until("there are descriptors again", || {
        HttpClient::try_connect(server.address)
            .is_ok_and(|mut http| http.ask("GET", "/healthz", "").is_ok())
    });
    let reading = thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).map(|_| log)
    });
    client.leave();
    assert_eq!(server.stop(), Some(0));
    let log = reading.join().expect("no panic").expect("text");
    let log = &log[size..];
    assert!(
        log.contains("server is starting") && log.contains("stopped"),
        "{log}"
    );
}

#[test]
fn a_log_that_nobody_ever_reads_holds_up_no_stop() {
    let (stderr, _reader, _) = stuck();
    let server = Server::serve(Stdio::null(), stderr);
    let mut client = WebSocketClient::connect(server.address, "/echo");
    client.echo("here");
    kill_process(Pid::from_child(&server.child), Signal::TERM).expect("it lives");
    assert_eq!(client.hear(), Heard::Close(1001));
    drop(client);
    let mut server = server;
    assert!(
        ends_within(Pid::from_child(&server.child), PATIENCE),
        "it doesn't stop"
    );
    assert_eq!(
        server.child.wait().expect("it was started here").code(),
        Some(0)
    );
}

#[test]
fn a_log_that_cant_be_written_ends_nothing() {
    for stderr in [closed, full] {
        let server = Server::serve(Stdio::null(), stderr());
        let mut client = WebSocketClient::connect(server.address, "/echo");
        let crowd = server.make_it_log();
        client.echo("still here");
        drop(crowd);
        until("there are descriptors again", || {
            server.try_stats().is_some()
        });
        let dropped = |stats: Value| stats["log_dropped"].as_u64().is_some_and(|count| count > 0);
        assert!(dropped(server.stats()));
        let mut http = HttpClient::connect(server.address);
        let metrics = http.ask("GET", "/metrics", "").expect("an answer").body;
        assert!(metrics.contains("\ntidings_log_dropped"), "{metrics}");
        drop(http);
        client.leave();
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn an_announcement_that_cant_be_written_ends_nothing() {
    let (stuck, _reader, _) = stuck();
    for stdout in [closed(), full(), stuck] {
        let server = Server::serve(stdout, Stdio::null());
        WebSocketClient::connect(server.address, "/echo").echo("it runs");
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn a_gateway_starts_its_push_process_again_although_its_log_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    let upstream = [
        "gateway",
        "--upstream",
        "ws://127.0.0.1:9/link",
        "--data",
        &data,
    ];
    let server = Server::start(&upstream, closed(), closed());
    let push = |server: &Server| server.stats()["push_process"]["pid"].as_i64();
    until("there is a push process", || push(&server).is_some());
    let first = push(&server).expect("it was there");
    let pid = Pid::from_raw(first as i32).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it lives");
    until("there is another one", || {
        push(&server).is_some_and(|pid| pid != first)
    });
    let stats = server.stats();
    assert_eq!(stats["processes"][0]["pid"], stats["push_process"]["pid"]);
    assert!(stats["log_dropped"].as_u64() > Some(0));
    assert_eq!(server.stop(), Some(0));
}

/// Runs a command to its end, in a folder, with this standard output.
fn run(folder: &std::path::Path, arguments: &[&str], stdout: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidings"))
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .expect("tidings runs")
}

/// A folder with a file of settings, and data in it.
fn folder_with_data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let init = run(folder.path(), &["init"], Stdio::null());
    assert!(init.status.success(), "{init:?}");
    let data = folder.path().join("data").display().to_string();
    let server = Server::start(&["serve", "--data", &data], Stdio::null(), Stdio::null());
    let mut http = HttpClient::connect(server.address);
    let body = r#"{"to":{"room":"tea"},"data":"hello"}"#;
    let answer = http
        .ask_with_json("POST", "/v1/messages", body)
        .expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    drop(http);
    assert_eq!(server.stop(), Some(0));
    let outbox = folder.path().join("tidings-outbox").display().to_string();
    let gateway = ["gateway", "--upstream", "ws://127.0.0.1:9/link", "--data"];
    let gateway = [&gateway[..], &[&outbox]].concat();
    let gateway = Server::start(&gateway, Stdio::null(), Stdio::null());
    let mut http = HttpClient::connect(gateway.address);
    let answer = http.ask_with_json("POST", "/v1/messages", body);
    assert_eq!(answer.expect("an answer").status, 202);
    drop(http);
    assert_eq!(gateway.stop(), Some(0));
    folder
}

#[test]
fn a_command_whose_reader_has_gone_ends_quietly() {
    let folder = folder_with_data();
    let server = Server::serve(Stdio::null(), Stdio::null());
    let url = format!("ws://{}/ws", server.address);
    let send = ["send", "--url", &url, "--room", "tea", "hello"];
    let token = ["token", "--config", "tidings.toml", "--uid", "ann"];
    for arguments in [
        &["--help"][..],
        &["check", "tidings.toml"],
        &["init", "--file", "other.toml"],
        &["store", "dump", "data"],
        &["store", "verify", "data"],
        &["outbox", "list"],
        &["outbox", "dead"],
        &["outbox", "retry"],
        &send,
        &token,
    ] {
        let ended = run(folder.path(), arguments, closed());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said, "", "{arguments:?}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn listen_ends_at_the_first_message_that_nobody_reads() {
    let server = Server::serve(Stdio::null(), Stdio::null());
    let url = format!("ws://{}/ws", server.address);
    let mut listen = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(["listen", "--url", &url, "--room", "tea"])
        .stdout(closed())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tidings runs");
    let mut said = Lines::of(listen.stderr.take().expect("a pipe"));
    said.wait_for("connected; listening to tea");
    let mut http = HttpClient::connect(server.address);
    let body = r#"{"to":{"room":"tea"},"data":"hello"}"#;
    let answer = http.ask_with_json("POST", "/v1/messages", body);
    assert_eq!(answer.expect("an answer").status, 200);
    let ended = ends_within(Pid::from_child(&listen), PATIENCE);
    // Whatever it does, it is not left behind.
    _ = listen.kill();
    assert!(ended, "it listens on");
    assert_eq!(listen.wait().expect("it was started here").code(), Some(0));
    assert_eq!(said.all().lines().count(), 1);
    drop(http);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_command_that_cant_write_its_output_says_so() {
    let folder = folder_with_data();
    for arguments in [
        &["check", "tidings.toml"][..],
        &["store", "dump", "data"],
        &["outbox", "list"],
    ] {
        let ended = run(folder.path(), arguments, full());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.starts_with("tidings: can't write to standard output: No space left"),
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn a_mistyped_level_is_an_error_that_names_the_levels() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("t.toml"), "[log]\nlevel = 'inof'\n").expect("a file");
    for arguments in [
        &["serve", "--log-level", "inof"][..],
        &["check", "--log-level", "inof"],
        &["serve", "--config", "t.toml"],
    ] {
        let ended = run(folder.path(), arguments, Stdio::null());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success(), "{arguments:?}");
        let names = said.contains("error, warn, info, debug or trace");
        assert!(names && said.contains("inof"), "{arguments:?}: {said}");
    }
}

#[test]
fn the_log_is_as_the_settings_file_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.toml");
    fs::write(&path, "[log]\nformat = 'json'\nlevel = 'info'\n").expect("a file");
    let log = folder.path().join("log");
    let config = path.display().to_string();
    let arguments = ["serve", "--data", "none", "--config", &config];
    let stderr = File::create(&log).expect("a file");
    let server = Server::start(&arguments, Stdio::null(), stderr.into());
    assert_eq!(server.stop(), Some(0));
    let log = fs::read_to_string(&log).expect("text");
    let first: Value = serde_json::from_str(log.lines().next().expect("a line")).expect("JSON");
    let fields = &first["fields"];
    assert_eq!(fields["message"], "server is starting");
    for field in ["version", "pid", "listen", "data", "descriptors_max"] {
        assert!(!fields[field].is_null(), "{field}: {first}");
    }
    for line in [
        "the limit of descriptors is low",
        "\"message\":\"listening\"",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

#[test]
fn a_port_in_use_leaves_no_folder_behind_and_another_one_is_proposed() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for arguments in [
        &["serve", "--listen", &address][..],
        &[
            "gateway",
            "--listen",
            &address,
            "--link-key",
            "0123456789abcdef0123456789abcdef",
        ],
    ] {
        let upstream: &[&str] = match arguments[0] {
            "gateway" => &["--upstream", "ws://127.0.0.1:9/link"],
            _ => &[],
        };
        let ended = run(
            folder.path(),
            &[arguments, upstream].concat(),
            Stdio::null(),
        );
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(
            said.contains("another program has this port; --listen 127.0.0.1:"),
            "{said}"
        );
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0, "{arguments:?}");
    }
}
