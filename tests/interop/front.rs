//! Behind nginx and HAProxy as Debian has them, each started with the configuration that `docs/deploy.md`
//! shows: only ports, addresses and names of files are replaced.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tungstenite::{ClientRequestBuilder, Message, WebSocket};

use crate::support::PATIENCE;
use crate::support::installed::is_there;
use crate::support::parsed;
use crate::support::port::OwnPort;
use crate::support::program::Program;
use crate::support::tls::authority::Authority;
use crate::support::wait::until;

const PAGE: &str = include_str!("../../docs/deploy.md");

const KEY: &str = "a-key-of-the-shop-0123";

/// The address of clients; the proxies speak from 127.0.0.1, which alone is trusted.
const CLIENT: [u8; 4] = [127, 0, 0, 9];

/// A program in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nginx,
    Haproxy,
    /// HAProxy that passes on what it doesn't look into, behind a PROXY header.
    HaproxyTcp,
}

/// The configuration that the page shows.
fn shown(kind: Kind) -> &'static str {
    let word = match kind {
        Kind::Nginx => "```nginx\n",
        Kind::Haproxy => "```haproxy\n",
        Kind::HaproxyTcp => "```haproxy-tcp\n",
    };
    let (_, rest) = PAGE.split_once(word).expect("the page shows one");
    rest.split_once("```").expect("it ends").0
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A proxy that speaks TLS, before a server.
struct Front {
    kind: Kind,
    folder: TempDir,
    child: Child,
    /// Those from before a reload; each may wait for its last connection for long.
    olds: Vec<Child>,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    _port: OwnPort,
}

impl Front {
    /// Starts it; `replaced` are further words of the configuration, each with what stands in its place.
    fn start(kind: Kind, server: SocketAddr, replaced: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The workers of nginx are another user's.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let authority = Authority::new();
        let identity = authority.certify(&["chat.example"]);
        let (chain, key) = (
            folder.path().join("chain.pem"),
            folder.path().join("key.pem"),
        );
        std::fs::write(&key, &identity.key_pem).unwrap();
        let port = OwnPort::new();
        let address = port.address;
        let mut config = shown(kind).to_owned();
        let (own, upstream) = (address.to_string(), server.to_string());
        let chain_name = chain.to_str().unwrap();
        let places = match kind {
            Kind::Nginx => {
                std::fs::write(&chain, &identity.chain_pem).unwrap();
                vec![
                    ("listen 443 ssl", format!("listen {own} ssl")),
                    ("/etc/ssl/chat.example.pem", chain_name.to_owned()),
                    (
                        "/etc/ssl/private/chat.example.key",
                        key.to_str().unwrap().to_owned(),
                    ),
                ]
            }
            Kind::Haproxy | Kind::HaproxyTcp => {
                std::fs::write(
                    &chain,
                    format!("{}{}", identity.chain_pem, identity.key_pem),
                )
                .unwrap();
                vec![
                    ("bind :443", format!("bind {own}")),
                    ("/etc/haproxy/chat.example.pem", chain_name.to_owned()),
                ]
            }
        };
        let more = replaced.iter().map(|(from, to)| (*from, (*to).to_owned()));
        let server_place = ("127.0.0.1:9502", upstream);
        for (from, to) in places.into_iter().chain([server_place]).chain(more) {
            assert!(config.contains(from), "the page has no {from:?} any more");
            config = config.replace(from, &to);
        }
        let child = spawn(kind, folder.path(), &config);
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let front = Self {
            kind,
            folder,
            child,
            olds: Vec::new(),
            address,
            tls: Arc::new(tls),
            _port: port,
        };
        // HAProxy takes a server for well until it has asked, and both have to listen first.
        until("the proxy leads to the server", || {
            TcpStream::connect(front.address).is_ok()
                && front.get("/readyz", "").starts_with("HTTP/1.1 200")
        });
        front
    }

