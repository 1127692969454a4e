//! A thread that dies takes the server with it, in order: with the real binary, thread by thread.
//!
//! Only a build with debug assertions has a way to make its threads die.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::support::api::post;
use crate::support::chat_client::ChatClient;
use crate::support::http::HttpClient;
use crate::support::program::Program;
use crate::support::websocket::Heard;

/// A program whose threads die when they are told to.
struct Mortal {
    program: Program,
    folder: TempDir,
}

impl Mortal {
    fn serve() -> Self {
        Self::start("serve", |command, folder| {
            command.arg("--data").arg(folder.join("data"));
            command.args(["--reactors", "2", "--workers", "2"]);
            command.args(["--set", "chat.ring_messages_max=1"]);
        })
    }

    fn gateway() -> Self {
        Self::start("gateway", |command, folder| {
            command.arg("--data").arg(folder.join("outbox"));
            // Nobody listens there.
            command.args(["--upstream", "ws://127.0.0.1:9/link"]);
            command.args(["--set", "gateway.drain_ms_max=100"]);
            command.env("TIDINGS_GATEWAY_LINK_KEY", "a-link-key-of-the-tests");
        })
    }

    fn start(what: &str, add: impl FnOnce(&mut Command, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.args([what, "--listen", "127.0.0.1:0"]);
        add(&mut command, folder.path());
        command.env("FAULTS_OF_TIDINGS", faults(folder.path()));
        let program = Program::start(&mut command);
        Self { program, folder }
    }

    fn let_die(&self, thread: &str) {
        std::fs::write(faults(self.folder.path()), thread).unwrap();
    }

    /// The log has a line that says so, and the exit code is that of a failure.
    #[track_caller]
    fn has_failed(mut self, thread: &str, reason: &str) {
        assert_eq!(self.program.exit_code(), 1, "{thread}");
        let log = self.program.stderr.all();
        assert!(log.contains("the server can't go on"), "{thread}: {log}");
        assert!(log.contains(reason), "{thread}: {log}");
    }
}

fn faults(folder: &Path) -> PathBuf {
    folder.join("faults")
}

/// Connections on which a question has been begun, so that a stop waits for the rest of it.
fn half_asked(address: SocketAddr) -> Vec<HttpClient> {
    (0..4)
        .map(|_| {
            let mut http = HttpClient::connect(address);
            assert_eq!(http.get("/readyz").status, 200);
            http.send("GET /readyz HTTP/1.1\r\n").unwrap();
            http
        })
        .collect()
}

/// Asks the rest; says how many were told that the server isn't ready, and why.
#[track_caller]
fn told_why(asking: Vec<HttpClient>, reason: &str) -> usize {
    let mut told = 0;
    for mut http in asking {
        // Of a thread that has died nobody answers.
        let asked = http.send("Host: localhost\r\n\r\n");
        if let Ok(answer) = asked.and_then(|()| http.answer()) {
            assert_eq!(answer.status, 503, "{}", answer.body);
            assert!(answer.body.contains(reason), "{}", answer.body);
            told += 1;
        }
    }
    told
}

/// Does what each thread has to do something for.
fn stir(server: &Program, clients: &mut [ChatClient]) {
    server.signal(Signal::USR1);
    clients[0].send(json!({"type": "join", "room": "tea", "resume": {"offset": 0}}));
    for client in clients {
        // For a worker, not for a reactor alone. One of them may be gone already.
        let who = json!({"type": "who", "room": "coffee"});
        client.client.try_say(who.to_string()).ok();
    }
}

#[test]
fn every_thread_of_a_server_takes_it_along_in_order() {
    for (thread, reason) in [
        ("reactor-0", "a reactor has died"),
        ("reactor-1", "a reactor has died"),
        ("worker-0", "a worker has died"),
        ("worker-1", "a worker has died"),
        ("disk", "the disk thread has died"),
        ("replay", "the replay thread has died"),
        ("main", "the main thread has panicked"),
    ] {
        let mortal = Mortal::serve();
        let server = &mortal.program;
        post(&mut server.http(), "tea", 3, &json!("one"));
        let mut clients: Vec<_> = (0..6)
            .map(|n| ChatClient::login(server, &format!("u{n}"), &["coffee"]))
            .collect();
        let asking = half_asked(server.address);
        let all = asking.len();
        mortal.let_die(thread);
        stir(server, &mut clients);
        for client in &mut clients {
            let (_, end) = client.client.hear_all();
            let Heard::Close(code) = end else {
                panic!("{thread}: {end:?}");
            };
            assert!(code == 1001 || code == 1011, "{thread}: {code}");
            let stays = !thread.starts_with("reactor") && !thread.starts_with("worker");
            assert!(!stays || code == 1001, "{thread}: {code}");
        }
        drop(clients);
        let told = told_why(asking, reason);
        let least = if thread.starts_with("reactor") {
            1
        } else {
            all
        };
        assert!(told >= least, "{thread}: {told} were told");
        mortal.has_failed(thread, reason);
    }
}

#[test]
fn every_thread_of_a_gateway_takes_it_along_in_order() {
    for (thread, reason) in [
        ("worker-0", "a worker has died"),
        ("disk", "the disk thread has died"),
        ("relay", "the relay thread has died"),
        ("main", "the main thread has panicked"),
    ] {
        let mut mortal = Mortal::gateway();
        let asking = half_asked(mortal.program.address);
        let all = asking.len();
        mortal.let_die(thread);
        mortal.program.signal(Signal::USR1);
        let mut http = mortal.program.http();
        let body = json!({"to": {"room": "tea"}, "data": 1}).to_string();
        // Whatever the answer is: its thread may be the one that dies.
        http.ask_with_json("POST", "/v1/messages", &body).ok();
        drop(http);
        mortal.program.stderr.wait_for("the server can't go on");
        assert_eq!(told_why(asking, reason), all, "{thread}");
        mortal.has_failed(thread, reason);
    }
}
