//! TLS in the program: settings, their check, a reload and an upgrade.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use tungstenite::Message;

use super::{Signer, connect, get};
use crate::service::{said, tidings};
use crate::support::program::Program;

const CONFIG: &str = "listen = \"127.0.0.1:0\"\ncontrol = \"c\"\nfreeze_ms_max = 20000\n\
    [store]\ndata = \"none\"\n\
    [tls]\nlisten = \"127.0.0.1:0\"\n\
    [[tls.certificate]]\nchain_file = \"one.pem\"\nkey_file = \"one.key\"\n\
    [[tls.certificate]]\nchain_file = \"two.pem\"\nkey_file = \"two.key\"\n";

struct Daemon {
    program: Program,
    signer: Signer,
    folder: tempfile::TempDir,
}

fn command(folder: &Path, name: &str, more: &[&str]) -> (i32, String, String) {
    said(&mut tidings(
        folder,
        &[&[name], more, &["--config", "t.toml"]].concat(),
    ))
}

impl Daemon {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::new();
        signer.sign_into(folder.path(), "one", &["localhost", "127.0.0.1"]);
        signer.sign_into(folder.path(), "two", &["b.test"]);
        fs::write(folder.path().join("t.toml"), CONFIG).unwrap();
        let serve = ["serve", "--config", "t.toml"];
        let program = Program::start(&mut tidings(folder.path(), &serve));
        Self {
            program,
            signer,
            folder,
        }
    }

    fn address(&self) -> SocketAddr {
        let (_, out, _) = command(self.folder.path(), "status", &["--json"]);
        let status: Value = serde_json::from_str(&out).unwrap();
        status["listen_tls"][0].as_str().unwrap().parse().unwrap()
    }
}

#[test]
fn a_check_names_the_days_that_are_left_and_a_key_that_is_anothers() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, path) = (Signer::new(), folder.path());
    signer.sign_into(path, "one", &["localhost"]);
    signer.sign_into(path, "two", &["b.test"]);
    fs::write(path.join("t.toml"), CONFIG).unwrap();
    let (code, out, err) = command(path, "check", &[]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("localhost (") && out.contains("b.test (") && out.contains("days)"),
        "{out}"
    );
    fs::copy(path.join("one.key"), path.join("two.key")).unwrap();
    let (code, _, err) = command(path, "check", &[]);
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("two.key: the key is not that of the certificate"),
        "{err}"
    );
    fs::write(path.join("t.toml"), "[tls]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let (code, _, err) = command(path, "check", &[]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("tls.listen needs a certificate"), "{err}");
    let exposed = CONFIG.replace(
        "[tls]\nlisten = \"127.0.0.1:0\"",
        "[tls]\nlisten = \"0.0.0.0:1\"",
    );
    signer.sign_into(path, "two", &["b.test"]);
    fs::write(path.join("t.toml"), exposed).unwrap();
    let (code, _, err) = command(path, "check", &[]);
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("0.0.0.0:1, which other machines can reach"),
        "{err}"
    );
}

#[test]
fn a_reload_shows_new_handshakes_other_certificates_and_refuses_a_pair_that_does_not_fit() {
    let daemon = Daemon::start();
    let (address, path) = (daemon.address(), daemon.folder.path());
    let config = Arc::new(daemon.signer.client(&[&TLS13, &TLS12]));
    let mut before = connect(&config, address, "localhost").unwrap();
    assert!(get(&mut before, "/healthz", "").starts_with("HTTP/1.1 200 "));
    connect(&config, address, "c.test").unwrap_err();
    daemon.signer.sign_into(path, "two", &["c.test"]);
    let (code, _, err) = command(path, "reload", &[]);
    assert_eq!(code, 0, "{err}");
    connect(&config, address, "c.test").unwrap();
    connect(&config, address, "b.test").unwrap_err();
    fs::copy(path.join("one.key"), path.join("two.key")).unwrap();
    let (code, _, err) = command(path, "reload", &[]);
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("the key is not that of the certificate"),
        "{err}"
    );
    connect(&config, address, "c.test").unwrap();
    assert!(get(&mut before, "/healthz", "").starts_with("HTTP/1.1 200 "));
    daemon.program.stop();
}

#[test]
fn a_page_of_this_server_has_https_there() {
    let daemon = Daemon::start();
    let config = Arc::new(daemon.signer.client(&[&TLS13]));
    let mut stream = connect(&config, daemon.address(), "localhost").unwrap();
    let mut ask = |origin: &str| get(&mut stream, "/v1/stats", &format!("Origin: {origin}\r\n"));
    assert!(ask("https://localhost").starts_with("HTTP/1.1 200 "));
    assert!(ask("http://localhost").starts_with("HTTP/1.1 403 "));
    daemon.program.stop();
}

#[test]
fn an_upgrade_closes_connections_over_tls_with_1012_and_carries_the_others() {
    let daemon = Daemon::start();
    let address = daemon.address();
    let config = Arc::new(daemon.signer.client(&[&TLS13]));
    let stream = connect(&config, address, "localhost").unwrap();
    let (mut ann, _) = tungstenite::client("wss://localhost/ws?uid=ann", stream).unwrap();
    ann.read().unwrap();
    let mut idle = connect(&config, address, "localhost").unwrap();
    assert!(get(&mut idle, "/healthz", "").starts_with("HTTP/1.1 200 "));
    let mut bob = daemon.program.websocket("/ws?uid=bob");
    bob.hear_text();
    let (code, out, err) = command(daemon.folder.path(), "upgrade", &[]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("closing 2 connections over TLS"), "{err}");
    assert!(out.contains("1 connections carried"), "{out}");
    let close = loop {
        match ann.read().unwrap() {
            Message::Close(close) => break close.unwrap(),
            Message::Text(_) | Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1012);
    let mut byte = [0];
    let ended = std::io::Read::read(&mut idle, &mut byte);
    assert_eq!(ended.unwrap(), 0, "close_notify came first");
    // They come back to the same port, and resume.
    let mut again = connect(&config, address, "localhost").unwrap();
    assert!(get(&mut again, "/healthz", "").starts_with("HTTP/1.1 200 "));
    bob.say(r#"{"type":"join","seq":1,"room":"tea"}"#);
    while !bob.hear_text().contains("\"seq\":1") {}
    drop(again);
    daemon.program.stop();
}
