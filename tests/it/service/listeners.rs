//! Addresses to listen on: several, names, Unix sockets.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{said, tidings};
use crate::support::http::HttpClient;
use crate::support::program::Program;
use crate::support::unix::{http_at, websocket_at};
use crate::support::wait::until;

const SERVE: [&str; 5] = ["serve", "--data", "none", "--listen", "127.0.0.1:0"];

#[test]
fn one_server_is_reached_by_each_of_its_addresses_and_its_file_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--listen", "localhost:0,unix:t.sock", "--set", "control=c"];
    let program = Program::start(&mut tidings(folder.path(), &[&SERVE[..], &more].concat()));
    let path = folder.path().join("t.sock");
    let (_, out, _) = said(&mut tidings(
        folder.path(),
        &["status", "--json", "--control", "c"],
    ));
    let status: Value = serde_json::from_str(&out).unwrap();
    let listen = status["listen"].as_array().unwrap();
    let unix = format!("unix:{}", fs::canonicalize(&path).unwrap().display());
    assert_eq!(listen.last().unwrap(), &Value::from(unix));
    let listen = listen[..listen.len() - 1].iter();
    let addresses = listen.map(|one| one.as_str().unwrap().parse::<SocketAddr>().unwrap());
    let addresses: Vec<_> = addresses.collect();
    assert!(addresses.len() >= 2, "{addresses:?}");
    for address in addresses {
        let answer = HttpClient::connect(address).get("/healthz");
        assert_eq!(answer.status, 200, "{address}");
    }
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut http = http_at(&path);
    assert_eq!(http.get("/healthz").status, 200);
    let mut ann = websocket_at(&path, "/ws?uid=ann");
    let hello: Value = serde_json::from_str(&ann.hear_text()).unwrap();
    let fd = &hello["fd"];
    let info = http.get(&format!("/v1/connections/{fd}"));
    let info: Value = serde_json::from_str(&info.body).unwrap();
    assert_eq!(info["peer"], "unix", "{info}");
    // Who comes by the one address is heard by who came by the other.
    ann.say(r#"{"type":"join","seq":1,"room":"tea"}"#);
    until("ann is in the room", || {
        ann.hear_text().contains("\"seq\":1")
    });
    let body = r#"{"to":{"room":"tea"},"from":"bob","data":"hi"}"#;
    let posted = program.http().ask_with_json("POST", "/v1/messages", body);
    assert_eq!(posted.unwrap().status, 200);
    until("the message is there", || {
        ann.hear_text().contains("\"hi\"")
    });
    drop((http, ann));
    program.stop();
    assert!(!path.exists(), "the file is there after the stop");
}

#[test]
fn the_file_of_a_dead_server_is_replaced_and_a_living_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--listen", "unix:t.sock", "--set", "unix_mode=0666"];
    let serve = || tidings(folder.path(), &[&SERVE[..], &more].concat());
    let path = folder.path().join("t.sock");
    Program::start(&mut serve()).kill();
    assert!(path.exists(), "a killed server leaves it");
    let program = Program::start(&mut serve());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    let (code, _, err) = said(&mut serve());
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("t.sock") && err.contains("another server answers there"),
        "{err}"
    );
    assert_eq!(http_at(&path).get("/healthz").status, 200);
    program.stop();
    fs::write(&path, "mine").unwrap();
    let (code, _, err) = said(&mut serve());
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("it is no socket"), "{err}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_gateway_takes_messages_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = [
        "gateway",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        "unix:g.sock",
    ];
    let more = ["--upstream", "ws://127.0.0.1:9/link", "--link-key"];
    let key = ["0123456789abcdef0123456789abcdef"];
    let mut gateway = tidings(folder.path(), &[&gateway[..], &more, &key].concat());
    let gateway = Program::start(&mut gateway);
    let path = folder.path().join("g.sock");
    let body = r#"{"to":{"room":"tea"},"from":"bob","data":"hi"}"#;
    let posted = http_at(&path).ask_with_json("POST", "/v1/messages", body);
    assert_eq!(posted.unwrap().status, 202);
    gateway.stop();
    assert!(!path.exists());
}
