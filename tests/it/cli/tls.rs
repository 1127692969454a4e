//! `tidings send` and `listen` over `wss://` and `https://`: who is trusted, and what is said of those who
//! aren't.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use super::client::{Listener, command, fails, folder, sent};
use crate::support::program::Program;
use crate::support::tls::authority::{Authority, Identity};
use crate::support::tls::terminator::{Fault, Terminator};

/// A server behind TLS, and the authority that signed its certificate.
fn behind_tls(names: &[&str]) -> (Program, Authority, Terminator) {
    let (server, authority) = (Program::serve(&[]), Authority::new());
    let terminator = Terminator::start(&authority.certify(names), server.address);
    (server, authority, terminator)
}

#[test]
fn who_is_trusted_is_spoken_to_by_each_way_to_write_the_address() {
    let (server, authority, tls) = behind_tls(&["localhost", "127.0.0.1"]);
    let folder = folder();
    let trust = ["--ca-file", authority.file_name(), "--room", "tea"];
    let url = tls.url("wss", "localhost", "/ws");
    let listen = [&trust[..], &["--url", &url, "--count", "3"]].concat();
    let mut listener = Listener::start(folder.path(), &listen);
    for url in [
        url.clone(),
        tls.url("https", "localhost", "/"),
        tls.url("wss", "127.0.0.1", ""),
    ] {
        let receipt = sent(
            folder.path(),
            &[&trust[..], &["--url", &url, "--uid", "ann", &url]].concat(),
        );
        assert_eq!(receipt["receivers"], 1);
        assert_eq!(listener.out.wait_for("tea"), format!("tea ann: {url}"));
    }
    assert_eq!(listener.ended().0, Some(0));
    assert_eq!(tls.shaken(), 4);
    server.stop();
}

