//! Clients of other makes, and what a handshake agrees on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tidings::server::{Handle, RunningServer, Server, ServerSettings, TlsCertificates, TlsVersion};
use tungstenite::Message;

use super::{Signer, connect, get};
use crate::support::wait::until;

struct Secure {
    server: RunningServer,
    certificates: Arc<TlsCertificates>,
    signer: Signer,
}

impl Secure {
    fn start(settings: ServerSettings) -> Self {
        let signer = Signer::new();
        let pairs = [
            signer.sign(&["localhost", "127.0.0.1"]),
            signer.sign(&["*.b.test", "c.test"]),
        ];
        let certificates = TlsCertificates::new(&pairs, TlsVersion::V1_2);
        let certificates = Arc::new(certificates.map_err(|(_, error)| error).unwrap());
        let server = Server::builder()
            .settings(settings)
            .listen("127.0.0.1:0")
            .listen_tls("127.0.0.1:0", Arc::clone(&certificates))
            .on_message(|server, frame| _ = server.push(frame.fd, frame))
            .on_request(|_, request, responder| {
                responder.end(format!("{} {}", request.path(), request.is_secure()));
            })
            .start()
            .unwrap();
        Self {
            server,
            certificates,
            signer,
        }
    }

    fn handle(&self) -> &Handle {
        self.server.handle()
    }

    fn address(&self) -> std::net::SocketAddr {
        self.handle().listening_tls()[0].ip().unwrap()
    }

    fn counted(&self, name: &str) -> u64 {
        let named = self.handle().stats().totals.named();
        named.into_iter().find(|(own, _)| *own == name).unwrap().1
    }
}