    /// A connection to it, as from a client of another address than its own.
    fn connect(&self) -> Stream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((CLIENT, 0)).into()).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let name = "chat.example".try_into().unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.tls), name).unwrap();
        StreamOwned::new(connection, stream)
    }

    /// The whole answer to a request; empty where the connection failed.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        let mut answer = Vec::new();
        if stream.write_all(request.as_bytes()).is_ok() {
            // An end without TLS's own is an end as well.
            let _ = stream.read_to_end(&mut answer);
        }
        String::from_utf8(answer).unwrap()
    }

    fn get(&self, path: &str, fields: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n{fields}\r\n"
        ))
    }

    fn websocket(&self, fields: &[(&str, &str)]) -> WebSocket<Stream> {
        let mut request = ClientRequestBuilder::new("wss://chat.example/ws".parse().unwrap());
        for (name, value) in fields {
            request = request.with_header(*name, *value);
        }
        let (socket, answer) = tungstenite::client(request, self.connect()).unwrap();
        assert_eq!(answer.status(), 101);
        socket
    }

    /// Has it read its configuration anew, and waits until the new one is in force.
    fn reload(&mut self) {
        let before = Pid::from_child(&self.child);
        match self.kind {
            Kind::Nginx => {
                let workers = || children_of(before);
                let old = workers();
                kill_process(before, Signal::HUP).unwrap();
                until("there are new workers", || {
                    workers().iter().any(|pid| !old.contains(pid))
                });
            }
            Kind::Haproxy | Kind::HaproxyTcp => {
                // As its service does: a new process, which has the old one finish.
                let file = self.folder.path().join("proxy.conf");
                let socket = self.folder.path().join("admin.sock");
                let mut command = Command::new("/usr/sbin/haproxy");
                let pid = before.as_raw_nonzero().to_string();
                command
                    .args(["-db", "-f"])
                    .arg(file)
                    .arg("-x")
                    .arg(socket)
                    .args(["-sf", &pid]);
                let next = command
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                self.olds.push(std::mem::replace(&mut self.child, next));
                until("the new one leads to the server", || {
                    self.get("/readyz", "").starts_with("HTTP/1.1 200")
                });
            }
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // Nginx takes its workers with it only if it is told to.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
        for old in &mut self.olds {
            let _ = old.kill();
            let _ = old.wait();
        }
    }
}

fn children_of(pid: Pid) -> Vec<String> {
    let pid = pid.as_raw_nonzero();
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Starts a proxy in the foreground, with what Debian's own file has around the configuration.
fn spawn(kind: Kind, folder: &Path, config: &str) -> Child {
    let file: PathBuf = folder.join("proxy.conf");
    let place = folder.display();
    let mut command = match kind {
        Kind::Nginx => {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temporary = temporary.map(|name| format!("{name}_temp_path {place}/{name};\n"));
            let text = format!(
                "worker_processes 1;\npid {place}/pid;\nerror_log {place}/error.log;\ndaemon off;\n\
                 events {{ worker_connections 768; }}\n\
                 http {{\naccess_log off;\n{}{config}}}\n",
                temporary.concat()
            );
            std::fs::write(&file, text).unwrap();
            let mut command = Command::new("/usr/sbin/nginx");
            command
                .arg("-e")
                .arg(folder.join("error.log"))
                .arg("-c")
                .arg(&file);
            command
        }
        Kind::Haproxy | Kind::HaproxyTcp => {
            let text = format!(
                "global\n    stats socket {place}/admin.sock mode 660 level admin expose-fd listeners\n\
                 defaults\n    mode http\n    timeout connect 5000\n    timeout client 50000\n    \
                 timeout server 50000\n{config}"
            );
            std::fs::write(&file, text).unwrap();
            let mut command = Command::new("/usr/sbin/haproxy");
            command.args(["-db", "-f"]).arg(&file);
            command
        }
    };
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs `test` with each proxy that is installed.
fn with_each(test: impl Fn(Kind)) {
    for (kind, program) in [(Kind::Nginx, "nginx"), (Kind::Haproxy, "haproxy")] {
        if is_there(program) {
            test(kind);
        }
    }
}

/// A server with a key that trusts the proxies of these tests.
fn server(settings: &[&str]) -> Program {
    let key = format!("api_keys.shop.key={KEY}");
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let flags = ["--set", &key, "--set", "proxies_trusted=127.0.0.1"];
    Program::serve(&flags.into_iter().chain(settings).collect::<Vec<_>>())
}

fn bearer() -> String {
    format!("Bearer {KEY}")
}

/// The next text.
fn hear<S: Read + Write>(socket: &mut WebSocket<S>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return parsed(&text);
        }
    }
}

