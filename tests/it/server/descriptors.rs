//! Descriptors: all come back, running out of them is survived, and the bound on connections.
//!
//! Descriptors belong to a process, so what counts or limits them runs in a process of its own.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;
use tidings::server::{Builder, Fd, ServerSettings};

use crate::support::PATIENCE;
use crate::support::alone::{again, part, passes_alone};
use crate::support::http::HttpClient;
use crate::support::server::{LocalServer, Mode, in_every_mode, until_nothing_is_left};
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn serving(mode: Mode) -> Builder {
    mode.builder()
        .on_open(|server, request| {
            server.subscribe(request.fd, "everyone");
            server.subscribe(request.fd, format!("only {}", request.fd));
            server
                .bind(request.fd, &format!("{}", request.fd.0 % 7))
                .unwrap();
        })
        .on_message(|server, frame| server.push(frame.fd, frame).unwrap())
        .on_request(|server, request, responder| match request.path() {
            "/failures" => {
                let failures = server.stats().totals.accept_failures;
                responder.end(format!("{failures}"));
            }
            _ => responder.end("here"),
        })
}

#[test]
fn after_2000_connections_came_and_went_nothing_of_them_is_left() {
    const NAME: &str = "after_2000_connections_came_and_went_nothing_of_them_is_left";
    if part().is_none() {
        return passes_alone(module_path!(), NAME, "crowd");
    }
    for (workers, reactors) in [(0, 1), (1, 2), (2, 1)] {
        let server = LocalServer::start(serving(Mode { workers, reactors }));
        // The thread that listens has its own descriptors by then.
        Connection::open(&server, 0).end();
        until_nothing_is_left(&server.handle);
        let before = open_descriptors();
        for _ in 0..20 {
            let connections: Vec<_> = (0..100)
                .map(|number| Connection::open(&server, number))
                .collect();
            for connection in connections {
                connection.end();
            }
        }
        until_nothing_is_left(&server.handle);
        until("descriptors are back", || open_descriptors() <= before);
        assert_eq!(server.stats().totals.accepted, 2_001);
    }
}

/// Connections of every kind, which end in every way.
enum Connection {
    WebSocket(TcpStream, End),
    Http(TcpStream),
    Silent(TcpStream),
}

enum End {
    Close,
    Drop,
    Reset,
}

impl Connection {
    fn open(server: &LocalServer, number: usize) -> Self {
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        match number % 5 {
            0 => {
                assert_eq!(http.get("/").status, 200);
                Self::Http(http.into_stream())
            }
            1 => Self::Silent(http.into_stream()),
            end => {
                http.send(
                    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                ).unwrap();
                assert_eq!(http.answer().unwrap().status, 101);
                let end = match end {
                    2 => End::Close,
                    3 => End::Drop,
                    _ => End::Reset,
                };
                Self::WebSocket(http.into_stream(), end)
            }
        }
    }

    fn end(self) {
        match self {
            Self::WebSocket(mut stream, End::Close) => {
                stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, 3, 232]).unwrap();
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).unwrap();
                // A ping may have come before.
                assert!(rest.ends_with(&[0x88, 2, 3, 232]), "the Close comes back");
            }
            Self::WebSocket(stream, End::Reset) => {
                let linger = Some(std::time::Duration::ZERO);
                Socket::from(stream).set_linger(linger).unwrap();
            }
            Self::WebSocket(stream, End::Drop) | Self::Http(stream) | Self::Silent(stream) => {
                drop(stream);
            }
        }
    }
}

/// A server in a process that may open only some more descriptors than it needs.
struct Starved {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Kept, since a process fails when nobody takes what it prints.
    _lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

const SPARE_DESCRIPTORS: u64 = 20;

impl Starved {
    fn start(test: &str, mode: Mode) -> Self {
        let mut child = again(
            module_path!(),
            test,
            &format!("{} {}", mode.workers, mode.reactors),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = stdout.lines();
        let address = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.split_once("address ")?.1.parse().ok())
            .unwrap();
        Self {
            _lines: lines,
            stdin: child.stdin.take(),
            child,
            address,
        }
    }

