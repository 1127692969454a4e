//! The load generator against its own floor, and against servers that misbehave.
#![cfg(feature = "cli")]

#[path = "bench/chat.rs"]
mod chat;
#[path = "bench/fanout.rs"]
mod fanout;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// A `bench raw` that ends with its standard input, that is, with this value.
struct Raw {
    child: Child,
    url: String,
}

impl Raw {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(flags: &[&str]) -> Self {
        let mut child = tidings()
            .args(["raw", "--listen", "127.0.0.1:0", "--seconds", "60"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..2], ["listening", "on"], "{line}");
        assert_eq!(words[3..], ["pid", &child.id().to_string()], "{line}");
        Self {
            url: format!("ws://{}/", words[2]),
            child,
        }
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(
            status.success() || thread::panicking(),
            "raw ends well with its input: {status}"
        );
    }
}

fn tidings() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.arg("bench");
    command
}

/// Runs a mode to its end and gives its line of JSON.
fn bench(args: &[&str]) -> (Output, Value) {
    let output = tidings().args(args).args(["--json", "-"]).output().unwrap();
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output, json)
}

/// Runs a mode that must fail, and gives what it said.
fn complaint(args: &[&str]) -> String {
    let output = tidings().args(args).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SHORT: [&str; 4] = ["--seconds", "0.3", "--warm-up", "0.1"];

/// A server that gives each connection to `serve`, one after another, on a thread of its own.
fn server(scheme: &str, serve: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            thread::spawn(move || serve(socket.unwrap()));
        }
    });
    url
}

/// Reads one request's head; `None` at the end of the stream.
fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

#[test]
fn echo_counts_checks_and_accounts_for_cpu_time() {
    let raw = Raw::start();
    for (in_flight, size, kind) in [
        ("1", "64", "--text"),
        ("32", "300", "--binary"),
        ("3", "70000", "--binary"),
    ] {
        let load = [
            "echo",
            "--url",
            &raw.url,
            "--connections",
            "8",
            "--in-flight",
            in_flight,
            "--size",
            size,
            kind,
        ];
        let (output, json) = bench(&[&load[..], &SHORT, &["--pid", &raw.pid()]].concat());
        assert!(output.status.success(), "{json}");
        assert_eq!(json["failures"], 0, "{json}");
        for key in [
            "messages",
            "cpu_us_per_message",
            "generator_cpu_us_per_message",
            "latency_p50_us",
        ] {
            assert!(json[key].as_f64().unwrap() > 0.0, "{key} in {json}");
        }
        assert!(json["latency_p50_us"].as_f64() <= json["latency_max_us"].as_f64());
    }
}