/// A WebSocket with an API key that hears a room, and its name.
fn listener(front: &Front, fields: &[(&str, &str)]) -> (WebSocket<Stream>, Value) {
    let bearer = bearer();
    let fields = [&[("Authorization", bearer.as_str())], fields].concat();
    let mut socket = front.websocket(&fields);
    let fd = hear(&mut socket)["fd"].clone();
    say(
        &mut socket,
        r#"{"type":"login","seq":1,"uid":"ann","rooms":["tea"]}"#,
    );
    let answer = hear(&mut socket);
    assert_eq!(answer["type"], "ok", "{answer}");
    (socket, fd)
}

fn say<S: Read + Write>(socket: &mut WebSocket<S>, text: &str) {
    socket.send(Message::text(text)).unwrap();
}

/// Waits for a message that is posted meanwhile through the proxy.
fn is_reached(front: &Front, socket: &mut WebSocket<Stream>, word: &str) {
    let body = format!(r#"{{"to":{{"room":"tea"}},"data":"{word}"}}"#);
    let answer = front.ask(&format!(
        "POST /v1/messages HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        bearer(),
        body.len()
    ));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    while hear(socket)["data"] != word {}
}

#[test]
fn http_websockets_and_the_own_origin_go_through_each_proxy() {
    with_each(|kind| {
        let server = server(&["page=on"]);
        let front = Front::start(kind, server.address, &[]);
        let page = front.get("/", "");
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains("<!doctype html>"),
            "{page}"
        );
        let own = [("Origin", "https://chat.example")];
        let (mut socket, _) = listener(&front, &own);
        is_reached(&front, &mut socket, "hello");
        // A page that was loaded without TLS is another origin's, and so is any other.
        for origin in ["http://chat.example", "https://evil.example"] {
            let answer = front.get("/openapi.json", &format!("Origin: {origin}\r\n"));
            assert!(
                answer.starts_with("HTTP/1.1 403"),
                "{kind:?} {origin}: {answer}"
            );
        }
        drop((socket, front));
        server.stop();
    });
}

#[test]
fn the_client_has_its_own_address_and_none_that_it_makes_up() {
    let invented = [
        ("X-Forwarded-For", "198.51.100.1, 127.0.0.1"),
        ("Forwarded", "for=198.51.100.1"),
        ("X-Real-IP", "198.51.100.1"),
        ("X-Forwarded-Proto", "http"),
    ];
    with_each(|kind| {
        let server = server(&[]);
        let front = Front::start(kind, server.address, &[]);
        for fields in [&[][..], &invented[..]] {
            let (socket, fd) = listener(&front, fields);
            let lines: String = fields
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let authorization = format!("Authorization: {}\r\n{lines}", bearer());
            let answer = front.get(&format!("/v1/connections/{fd}"), &authorization);
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            let entry = parsed(body);
            assert_eq!(entry["peer"], "127.0.0.9", "{kind:?} {answer}");
            assert!(
                entry["proxy"].as_str().unwrap().starts_with("127.0.0.1:"),
                "{entry}"
            );
            drop(socket);
        }
        drop(front);
        server.stop();
    });
}