    /// What the process itself does.
    fn serve(part: &str) {
        let (workers, reactors) = part.split_once(' ').unwrap();
        let server = LocalServer::start(serving(Mode {
            workers: workers.parse().unwrap(),
            reactors: reactors.parse().unwrap(),
        }));
        let limit = getrlimit(Resource::Nofile);
        let limit = Rlimit {
            current: Some(open_descriptors() as u64 + SPARE_DESCRIPTORS),
            ..limit
        };
        setrlimit(Resource::Nofile, limit).unwrap();
        println!("address {}", server.handle.addresses()[0]);
        let mut rest = Vec::new();
        std::io::stdin().read_to_end(&mut rest).unwrap();
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let ended = self.child.wait();
        if !std::thread::panicking() {
            assert!(ended.unwrap().success());
        }
    }
}

/// A connection with a request under way; `None` when it was reset before that.
fn ask(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    sent.ok().map(|()| stream)
}

/// Whether the request was answered; if not, it was refused. A connection left waiting fails.
fn is_answered(stream: &mut TcpStream) -> bool {
    let mut first = [0; 12];
    match stream.read_exact(&mut first) {
        Ok(()) => first == *b"HTTP/1.1 200",
        Err(error) => {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "left waiting");
            false
        }
    }
}

#[test]
fn when_descriptors_run_out_some_are_refused_and_accepting_goes_on_when_there_are_more() {
    const NAME: &str =
        "when_descriptors_run_out_some_are_refused_and_accepting_goes_on_when_there_are_more";
    if let Some(part) = part() {
        return Starved::serve(&part);
    }
    for (workers, reactors) in [(0, 1), (1, 2)] {
        let server = Starved::start(NAME, Mode { workers, reactors });
        let mut http = HttpClient::connect(server.address);
        assert_eq!(http.get("/").status, 200);
        let mut taken = Vec::new();
        while let Some(mut stream) = ask(server.address) {
            if !is_answered(&mut stream) {
                break;
            }
            taken.push(stream);
        }
        // The server keeps none for itself but the one that it refuses with.
        assert!(
            taken.len() as u64 >= SPARE_DESCRIPTORS / 2,
            "{}",
            taken.len()
        );
        let failures: u64 = http.get("/failures").body.parse().unwrap();
        assert!(failures >= 1);

        // These wait in the kernel, or are refused, all of them when the server is quick; when the
        // others go, nobody is left waiting, though nobody new comes.
        let mut waiting: Vec<_> = (0..10).filter_map(|_| ask(server.address)).collect();
        drop(taken);
        for stream in &mut waiting {
            is_answered(stream);
        }
        until("it accepts as before", || {
            ask(server.address).is_some_and(|mut stream| is_answered(&mut stream))
        });
        assert_eq!(http.get("/").status, 200, "nothing happened to the others");
    }
}

#[test]
fn one_connection_too_many_is_told_503_and_one_less_makes_room() {
    in_every_mode(|mode| {
        let mut settings = ServerSettings::default();
        settings.reactor.connections_max = 2;
        let server = LocalServer::start(serving(mode).settings(settings));
        let address = server.handle.addresses()[0];
        let mut clients: Vec<_> = (0..2 * mode.reactors)
            .map(|_| WebSocketClient::join(&server.handle))
            .collect();
        for _ in 0..10 {
            let mut http = HttpClient::connect(address);
            // It may be told before it has asked.
            let answer = http.answer().unwrap();
            assert_eq!((answer.status, answer.closes), (503, true));
        }
        assert_eq!(server.stats().totals.refused, 10);
        for client in &mut clients {
            client.echo("those who are there stay");
        }
        clients.clear();
        until("there is room", || server.stats().totals.slots == 0);
        WebSocketClient::join(&server.handle).echo("welcome");
        assert_eq!(server.stats().totals.refused, 10);
        assert!(server.handle.connections(Fd(0), 10).len() <= 1);
    });
}