#[test]
fn the_authorities_of_the_system_are_those_that_are_trusted_if_nobody_says_other_ones() {
    let (server, authority, tls) = behind_tls(&["localhost"]);
    let (folder, url) = (folder(), tls.url("wss", "localhost", "/ws"));
    let mut send = command(
        folder.path(),
        &["send", "--room", "tea", "--url", &url, "hi"],
    );
    let output = send.output().expect("tidings runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let unknown = said.contains("no authority that is trusted here")
        || said.contains("no certificates of authorities");
    assert!(unknown, "{said}");
    // The place where the system has them.
    let output = send.env("SSL_CERT_FILE", authority.file()).output();
    assert!(output.expect("tidings runs").status.success());
    server.stop();
}

#[test]
fn secrets_of_a_connection_are_written_nowhere() {
    let (server, authority, tls) = behind_tls(&["localhost"]);
    let (folder, url) = (folder(), tls.url("wss", "localhost", "/ws"));
    let trust = ["--ca-file", authority.file_name()];
    let arguments = [
        &["send", "--room", "tea", "--url", &url],
        &trust[..],
        &["hi"],
    ]
    .concat();
    let log = folder.path().join("keys");
    let mut send = command(folder.path(), &arguments);
    let output = send.env("SSLKEYLOGFILE", &log).output();
    assert!(output.expect("tidings runs").status.success());
    assert!(!log.exists());
    server.stop();
}

/// What `send` says that must fail, and `listen` too.
#[track_caller]
fn refused(folder: &Path, url: &str, trust: &[&str], expected: &str) {
    for command in [&["send", "--room", "tea", "hi"][..], &["listen"]] {
        let said = fails(folder, &[command, &["--url", url], trust].concat());
        assert!(said.contains(expected), "{command:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn who_isnt_trusted_gets_nothing_and_the_reason_says_what_to_mend() {
    let (server, authority, tls) = behind_tls(&["localhost"]);
    let (folder, stranger) = (folder(), Authority::new());
    let trust = ["--ca-file", authority.file_name()];
    let url = tls.url("wss", "localhost", "/ws");
    let of_stranger = ["--ca-file", stranger.file_name()];
    let unknown = "signed by no authority that is trusted here; if the authority is yours, name it";
    refused(folder.path(), &url, &of_stranger, unknown);
    let of_other_name = [
        "--ca-file",
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/tls/authority.pem"
        ),
    ];
    refused(folder.path(), &url, &of_other_name, unknown);
    let by_address = tls.url("wss", "127.0.0.1", "/ws");
    let wrong = "is for localhost, not for 127.0.0.1; mend the address, or say the server name";
    refused(folder.path(), &by_address, &trust, wrong);
    let named = [&trust[..], &["--server-name", "other.example"]].concat();
    let wrong = "is for localhost, not for other.example";
    refused(folder.path(), &url, &named, wrong);
    tls.show(&authority.certify_from(&["localhost"], (2000, 2001)));
    let ended = "its certificate ended on Mon, 01 Jan 2001 00:00:00 GMT: renew it there";
    refused(folder.path(), &url, &trust, ended);
    tls.show(&authority.certify_from(&["localhost"], (2090, 2100)));
    let begins = "begins only on Sun, 01 Jan 2090 00:00:00 GMT: is the clock here right?";
    refused(folder.path(), &url, &trust, begins);
    // The server behind never got a byte of all that.
    assert_eq!(tls.shaken(), 0);
    tls.show(&authority.certify(&["chat.example"]));
    let named = [&trust[..], &["--server-name", "chat.example"]].concat();
    let to = ["--url", &by_address, "--room", "tea", "hi"];
    sent(folder.path(), &[&to[..], &named].concat());
    server.stop();
}

#[test]
fn a_file_of_authorities_that_is_none_is_refused_by_its_name() {
    let folder = folder();
    let file = folder.path().join("ca.pem");
    let name = file.to_str().expect("a name");
    let url = "wss://127.0.0.1:1/ws";
    refused(folder.path(), url, &["--ca-file", name], "No such file");
    for (text, why) in [
        (String::new(), "the CA file has no certificate in it"),
        ("x".repeat((1 << 20) + 1), "is larger than 1048576 bytes"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            "the CA file can't be read",
        ),
    ] {
        fs::write(&file, text).expect("a file");
        refused(folder.path(), url, &["--ca-file", name], why);
    }
}

/// The address of a peer that answers what is said to it by these bytes, and ends.
fn peer(answer: &'static [u8]) -> SocketAddr {
    use std::io::Write;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let mut bytes = [0; 4096];
            _ = stream.read(&mut bytes);
            // The client may have gone already.
            _ = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn what_speaks_no_tls_is_named_as_such() {
    let (server, folder) = (Program::serve(&[]), folder());
    let authority = Authority::new();
    let trust = ["--ca-file", authority.file_name()];
    let plain = "no TLS is spoken there: is it a ws:// or http:// address?";
    for address in [
        peer(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        peer(b"SSH-2.0-x\r\n"),
    ] {
        let url = format!("wss://{address}/ws");
        refused(folder.path(), &url, &trust, plain);
    }
    let ended = "the connection ended within the TLS handshake; is TLS spoken there?";
    let url = format!("wss://{}/ws", peer(b""));
    refused(folder.path(), &url, &trust, ended);
    // A handshake that the peer refuses.
    let url = format!("wss://{}/ws", peer(&[21, 3, 3, 0, 2, 2, 40]));
    let alert = "the other side refused the handshake: HandshakeFailure";
    refused(folder.path(), &url, &trust, alert);
    server.stop();
}

#[test]
fn a_handshake_that_is_cut_anywhere_ends_with_a_reason() {
    let (server, authority, tls) = behind_tls(&["localhost"]);
    let (folder, url) = (folder(), tls.url("wss", "localhost", "/ws"));
    let trust = ["--ca-file", authority.file_name()];
    // Within the head of a record, within the ServerHello, within the certificate.
    for size in [1, 5, 60, 500] {
        tls.set_fault(Fault::CutAfter(size));
        let cut = "ended within the TLS handshake";
        refused(folder.path(), &url, &trust, cut);
    }
    server.stop();
}

#[test]
fn records_that_come_byte_by_byte_and_new_keys_are_read_as_any() {
    let (server, authority, tls) = behind_tls(&["localhost"]);
    let (folder, url) = (folder(), tls.url("wss", "localhost", "/ws"));
    let to = [
        "--url",
        &url,
        "--ca-file",
        authority.file_name(),
        "--room",
        "tea",
    ];
    for fault in [Fault::Trickle, Fault::KeysEvery(1)] {
        tls.set_fault(fault);
        let listen = [&to[..], &["--count", "20"]].concat();
        let mut listener = Listener::start(folder.path(), &listen);
        for number in 0..20 {
            let text = format!("number {number}, {}", "x".repeat(300));
            sent(folder.path(), &[&to[..], &["--uid", "ann", &text]].concat());
            assert_eq!(listener.out.wait_for("tea"), format!("tea ann: {text}"));
        }
        assert_eq!(listener.ended().0, Some(0), "{fault:?}");
    }
    server.stop();
}

#[test]
fn a_listener_whose_connection_is_cut_comes_back_and_has_missed_nothing() {
    let (server, authority, tls) = behind_tls(&["localhost"]);
    let (folder, url) = (folder(), tls.url("wss", "localhost", "/ws"));
    let to = [
        "--url",
        &url,
        "--ca-file",
        authority.file_name(),
        "--room",
        "tea",
    ];
    let mut listener = Listener::start(folder.path(), &to);
    sent(folder.path(), &[&to[..], &["one"]].concat());
    listener.out.wait_for(": one");
    tls.cut();
    listener.err.wait_for("reconnecting");
    sent(folder.path(), &[&to[..], &["two"]].concat());
    listener.out.wait_for(": two");
    drop(listener);
    server.stop();
}

/// A server of TLS that others wrote.
struct Foreign(std::process::Child);

impl Drop for Foreign {
    fn drop(&mut self) {
        // It runs until it is ended.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// `openssl s_server` that answers each request with a status page, by these flags.
fn openssl(folder: &Path, identity: &Identity, flags: &[&str]) -> (Foreign, u16) {
    fs::write(folder.join("chain.pem"), &identity.chain_pem).expect("a file");
    fs::write(folder.join("key.pem"), &identity.key_pem).expect("a file");
    let mut child = Command::new("openssl")
        .current_dir(folder)
        .args(["s_server", "-accept", "127.0.0.1:0", "-www"])
        .args(["-cert", "chain.pem", "-key", "key.pem"])
        .args(flags)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("openssl is installed");
    let mut lines = crate::support::program::Lines::of(child.stdout.take().expect("a pipe"));
    let line = lines.wait_for("ACCEPT 127.0.0.1:");
    let port = line.rsplit(':').next().and_then(|port| port.parse().ok());
    // What it says later goes nowhere.
    thread::spawn(move || lines.all());
    (Foreign(child), port.expect("a port"))
}

#[test]
fn openssl_is_understood_in_each_version_and_group() {
    let (folder, authority) = (folder(), Authority::new());
    let identity = authority.certify(&["localhost"]);
    let trust = ["--ca-file", authority.file_name()];
    for flags in [
        &["-tls1_3"][..],
        &["-tls1_2"],
        &["-tls1_3", "-groups", "P-256"],
        &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
    ] {
        let (_server, port) = openssl(folder.path(), &identity, flags);
        // It answers with a page, which the client got and judged.
        let url = format!("https://localhost:{port}");
        let said = fails(
            folder.path(),
            &[&["listen", "--url", &url], &trust[..]].concat(),
        );
        assert!(
            said.contains("HTTP version must be 1.1 or higher"),
            "{flags:?}: {said}"
        );
    }
    let (_server, port) = openssl(
        folder.path(),
        &identity,
        &["-tls1_1", "-cipher", "ALL@SECLEVEL=0"],
    );
    let url = format!("https://localhost:{port}");
    let said = fails(
        folder.path(),
        &[&["send", "--room", "tea", "hi", "--url", &url], &trust[..]].concat(),
    );
    assert!(
        said.contains("refused the handshake: ProtocolVersion"),
        "{said}"
    );
}

#[test]
fn check_says_whether_upstreams_by_tls_could_be_trusted() {
    let (folder, authority) = (folder(), Authority::new());
    let check = |settings: &str| {
        let path = folder.path().join("t.toml");
        fs::write(
            path,
            format!("[gateway]\nupstreams = [\"wss://a/link\"]\n{settings}"),
        )
        .expect("a file");
        let mut check = command(folder.path(), &["check", "t.toml"]);
        let output = check.env("SSL_CERT_FILE", "/dev/null").output();
        let output = output.expect("tidings runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let ours = format!(
        "ca_file = {:?}\nserver_name = \"b\"\n",
        authority.file_name()
    );
    assert_eq!(check(&ours), (true, String::new()));
    for (settings, why) in [
        (
            "",
            "wss:// upstreams: this machine has no certificates of authorities",
        ),
        (
            "ca_file = \"t.toml\"\n",
            "t.toml:3: gateway.ca_file: the CA file has no certificate in it",
        ),
        (
            "ca_file = \"none\"\n",
            "t.toml:3: gateway.ca_file: can't read none",
        ),
        (
            "server_name = \"a b\"\n",
            "t.toml:3: gateway.server_name: \"a b\" is no name",
        ),
    ] {
        let (is_right, said) = check(settings);
        assert!(!is_right && said.contains(why), "{settings}: {said}");
    }
}
