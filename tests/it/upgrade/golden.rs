//! What an earlier version has handed over as a whole, of a server and of a gateway, is taken over by this one.
//!
//! The files were written by the version in their names: `TIDINGS_GOLDEN=folder cargo test --test it golden`
//! writes those of this version. Each is rehearsed as a server has the next image rehearse.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tidings::handover::Handover;

use super::Upgradable;
use super::images::build;
use crate::service::tidings;
use crate::support::api::post;
use crate::support::chat_client::{ChatClient, say};
use crate::support::http::HttpClient;
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

const EARLIER: [&[u8]; 2] = [
    include_bytes!("../../handovers/serve-1.handover"),
    include_bytes!("../../handovers/gateway-1.handover"),
];

const LINK_KEY: &str = "a-link-key-of-the-tests";

/// Where a server and a gateway have it from: keys stand in no trial handover.
const KEY_VARS: [&str; 2] = ["TIDINGS_UPLINK_KEY", "TIDINGS_GATEWAY_LINK_KEY"];

/// What a rehearsal says of a handover.
fn rehearsed(bytes: &[u8]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("handover");
    fs::write(&file, bytes).unwrap();
    let mut rehearsal = tidings(folder.path(), &["rehearse"]);
    for variable in KEY_VARS {
        rehearsal.env(variable, LINK_KEY);
    }
    let stdin = Stdio::from(fs::File::open(file).unwrap());
    let output = rehearsal.stdin(stdin).output().unwrap();
    parsed(str::from_utf8(&output.stdout).unwrap())
}

#[test]
fn a_whole_handover_of_an_earlier_version_is_taken_over() {
    for bytes in EARLIER {
        let report = rehearsed(bytes);
        assert_eq!(report["ok"], true, "{report}");
        let program = Handover::read(bytes).unwrap().head().program.clone();
        assert!(program.ends_with("+golden"), "{program}");
    }
}

/// The trial handover of a server: `tee rehearse` keeps what it gets in the server's folder, and is no
/// program of ours.
fn handed_over(server: &Upgradable, asked: &[&str]) -> Vec<u8> {
    let arguments = ["--check", "--binary", "/usr/bin/tee"];
    let (code, out, err) = server.upgrade(&[&arguments, asked].concat());
    assert_eq!(code, 1, "{out}{err}");
    fs::read(server.folder.path().join("rehearse")).unwrap()
}

/// A server of this version, by another name, in whose handover as much as possible stands.
fn of_a_server(binary: &Path) -> Vec<u8> {
    let arguments = ["--data", "none", "--set", "control=control", "--echo"];
    let more = ["--reactors", "2", "--workers", "1"];
    let server = Upgradable::start(binary, &[&arguments[..], &more].concat(), |command| {
        command.env(KEY_VARS[0], LINK_KEY);
    });
    let address = server.program.address;
    post(&mut server.program.http(), "tea", 3, &json!("stored"));
    let mut ann = ChatClient::login(&server.program, "ann", &["tea", "coffee"]);
    ann.ok(say("tea", "of ann"));
    ann.ok(json!({"type": "ack", "channel": "tea", "offset": 2}));
    ChatClient::login(&server.program, "gone", &["tea"])
        .client
        .leave();
    let mut half = WebSocketClient::connect(address, "/echo");
    half.stream().write_all(b"\x81\x85\0\0\0\0ha").unwrap();
    let mut head = HttpClient::connect(address);
    head.send("GET /healthz HTTP/1.1\r\nHo").unwrap();
    let mut asked = UnixStream::connect(server.folder.path().join("control")).unwrap();
    asked.write_all(b"{\"command\":\"sta").unwrap();
    let mut gateway = gateway(
        binary,
        server.folder.path(),
        &server.program.url("ws", "/link"),
    );
    let message = json!({"to": {"room": "tea"}, "data": "from afar"});
    assert_eq!(gateway.http().json("POST", "/v1/messages", &message).0, 202);
    until("the gateway's message is there", || {
        let page = server.program.http().get("/v1/rooms/tea/messages");
        page.body.contains("from afar")
    });
    let bytes = handed_over(&server, &["--control", "control"]);
    gateway.signal(rustix::process::Signal::TERM);
    gateway.exit_code();
    bytes
}

fn gateway(binary: &Path, folder: &Path, upstream: &str) -> Program {
    let mut command = std::process::Command::new(binary);
    command.current_dir(folder).env_clear();
    command.args(["gateway", "--listen", "127.0.0.1:0", "--data", "outbox"]);
    command.args(["--set", "control=gateway", "--upstream", upstream]);
    Program::start(command.env(KEY_VARS[1], LINK_KEY))
}

/// A gateway with a message that nobody has taken yet.
fn of_a_gateway(binary: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let program = gateway(binary, folder.path(), "ws://127.0.0.1:9/link");
    let server = Upgradable { folder, program };
    let message = json!({"to": {"room": "tea"}, "data": "waits"});
    let mut http = server.program.http();
    assert_eq!(http.json("POST", "/v1/messages", &message).0, 202);
    handed_over(&server, &["--control", "gateway", "--gateway"])
}

/// The names of the sections, without their numbers.
fn sections(bytes: &[u8]) -> BTreeSet<String> {
    let handover = Handover::read(bytes).unwrap();
    let name = |name: &str| name.split('.').next().unwrap().to_owned();
    handover
        .sections()
        .map(|section| name(section.name()))
        .collect()
}

#[test]
fn a_section_that_this_version_hands_over_stands_in_a_golden_handover() {
    let builds = tempfile::tempdir().unwrap();
    let binary = build(builds.path(), "golden");
    let handovers = [of_a_server(&binary), of_a_gateway(&binary)];
    if let Some(folder) = std::env::var_os("TIDINGS_GOLDEN") {
        for (bytes, name) in handovers.iter().zip(["serve", "gateway"]) {
            fs::write(Path::new(&folder).join(format!("{name}.handover")), bytes).unwrap();
        }
    }
    for (bytes, earlier) in handovers.iter().zip(EARLIER) {
        let report = rehearsed(bytes);
        assert_eq!(report["ok"], true, "{report}");
        assert_eq!(sections(bytes), sections(earlier));
    }
}