#[test]
fn a_proxy_that_only_passes_on_tells_the_client_in_a_header_of_its_own() {
    if !is_there("haproxy") {
        return;
    }
    let server = server(&["proxy_protocol=127.0.0.1:0"]);
    let front = Front::start(Kind::HaproxyTcp, server.address, &[]);
    let (mut socket, fd) = listener(&front, &[("X-Forwarded-For", "198.51.100.1")]);
    is_reached(&front, &mut socket, "hello");
    let authorization = format!("Authorization: {}\r\n", bearer());
    let answer = front.get(&format!("/v1/connections/{fd}"), &authorization);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let entry = parsed(body);
    assert!(
        entry["peer"].as_str().unwrap().starts_with("127.0.0.9:"),
        "{entry}"
    );
    assert!(
        entry["proxy"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{entry}"
    );
    drop((socket, front));
    server.stop();
}

#[test]
fn a_reload_of_the_proxy_disturbs_nobody() {
    with_each(|kind| {
        let server = server(&[]);
        let mut front = Front::start(kind, server.address, &[]);
        let (mut before, _) = listener(&front, &[]);
        front.reload();
        let (mut after, _) = listener(&front, &[]);
        is_reached(&front, &mut before, "to one from before");
        is_reached(&front, &mut after, "to one from after");
        drop((before, after, front));
        server.stop();
    });
}

#[test]
fn heartbeats_come_before_the_proxys_time_is_over() {
    with_each(|kind| {
        // Thirty times as fast as the page has it: 2 s for 60, and a ping each 0.8 s for 25.
        let times: &[(&str, &str)] = match kind {
            Kind::Nginx => &[
                ("proxy_read_timeout 60s", "proxy_read_timeout 2s"),
                ("proxy_send_timeout 60s", "proxy_send_timeout 2s"),
            ],
            Kind::Haproxy | Kind::HaproxyTcp => &[("timeout tunnel 60s", "timeout tunnel 2s")],
        };
        let server = server(&["websocket.ping_ms=800", "websocket.pong_ms_max=8000"]);
        let front = Front::start(kind, server.address, times);
        let (mut socket, _) = listener(&front, &[]);
        let mut pings = 0;
        while pings < 5 {
            // Reading answers a ping.
            pings += usize::from(matches!(socket.read().unwrap(), Message::Ping(_)));
        }
        is_reached(&front, &mut socket, "still there");
        drop((socket, front));
        server.stop();
        // And without heartbeats it would have been over.
        let silent = self::server(&["websocket.ping_ms=0"]);
        let front = Front::start(kind, silent.address, times);
        let (mut socket, _) = listener(&front, &[]);
        let began = Instant::now();
        while socket.read().is_ok() {}
        assert!(began.elapsed() < PATIENCE, "{kind:?} hasn't cut it");
        drop((socket, front));
        silent.stop();
    });
}

#[test]
fn a_server_without_keys_refuses_what_comes_through_a_proxy() {
    with_each(|kind| {
        let server = Program::serve(&["--set", "proxies_trusted=127.0.0.1"]);
        let front = Front::start(kind, server.address, &[]);
        for host in ["chat.example", "localhost", "127.0.0.1"] {
            let request =
                format!("GET /v1/stats HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let answer = front.ask(&request);
            assert!(
                answer.starts_with("HTTP/1.1 403"),
                "{kind:?} {host}: {answer}"
            );
        }
        drop(front);
        server.stop();
    });
}

#[test]
fn a_balancer_sees_that_a_server_is_about_to_stop_before_it_stops() {
    if !is_there("haproxy") {
        return;
    }
    let server = server(&["stop_delay_ms=600000"]);
    let front = Front::start(Kind::Haproxy, server.address, &[]);
    server.signal(rustix::process::Signal::TERM);
    // HAProxy looks once a second, and answers itself once it knows.
    until("the balancer knows", || {
        front.get("/healthz", "").starts_with("HTTP/1.1 503")
    });
    // Whoever doesn't know yet is still served.
    assert_eq!(server.http().get("/healthz").status, 200);
    drop(front);
    server.kill();
}
