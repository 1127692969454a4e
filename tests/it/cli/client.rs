//! `tidings send` and `listen`: with what `init` wrote, with a token, with an API key, or without any;
//! and what they make of refusals and of the end of a connection.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, accept};

use crate::support::PATIENCE;
use crate::support::chat_client::ChatClient;
use crate::support::keys::Keys;
use crate::support::parsed;
use crate::support::port::OwnPort;
use crate::support::program::{Lines, Program, ends_within};

/// A command in a folder, with nothing of this process's environment.
pub(super) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.current_dir(folder).env_clear().args(arguments);
    command
}

/// What a command that runs and ends says, and whether it went well.
fn run(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let output = command(folder, arguments).output().expect("tidings runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The receipt that `send` prints.
#[track_caller]
pub(super) fn sent(folder: &Path, arguments: &[&str]) -> Value {
    let (success, out, err) = run(folder, &[&["send"], arguments].concat());
    assert!(success && err.is_empty(), "{arguments:?}: {err}");
    parsed(&out)
}

/// What a command says that must fail.
#[track_caller]
pub(super) fn fails(folder: &Path, arguments: &[&str]) -> String {
    let (success, out, err) = run(folder, arguments);
    assert!(!success && out.is_empty(), "{arguments:?}: {out}");
    err
}

/// `tidings listen`, which has connected.
pub(super) struct Listener {
    child: Child,
    pub(super) out: Lines,
    pub(super) err: Lines,
}

impl Listener {
    pub(super) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder, &[&["listen"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tidings runs");
        let mut listener = Self {
            out: Lines::of(child.stdout.take().expect("a pipe")),
            err: Lines::of(child.stderr.take().expect("a pipe")),
            child,
        };
        listener.err.wait_for("connected; ");
        listener
    }

    /// Waits until it has ended of itself; its exit code, and what it said at the end.
    pub(super) fn ended(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        assert!(ends_within(pid, PATIENCE), "it listens on");
        let code = self.child.wait().expect("it was started here").code();
        (code, self.err.all())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It has ended before, unless the test is about one that goes on.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

#[test]
fn send_joins_no_room_and_counts_only_those_who_are_there() {
    let (server, folder) = (Program::serve(&[]), folder());
    let url = server.url("http", "/");
    let send = |arguments: &[&str]| {
        let arguments = [&["--url", &url, "--room", "tea"], arguments].concat();
        sent(folder.path(), &arguments)
    };
    assert_eq!(send(&["to nobody"])["receivers"], 0);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let receipt = send(&["--uid", "bob", "hello"]);
    assert_eq!(
        (&receipt["receivers"], &receipt["offset"]),
        (&json!(1), &json!(2))
    );
    // Nobody came in before the message, and nobody went after it.
    let heard = ann.next();
    assert_eq!(
        (&heard["type"], &heard["from"], &heard["data"]),
        (&json!("msg"), &json!("bob"), &json!({"text": "hello"}))
    );
    send(&["--data", "[1]", "--id", "i1"]);
    assert_eq!(ann.next()["data"], json!([1]));
    assert_eq!(send(&["--data", "[1]", "--id", "i1"])["duplicate"], true);
    let who = ann.ok(json!({"type": "who", "room": "tea"}));
    assert_eq!(who["users"], json!(["ann"]));
    // All ways to write where the server is lead there.
    for url in [server.url("ws", "/ws"), server.address.to_string()] {
        let receipt = sent(folder.path(), &["--url", &url, "--user", "ann", "psst"]);
        assert_eq!(receipt["channel"], "@ann");
    }
    drop(ann);
    server.stop();
}

#[test]
fn send_and_listen_need_no_more_than_what_init_wrote() {
    let keys = Keys::make();
    let file = keys.file();
    let text = fs::read_to_string(&file).expect("a file");
    let without_api_key = text
        .replace("[api_keys.backend]", "#")
        .replace("\nkey = ", "\n#");
    let signing = Path::new(&file).with_file_name("signing.toml");
    fs::write(&signing, without_api_key).expect("a file");
    let signing = signing.display().to_string();
    let (server, folder) = (Program::serve(&["--config", &file]), folder());
    let url = server.url("ws", "/ws");
    // With the API key of the settings, and with a token that is signed by their secret.
    for (settings, text) in [(&file, "by key"), (&signing, "by token")] {
        let to = ["--config", settings, "--url", &url, "--room", "tea"];
        let mut listener = Listener::start(
            folder.path(),
            &[&to[..], &["--uid", "bob", "--count", "1"]].concat(),
        );
        let receipt = sent(folder.path(), &[&to[..], &["--uid", "ann", text]].concat());
        assert_eq!(receipt["receivers"], 1, "{receipt}");
        let line = listener.out.wait_for("tea");
        assert_eq!(line, format!("tea ann: {text}"));
        assert_eq!(
            listener.ended(),
            (Some(0), "connected; listening to tea".into())
        );
    }
    // To everyone, as back ends may.
    let all = ["--config", &file, "--url", &url, "--all", "closing"];
    assert_eq!(sent(folder.path(), &all)["channel"], "*");
    server.stop();
}

#[test]
fn the_settings_say_where_the_server_is() {
    let (keys, folder) = (Keys::make(), folder());
    let file = keys.file();
    let server = Program::serve(&["--config", &file]);
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, format!("listen = \"{}\"\n{text}", server.address)).expect("a file");
    let receipt = sent(
        folder.path(),
        &["--config", &file, "--room", "tea", "hello"],
    );
    assert_eq!(receipt["channel"], "tea");
    let mut by_variable = command(folder.path(), &["send", "--room", "tea", "hello"]);
    by_variable.env("TIDINGS_CONFIG", &file);
    let output = by_variable.output().expect("tidings runs");
    assert!(output.status.success(), "{output:?}");
    server.stop();
}

#[test]
fn a_token_alone_says_who_one_is_and_which_rooms_one_is_in() {
    let keys = Keys::make();
    let (server, folder) = (Program::serve(&["--config", &keys.file()]), folder());
    let url = server.url("ws", "/ws");
    let (ann, bob) = (
        keys.token("ann", "tea", "1h"),
        keys.token("bob", "tea,te*", "1h"),
    );
    let shown = ["--url", &url, "--token", &bob];
    let mut listener = Listener::start(folder.path(), &shown);
    let receipt = sent(
        folder.path(),
        &["--url", &url, "--token", &ann, "--room", "tea", "hi"],
    );
    assert_eq!(receipt["receivers"], 1);
    // Neither of the two said a name, and the sender isn't seen to come.
    assert_eq!(listener.out.wait_for("tea"), "tea ann: hi");
    drop(listener);
    let named = ["--url", &url, "--token", &ann, "--uid", "eve"];
    for command in [&["send", "--room", "tea", "hi"][..], &["listen"]] {
        let said = fails(folder.path(), &[command, &named].concat());
        let expected = "tidings: the token is for \"ann\", not for \"eve\"; leave --uid out\n";
        assert_eq!(said, expected);
    }
    server.stop();
}

#[test]
fn who_is_refused_is_told_what_to_mend() {
    let keys = Keys::make();
    let (server, folder) = (Program::serve(&["--config", &keys.file()]), folder());
    let url = server.url("ws", "/ws");
    let other = Keys::make();
    let (foreign, foreign_file) = (other.token("ann", "tea", "1h"), other.file());
    let token = keys.token("ann", "tea", "1h");
    let key = "Authorization holds no API key of ours";
    let not_ours = "the token is not one of ours";
    for (shown, reason, mend) in [
        (
            &[][..],
            "is missing",
            "say --config FILE with the server's settings",
        ),
        (
            &["--api-key", "none-of-the-server-s"],
            key,
            "--api-key is none of this server's keys",
        ),
        (
            &["--token", &foreign],
            not_ours,
            "`tidings token` makes another token",
        ),
        (
            &["--config", &foreign_file],
            key,
            "does the server run with other settings than these?",
        ),
    ] {
        for command in [
            &["send", "--room", "tea", "hi"][..],
            &["listen", "--room", "tea"],
        ] {
            let said = fails(folder.path(), &[command, &["--url", &url], shown].concat());
            assert!(
                said.contains(reason) && said.contains(mend),
                "{command:?} {shown:?}: {said}"
            );
        }
    }
    let board = ["--url", &url, "--token", &token, "--room", "board"];
    for command in [&["send", "hi"][..], &["listen"]] {
        let said = fails(folder.path(), &[command, &board].concat());
        let expected = "tidings: forbidden: room: the token's rooms don't include board\n";
        assert_eq!(said, expected, "{command:?}");
    }
    server.stop();
}

#[test]
fn where_no_server_is_the_address_and_the_reason_are_said_once() {
    let folder = folder();
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let address = free.expect("a free port").to_string();
    let url = format!("ws://{address}/ws");
    for command in [&["send", "--room", "tea", "hi"][..], &["listen"]] {
        let said = fails(folder.path(), &[command, &["--url", &url]].concat());
        let expected = format!(
            "tidings: can't connect to {address}; is `tidings serve` running?: \
             Connection refused (os error 111)\n"
        );
        assert_eq!(said, expected);
        let said = fails(folder.path(), &[command, &["--url", "ftp://a"]].concat());
        assert!(said.contains("ws://HOST:PORT/ws"), "{said}");
    }
}

#[test]
fn a_listener_that_is_kicked_ends_and_says_why() {
    let (server, folder) = (Program::serve(&[]), folder());
    let url = server.url("ws", "/ws");
    let listener = Listener::start(folder.path(), &["--url", &url, "--uid", "ann"]);
    let (status, _) = server.http().json(
        "POST",
        "/v1/users/ann/kick",
        &json!({"code": "spam", "message": "too loud"}),
    );
    assert_eq!(status, 200);
    let (code, said) = listener.ended();
    assert_eq!(code, Some(1));
    assert!(
        said.ends_with("tidings: closed with 4004: too loud"),
        "{said}"
    );
    server.stop();
}

#[test]
fn a_listener_whose_token_ends_says_so_and_asks_no_more() {
    let keys = Keys::make();
    let flags = ["--config", &keys.file(), "--set", "tokens.leeway_s=0"];
    let (server, folder) = (Program::serve(&flags), folder());
    let (url, token) = (server.url("ws", "/ws"), keys.token("ann", "tea", "3s"));
    let listener = Listener::start(folder.path(), &["--url", &url, "--token", &token]);
    let (code, said) = listener.ended();
    assert_eq!(code, Some(1), "{said}");
    let end = "closed with 4005: the token's time is over; `tidings token` makes another token";
    assert!(said.ends_with(end), "{said}");
    server.stop();
}

#[test]
fn a_listener_comes_back_after_a_restart_and_has_missed_nothing() {
    let (data, folder) = (folder(), folder());
    let port = OwnPort::new();
    let address = port.address.to_string();
    let serve = ["serve", "--listen", &address, "--data", "."];
    let server = Program::start(&mut command(data.path(), &serve));
    let url = server.url("ws", "/ws");
    let mut listener = Listener::start(folder.path(), &["--url", &url, "--room", "tea"]);
    sent(folder.path(), &["--url", &url, "--room", "tea", "one"]);
    listener.out.wait_for(": one");
    server.kill();
    listener.err.wait_for("reconnecting");
    let server = Program::start(&mut command(data.path(), &serve));
    sent(folder.path(), &["--url", &url, "--room", "tea", "two"]);
    listener.out.wait_for(": two");
    drop(listener);
    server.stop();
}

/// A peer that does what no server of ours does in a test's time; says what each login resumes from.
fn odd_server(frames: Vec<Vec<Message>>) -> (String, thread::JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}/ws", listener.local_addr().expect("an address"));
    let serve = thread::spawn(move || {
        let mut resumes = Vec::new();
        for frames in frames {
            let (stream, _) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            let mut socket = accept(stream).expect("a WebSocket");
            let login = parsed(socket.read().expect("a login").to_text().expect("text"));
            resumes.push(login["resume"].clone());
            let channels = json!({"tea": {"epoch": "a", "offset": 0, "recovered": true}});
            let ok = json!({"type": "ok", "seq": login["seq"], "channels": channels});
            socket
                .send(Message::text(ok.to_string()))
                .expect("a client");
            for frame in frames {
                socket.send(frame).expect("a client");
            }
            while socket.read().is_ok() {}
        }
        resumes
    });
    (url, serve)
}

fn close(code: u16) -> Message {
    Message::Close(Some(CloseFrame {
        code: code.into(),
        reason: "so".into(),
    }))
}

fn message(offset: u64, data: &str) -> Message {
    Message::text(format!(
        r#"{{"type":"msg","channel":"tea","epoch":"a","offset":{offset},"id":"x","from":"ann","data":{data}}}"#
    ))
}

#[test]
fn a_message_that_cant_be_read_is_stepped_over_with_its_offset() {
    let (url, serve) = odd_server(vec![
        vec![
            message(1, r#"{"text":"one"}"#),
            message(2, r#""\ud83d""#),
            message(3, "1e999"),
            Message::text("{"),
            close(1012),
        ],
        vec![message(4, r#"{"text":"four"}"#)],
    ]);
    let folder = folder();
    let arguments = ["--url", &url, "--room", "tea", "--count", "2"];
    let mut listener = Listener::start(folder.path(), &arguments);
    listener.out.wait_for("tea ann: one");
    for told in [
        "tea message 2 can't be read here",
        "tea message 3 can't be read here",
        "the server sent something that can't be read here",
    ] {
        listener.err.wait_for(told);
    }
    listener.out.wait_for("tea ann: four");
    assert_eq!(listener.ended().0, Some(0));
    let resumes = serve.join().expect("no panic");
    let behind = json!({"tea": {"epoch": "a", "offset": 3}});
    assert_eq!(resumes, [json!({}), behind]);
}

#[test]
fn whoever_can_sign_gets_a_fresh_token_at_the_end_of_the_old_one() {
    let keys = Keys::make();
    let file = keys.file();
    let text = fs::read_to_string(&file).expect("a file");
    let text = text
        .replace("[api_keys.backend]", "#")
        .replace("\nkey = ", "\n#");
    fs::File::create(&file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a file");
    let (url, serve) = odd_server(vec![
        vec![close(4005)],
        vec![message(1, r#"{"text":"again"}"#)],
    ]);
    let folder = folder();
    let arguments = ["--url", &url, "--config", &file, "--count", "1"];
    let mut listener = Listener::start(folder.path(), &arguments);
    listener.out.wait_for(": again");
    assert_eq!(listener.ended().0, Some(0));
    assert_eq!(serve.join().expect("no panic").len(), 2);
}