#[test]
fn the_floor_is_measured_in_turns_with_the_server() {
    let raw = Raw::start();
    let load = [
        "echo",
        "--url",
        &raw.url,
        "--connections",
        "4",
        "--floor",
        "--rounds",
        "2",
        "--threads",
        "2",
    ];
    let (output, json) = bench(&[&load[..], &SHORT, &["--pid", &raw.pid()]].concat());
    assert!(output.status.success(), "{json}");
    assert_eq!(
        json["messages_per_second_by_round"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    for key in [
        "floor_messages_per_second",
        "floor_cpu_us_per_message",
        "ratio_cpu_us_per_message",
    ] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{key} in {json}");
    }
}

#[test]
fn connections_come_and_go_in_both_manners() {
    let raw = Raw::start();
    for leave in [
        &["--rounds", "2"][..],
        &["--rounds", "2", "--abrupt", "--source-addresses", "3"],
    ] {
        let visit = [
            "connect",
            "--url",
            &raw.url,
            "--count",
            "100",
            "--in-flight",
            "8",
        ];
        let (output, json) = bench(&[&visit, leave].concat());
        assert!(output.status.success(), "{json}");
        assert_eq!(
            (&json["handshakes"], &json["left"]),
            (&200.into(), &200.into()),
            "{json}"
        );
    }
}

#[test]
fn a_rate_is_kept() {
    let raw = Raw::start();
    let (_, json) = bench(&[
        "connect", "--url", &raw.url, "--count", "40", "--rate", "100",
    ]);
    let rate = json["handshakes_per_second"].as_f64().unwrap();
    assert!((10.0..=105.0).contains(&rate), "{json}");
}

#[test]
fn idle_connections_stay_alive_and_their_memory_is_measured() {
    let raw = Raw::start();
    let stay = [
        "idle",
        "--url",
        &raw.url,
        "--connections",
        "50",
        "--seconds",
        "0.3",
        "--settle",
        "0.1",
    ];
    let (output, json) = bench(&[&stay[..], &["--rounds", "2", "--pid", &raw.pid()]].concat());
    assert!(output.status.success(), "{json}");
    assert_eq!(
        (&json["opened"], &json["alive"]),
        (&100.into(), &100.into()),
        "{json}"
    );
    assert_eq!(
        json["rss_after_bytes_by_round"].as_array().unwrap().len(),
        2
    );
    assert!(json["cpu_percent"].as_f64().unwrap() < 50.0, "{json}");
}

#[test]
fn idle_connections_answer_pings() {
    let url = server("ws", |socket| {
        let mut reader = BufReader::new(&socket);
        let head = head(&mut reader).unwrap();
        // Each is itself.
        assert!(["GET /?uid=u0 ", "GET /?uid=u1 "].contains(&&head[..13]));
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!("HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        // The ping in the same segment: what comes behind the handshake must not be lost.
        (&socket)
            .write_all(&[answer.as_bytes(), b"\x89\x01?"].concat())
            .unwrap();
        let mut pong = [0; 7];
        reader.read_exact(&mut pong).unwrap();
        assert_eq!(pong[..2], [0x8a, 0x81]);
        _ = (&socket).write_all(b"\x88\x02\x03\xe9");
    });
    let url = format!("{url}?uid=u{{member}}");
    let stay = [
        "idle",
        "--url",
        &url,
        "--connections",
        "2",
        "--seconds",
        "0.3",
        "--settle",
        "0.1",
    ];
    let (output, json) = bench(&stay);
    assert_eq!(
        (&json["pings"], &json["alive"]),
        (&2.into(), &0.into()),
        "{json}"
    );
    assert_eq!(
        json["failures_by_kind"]["closed 1001"]["count"], 2,
        "{json}"
    );
    assert!(!output.status.success());
}

#[test]
fn http_counts_answers_by_status_and_follows_an_announced_end() {
    let url = server("http", |socket| {
        let mut reader = BufReader::new(&socket);
        for number in 0.. {
            let Some(head) = head(&mut reader) else {
                return;
            };
            assert!(
                head.starts_with("POST / HTTP/1.1\r\n") && head.contains("\r\nX: y\r\n"),
                "{head}"
            );
            let mut body = [0; 4];
            reader.read_exact(&mut body).unwrap();
            let last = if number == 50 {
                "Connection: close\r\n"
            } else {
                ""
            };
            let status = if number % 2 == 0 {
                "200 OK"
            } else {
                "404 Not Found"
            };
            let answer = format!("HTTP/1.1 {status}\r\n{last}Content-Length: 5\r\n\r\nhello");
            if (&socket).write_all(answer.as_bytes()).is_err() || number == 50 {
                return;
            }
        }
    });
    let ask = [
        "http",
        "--url",
        &url,
        "--connections",
        "4",
        "--method",
        "POST",
        "--body",
        "four",
        "--header",
        "X: y",
    ];
    let (output, json) = bench(&[&ask[..], &SHORT].concat());
    assert!(output.status.success(), "{json}");
    for status in ["200", "404"] {
        assert!(json["statuses"][status].as_u64().unwrap() > 0, "{json}");
    }
    assert!(json["reconnects"].as_u64().unwrap() > 0, "{json}");
    assert!(
        json["requests_per_second"].as_f64().unwrap() > 0.0,
        "{json}"
    );
}

#[test]
fn the_floor_of_http_answers_every_request() {
    let raw = Raw::start_with(&["--http"]);
    let url = raw.url.replace("ws://", "http://");
    for more in [
        &["--in-flight", "1"][..],
        &["--in-flight", "8", "--method", "POST", "--body", "four"],
    ] {
        let pid = raw.pid();
        let ask = ["http", "--url", &url, "--connections", "4", "--pid", &pid];
        let (output, json) = bench(&[&ask[..], &SHORT, more].concat());
        assert!(output.status.success(), "{json}");
        let statuses = json["statuses"].as_object().unwrap();
        assert!(
            statuses.len() == 1 && statuses.contains_key("200"),
            "{json}"
        );
        assert!(json["cpu_us_per_request"].as_f64().unwrap() > 0.0, "{json}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let closed = format!("ws://{closed}/");
    let forbidding = server("ws", |mut socket| {
        head(&mut BufReader::new(&socket));
        socket
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    for (args, words) in [
        (
            &["echo", "--url", "ws://192.0.2.1:9502/"][..],
            "--target-is-mine",
        ),
        (
            &["connect", "--url", "http://127.0.0.1/"],
            "must begin with ws://",
        ),
        (&["echo", "--url", &closed], "connection refused"),
        (&["connect", "--url", &closed], "connection refused"),
        (
            &["echo", "--url", &forbidding, "--connections", "1"],
            "handshake refused with status 403",
        ),
        (
            &["echo", "--url", &closed, "--pid", "4000000000"],
            "connection refused",
        ),
        (
            &["http", "--url", "http://127.0.0.1/", "--header", "a b: c"],
            "Name: value",
        ),
    ] {
        let said = complaint(args);
        assert!(said.contains(words), "{args:?} said {said}");
    }
}

#[test]
fn too_few_descriptors_are_told_before_anything_is_opened() {
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 100; exec \"$0\" bench idle --url ws://127.0.0.1:9/",
        ])
        .arg(env!("CARGO_BIN_EXE_tidings"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("raise `ulimit -n` (now 100)"), "{said}");
}

#[test]
fn a_process_that_is_not_there_is_named() {
    let raw = Raw::start();
    let said = complaint(&[
        "idle",
        "--url",
        &raw.url,
        "--connections",
        "1",
        "--pid",
        "4000000000",
    ]);
    assert!(said.contains("process 4000000000 can't be read"), "{said}");
}

#[test]
fn raw_serves_several_threads_and_ends_with_sigterm() {
    let mut child = tidings()
        .args(["raw", "--threads", "2", "--seconds", "60"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = format!("ws://{}/", line.split(' ').nth(2).unwrap());
    let (_, json) = bench(&["connect", "--url", &url, "--count", "50"]);
    assert_eq!(json["left"], 50, "{json}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_json_file_gets_a_line_a_run() {
    let raw = Raw::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runs.jsonl");
    for _ in 0..2 {
        let output = tidings()
            .args(["connect", "--url", &raw.url, "--count", "5", "--json"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("handshakes/s"));
    }
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        lines
            .lines()
            .filter(|line| serde_json::from_str::<Value>(line).is_ok())
            .count(),
        2
    );
}

#[test]
fn raw_log_counts_what_it_synced_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let load = ["raw-log", "--data", data, "--seconds", "0.3"];
    let (output, json) = bench(&[&load[..], &["--in-flight", "8", "--journal"]].concat());
    assert!(output.status.success());
    assert!(json["in_flight"] == 8 && json["journal_bytes_per_record"].as_f64() > Some(64.0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let missing = folder.path().join("missing");
    let said = complaint(&["raw-log", "--data", missing.to_str().unwrap()]);
    assert!(said.contains("can't make a file in --data"), "{said}");
}

#[test]
fn raw_with_a_folder_answers_each_whole_request_once_and_leaves_nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    let raw = Raw::start_with(&["--data", folder.path().to_str().unwrap()]);
    let address = raw.url.trim_start_matches("ws://").trim_end_matches('/');
    let mut client = TcpStream::connect(address).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let request = b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n\"message\"";
    let mut answers = |bytes: &[u8], count: usize| {
        client.write_all(bytes).unwrap();
        let mut answer = vec![0; 72 * count];
        client.read_exact(&mut answer).unwrap();
        for answer in answer.chunks(72) {
            assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"\r\n{}"));
        }
    };
    answers(request, 1);
    answers(&request.repeat(3), 3);
    answers(&[&request[..], &request[..20]].concat(), 1);
    answers(&request[20..], 1);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    let url = raw.url.replace("ws", "http");
    let load = ["http", "--url", &url, "--connections", "8"];
    let (output, json) = bench(&[&load[..], &SHORT].concat());
    assert!(output.status.success(), "{json}");
    assert!(json["requests"].as_u64() > Some(8), "{json}");

    let missing = folder.path().join("missing");
    let said = complaint(&["raw", "--data", missing.to_str().unwrap()]);
    assert!(said.contains("can't make a file in --data"), "{said}");
}
