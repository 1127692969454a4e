//! A server of ours as a process under test: started on a free port, listened to, ended for sure.
#![allow(dead_code, reason = "each test uses a part of it")]

#[cfg(feature = "cli")]
pub mod keys;
#[cfg(feature = "cli")]
pub mod person;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{ClientRequestBuilder, Message, WebSocket};

/// Nothing that a test waits for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    pub stdout: Lines,
    pub stderr: Lines,
}

impl Program {
    /// Starts it and waits until it says where it listens.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        let line = stdout.wait_for("listening on ");
        let (_, address) = line.split_once("://").unwrap();
        let address = address.trim_end_matches('/').parse().unwrap();
        Self {
            child,
            address,
            stdout,
            stderr,
        }
    }

    /// `tidings serve` with more flags; in memory only, unless they say otherwise.
    #[cfg(feature = "cli")]
    pub fn serve(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        Self::start(
            command
                .args([
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--set",
                    "store.data=none",
                ])
                .args(flags),
        )
    }

    /// The example of this name, which stands beside the test's own binary.
    pub fn example(name: &str) -> Self {
        Self::example_with(name, &[])
    }

    /// The same with more arguments behind the address.
    pub fn example_with(name: &str, more: &[&str]) -> Self {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let mut command = Command::new(profile.join("examples").join(name));
        Self::start(command.arg("127.0.0.1:0").args(more))
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        assert!(ends_within(self.pid(), PATIENCE), "it has not ended");
        self.child.wait().unwrap()
    }

    /// Waits until it has ended of itself, and gives its exit code.
    pub fn exit_code(&mut self) -> i32 {
        let status = self.ended();
        assert_eq!(status.signal(), None, "{}", self.stderr.all());
        status.code().unwrap()
    }

    /// Stops it with SIGTERM, which must leave nothing undone.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.exit_code(), 0, "{}", self.stderr.all());
    }

    pub fn http(&self) -> Http {
        Http::connect(self.address)
    }

    pub fn websocket(&self, path: &str) -> Client {
        Client::connect(self.address, path)
    }

    /// A WebSocket with more fields in its request.
    pub fn websocket_with(&self, path: &str, fields: &[(&str, &str)]) -> Client {
        Client::connect_with(self.address, path, fields)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended before, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the process has ended, or does so in time; it needn't be a child of ours.
pub fn ends_within(pid: Pid, time: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else {
        return true;
    };
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a process writes, by lines; read as it comes, so that the process never waits for us.
pub struct Lines {
    receiver: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            receiver,
            seen: Vec::new(),
        }
    }

    /// Waits for the next line that has `text` in it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .receiver
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("no {text:?}: {error}; {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Everything, once the process has ended.
    pub fn all(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .receiver
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        self.seen.join("\n")
    }
}

/// One kept HTTP connection.
pub struct Http {
    stream: BufReader<TcpStream>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub fields: String,
    pub body: String,
    /// Whether the server said that it closes the connection.
    pub closes: bool,
}

impl Http {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// The same where nobody may be there.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Asks and waits for the answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        self.send(&request(method, path, body))?;
        self.answer()
    }

    pub fn send(&mut self, bytes: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_bytes())
    }

    pub fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        let size = answer
            .fields
            .split_once("content-length: ")
            .map(|(_, rest)| {
                let (size, _) = rest.split_once("\r\n").unwrap();
                size.parse().unwrap()
            });
        let mut body = vec![0; size.unwrap_or(0)];
        self.stream.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).unwrap();
        Ok(answer)
    }

    /// The next answer without its body, as HEAD gets it.
    pub fn head(&mut self) -> io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                let kind = io::ErrorKind::UnexpectedEof;
                return Err(io::Error::new(kind, format!("the end, after {head:?}")));
            }
        }
        let (line, fields) = head.split_once("\r\n").unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let fields = fields.to_lowercase();
        Ok(Answer {
            status,
            closes: fields.contains("connection: close"),
            fields,
            body: String::new(),
        })
    }

    /// Whether the server ended the connection in order, without another byte.
    pub fn is_at_end(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0))
    }
}

/// The status and the JSON of an answer on a connection of its own.
pub fn ask_json(server: &Program, method: &str, path: &str) -> (u16, serde_json::Value) {
    let answer = server.http().ask(method, path, "").unwrap();
    let body = serde_json::from_str(&answer.body);
    (
        answer.status,
        body.unwrap_or_else(|error| panic!("{error}: {}", answer.body)),
    )
}

/// A request of a kept connection.
pub fn request(method: &str, path: &str, body: &str) -> String {
    let size = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n{body}")
}

/// A WebSocket.
pub struct Client {
    pub socket: WebSocket<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr, path: &str) -> Self {
        Self::connect_with(address, path, &[])
    }

    pub fn connect_with(address: SocketAddr, path: &str, fields: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let uri = format!("ws://{address}{path}").parse().unwrap();
        let mut request = ClientRequestBuilder::new(uri);
        for (name, value) in fields {
            request = request.with_header(*name, *value);
        }
        let (socket, _) = tungstenite::client(request, stream).unwrap();
        Self { socket }
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).unwrap();
    }

    /// The next text; pings don't count.
    pub fn hear(&mut self) -> String {
        match self.next() {
            Next::Text(text) => text,
            Next::Closed(code) => panic!("closed with {code}"),
        }
    }

    /// Closes it, and waits for the server's part in that; what was on its way may come before.
    pub fn leave(mut self) {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        self.socket.close(Some(frame)).unwrap();
        loop {
            if let Next::Closed(code) = self.next() {
                return assert_eq!(code, 1000);
            }
        }
    }

    /// The next text, or the end: a Close frame, then the end of the stream in order.
    pub fn next(&mut self) -> Next {
        let began = Instant::now();
        loop {
            // Pings may come for ever.
            assert!(began.elapsed() < PATIENCE, "nothing came but pings");
            match self.socket.read().unwrap() {
                Message::Text(text) => return Next::Text(text.to_string()),
                Message::Close(frame) => {
                    let code = frame.expect("a Close with its code").code.into();
                    let end = self.socket.read().unwrap_err();
                    assert!(
                        matches!(end, tungstenite::Error::ConnectionClosed),
                        "{code}, then {end}"
                    );
                    return Next::Closed(code);
                }
                _ => {}
            }
        }
    }
}

/// What a WebSocket hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Text(String),
    Closed(u16),
}