#[test]
fn openssl_curl_and_python_are_answered_and_the_request_is_secure() {
    let secure = Secure::start(ServerSettings::default());
    let (address, folder) = (secure.address(), tempfile::tempdir().unwrap());
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, &secure.signer.pem).unwrap();
    let (port, authority) = (address.port(), authority.to_str().unwrap());
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let version = version.split('=');
        let url = format!("https://localhost:{port}/x");
        let asked = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "--cacert", authority])
            .args(version)
            .arg(url)
            .output();
        let asked = asked.expect("curl");
        let err = String::from_utf8_lossy(&asked.stderr);
        assert_eq!(String::from_utf8_lossy(&asked.stdout), "/x true", "{err}");
    }
    let script = format!(
        "import ssl, socket\n\
         context = ssl.create_default_context(cafile={authority:?})\n\
         context.set_alpn_protocols(['http/1.1'])\n\
         with socket.create_connection(('127.0.0.1', {port}), 20) as plain:\n\
         \x20 with context.wrap_socket(plain, server_hostname='localhost') as tls:\n\
         \x20   tls.sendall(b'GET /y HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n')\n\
         \x20   answer = b''\n\
         \x20   while True:\n\
         \x20     piece = tls.recv(4096)\n\
         \x20     if not piece: break\n\
         \x20     answer += piece\n\
         \x20   print(tls.selected_alpn_protocol(), answer.split(b'\\r\\n\\r\\n')[1].decode())\n"
    );
    let asked = Command::new("python3")
        .args(["-c", &script])
        .output()
        .expect("python3");
    let err = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(
        String::from_utf8_lossy(&asked.stdout).trim(),
        "http/1.1 /y true",
        "{err}"
    );
    let mut openssl = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-connect",
            &address.to_string(),
            "-CAfile",
            authority,
        ])
        .args(["-servername", "localhost", "-verify_return_error"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    let mut asks = openssl.stdin.take().unwrap();
    asks.write_all(b"GET /z HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    openssl
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut answer)
        .unwrap();
    drop(asks);
    openssl.wait().unwrap();
    assert!(answer.ends_with("/z true"), "{answer}");
    let plain = get(
        &mut TcpStream::connect(secure.handle().addresses()[0]).unwrap(),
        "/p",
        "",
    );
    assert!(plain.ends_with("/p false"), "{plain}");
}

#[test]
fn names_pick_the_certificate_a_ticket_resumes_and_only_http_1_is_spoken() {
    let secure = Secure::start(ServerSettings::default());
    let address = secure.address();
    let config = Arc::new(secure.signer.client(&[&TLS13, &TLS12]));
    for name in ["localhost", "x.b.test", "c.test"] {
        connect(&config, address, name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // The first is shown, which isn't that of this name.
    connect(&config, address, "y.x.b.test").unwrap_err();
    let mut first = connect(&config, address, "localhost").unwrap();
    assert!(get(&mut first, "/", "").ends_with("/ true"));
    let second = connect(&config, address, "localhost").unwrap();
    assert_eq!(second.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    until("it is counted", || {
        secure.counted("tls_handshakes_resumed") >= 1
    });
    let mut only = secure.signer.client(&[&TLS13]);
    only.alpn_protocols = vec![b"h2".to_vec()];
    let refused = connect(&Arc::new(only), address, "localhost").unwrap_err();
    assert!(
        refused.to_string().contains("NoApplicationProtocol"),
        "{refused}"
    );
    let mut both = secure.signer.client(&[&TLS13]);
    both.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let agreed = connect(&Arc::new(both), address, "localhost").unwrap();
    assert_eq!(agreed.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let old = Arc::new(secure.signer.client(&[&TLS12]));
    connect(&old, address, "localhost").unwrap();
    let pairs = [secure.signer.sign(&["localhost"])];
    secure
        .certificates
        .replace(&pairs, TlsVersion::V1_3)
        .unwrap();
    connect(&old, address, "localhost").unwrap_err();
    assert!(
        get(&mut first, "/", "").ends_with("/ true"),
        "who is connected stays"
    );
}

#[test]
fn what_comes_to_the_wrong_port_is_told_so_and_counted() {
    let secure = Secure::start(ServerSettings::default());
    let answer = get(&mut TcpStream::connect(secure.address()).unwrap(), "/", "");
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("https"),
        "{answer}"
    );
    until("it is counted", || secure.counted("plain_on_tls") == 1);
    let config = Arc::new(secure.signer.client(&[&TLS13]));
    connect(&config, secure.handle().addresses()[0], "localhost").unwrap_err();
    until("it is counted", || secure.counted("tls_on_plain") == 1);
    // A connection that is cut while hands are shaken leaves nothing.
    let mut cut = TcpStream::connect(secure.address()).unwrap();
    cut.write_all(&[22, 3, 1, 0, 200, 1]).unwrap();
    until("it is there", || secure.counted("tls_connections") == 1);
    drop(cut);
    until("all are gone", || secure.counted("tls_connections") == 0);
}

#[test]
fn a_websocket_echoes_over_tls_and_who_does_not_read_is_closed_with_4008() {
    let mut settings = ServerSettings::default();
    settings.reactor.outbox_bytes_max = 256 * 1024;
    settings.reactor.outbox_pause_bytes = 64 * 1024;
    let secure = Secure::start(settings);
    let config = Arc::new(secure.signer.client(&[&TLS13]));
    let stream = connect(&config, secure.address(), "localhost").unwrap();
    let (mut ann, _) = tungstenite::client("wss://localhost/", stream).unwrap();
    for size in [1, 1_000, 60_000] {
        ann.send(Message::binary(vec![7; size])).unwrap();
        assert_eq!(ann.read().unwrap(), Message::binary(vec![7; size]));
    }
    let fd = secure.handle().connections(tidings::server::Fd(0), 9)[0];
    let message = vec![b'x'; 60_000];
    until("the outbox is over its bound", || {
        let pushed = secure.handle().push(fd, &message[..]);
        pushed.is_err()
    });
    let close = loop {
        match ann.read().unwrap() {
            Message::Close(close) => break close.unwrap(),
            Message::Binary(bytes) => assert_eq!(bytes.len(), 60_000),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 4008);
    drop(ann);
    until("all are gone", || secure.counted("tls_connections") == 0);
}
