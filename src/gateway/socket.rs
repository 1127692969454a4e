//! A WebSocket to an upstream that never waits: connecting, handshake, frames.
//!
//! Whoever polls calls [`Socket::turn`] whenever something may have changed; it gives what there
//! is, and [`Socket::send`] takes frames until it says that there is no room.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tungstenite::client::client_with_config;
use tungstenite::handshake::client::Request;
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{ClientHandshake, Error, Message, WebSocket};

use crate::link::LinkLoss;

/// Bytes that gather before they are written.
const WRITE_SIZE: usize = 64 * 1024;

/// Bytes of one read; an upstream says short things.
const READ_SIZE: usize = 16 * 1024;

/// Time for the upstream's answer to our Close.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// What a turn found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The handshake is done.
    Connected,
    /// A text frame.
    Text(String),
    /// Nothing until the poll says otherwise.
    Idle,
    /// It is over.
    Lost(LinkLoss),
}

#[derive(Debug)]
enum Stage {
    Connecting(TcpStream, Box<Request>),
    Shaking(MidHandshake<ClientHandshake<TcpStream>>),
    Open(WebSocket<TcpStream>),
    /// Our Close is said.
    Closing(WebSocket<TcpStream>, Instant),
    Over,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Socket {
    stage: Stage,
    /// The kernel has no room for what is written already.
    is_blocked: bool,
    /// Why nothing can be written any more.
    failure: Option<String>,
}

impl Socket {
    /// Begins to connect.
    pub(super) fn connect(
        address: SocketAddr,
        request: Request,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stage: Stage::Connecting(stream, Box::new(request)),
            is_blocked: false,
            failure: None,
        })
    }

    /// Goes on as far as it can, up to the next thing worth telling.
    pub(super) fn turn(&mut self) -> Turn {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Connecting(stream, request) => match is_connected(&stream) {
                    Ok(false) => {
                        self.stage = Stage::Connecting(stream, request);
                        return Turn::Idle;
                    }
                    Ok(true) => {
                        // Without it the acknowledgements of small messages wait for each other.
                        stream.set_nodelay(true).ok();
                        let shaken = client_with_config(*request, stream, Some(config()));
                        if let Some(turn) = self.shaken(shaken) {
                            return turn;
                        }
                    }
                    Err(error) => return Turn::Lost(LinkLoss::Socket(error.to_string())),
                },
                Stage::Shaking(half) => {
                    let shaken = half.handshake();
                    if let Some(turn) = self.shaken(shaken) {
                        return turn;
                    }
                }
                Stage::Open(mut socket) => {
                    let read = socket.read();
                    self.stage = Stage::Open(socket);
                    if let Some(turn) = self.take(read) {
                        return turn;
                    }
                }
                Stage::Closing(mut socket, until) => {
                    let is_late = until <= Instant::now();
                    // Whether it went out shows in what the upstream answers.
                    socket.flush().ok();
                    // What comes now comes too late; it is read so that the Close isn't lost.
                    match socket.read() {
                        Ok(_) if !is_late => self.stage = Stage::Closing(socket, until),
                        Err(error) if is_blocked(&error) && !is_late => {
                            self.stage = Stage::Closing(socket, until);
                            return Turn::Idle;
                        }
                        Ok(_) | Err(_) => return Turn::Lost(LinkLoss::End),
                    }
                }
                Stage::Over => return Turn::Lost(LinkLoss::End),
            }
        }
    }

    /// Whether it takes frames now.
    pub(super) fn has_room(&mut self) -> bool {
        if self.is_blocked {
            self.flush();
        }
        matches!(self.stage, Stage::Open(_)) && !self.is_blocked && self.failure.is_none()
    }

    /// Takes a frame; it goes out with the next [`Socket::flush`] at the latest.
    pub(super) fn send(&mut self, text: String) {
        if let Stage::Open(socket) = &mut self.stage {
            let written = socket.write(Message::text(text));
            self.note(written);
        }
    }

    /// Writes what was taken, as far as the kernel has room.
    pub(super) fn flush(&mut self) {
        if let Stage::Open(socket) = &mut self.stage {
            self.is_blocked = false;
            let written = socket.flush();
            self.note(written);
        }
    }

    /// Says Close 1001; [`Socket::turn`] tells when it is over.
    pub(super) fn close(&mut self) {
        if let Stage::Open(mut socket) = std::mem::replace(&mut self.stage, Stage::Over) {
            let frame = CloseFrame {
                code: CloseCode::Away,
                reason: "the gateway stops".into(),
            };
            match socket.close(Some(frame)).and_then(|()| socket.flush()) {
                Err(error) if !is_blocked(&error) => {}
                _ => self.stage = Stage::Closing(socket, Instant::now() + CLOSE_MAX),
            }
        }
    }

    fn note(&mut self, written: tungstenite::Result<()>) {
        match written {
            Ok(()) => {}
            Err(error) if is_blocked(&error) => self.is_blocked = true,
            // Told by the next turn, after what still came.
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    /// What became of the handshake; nothing where it isn't worth telling.
    fn shaken(&mut self, shaken: Shaken) -> Option<Turn> {
        match shaken {
            Ok((socket, _)) => {
                self.stage = Stage::Open(socket);
                Some(Turn::Connected)
            }
            Err(HandshakeError::Interrupted(half)) => {
                self.stage = Stage::Shaking(half);
                Some(Turn::Idle)
            }
            Err(HandshakeError::Failure(Error::Http(answer))) => {
                let what = format!("the upstream answered {}", answer.status());
                Some(Turn::Lost(LinkLoss::Socket(what)))
            }
            Err(HandshakeError::Failure(error)) => {
                Some(Turn::Lost(LinkLoss::Socket(error.to_string())))
            }
        }
    }

    fn take(&mut self, read: tungstenite::Result<Message>) -> Option<Turn> {
        let is_idle = matches!(&read, Err(error) if is_blocked(error));
        let lost = match read {
            Ok(Message::Text(text)) => return Some(Turn::Text(text.to_string())),
            Ok(Message::Close(frame)) => {
                // The answer to it goes out before the socket is dropped.
                self.flush();
                LinkLoss::Closed(frame.map_or(1005, |frame| frame.code.into()))
            }
            Ok(_) => return None,
            Err(_) if is_idle => match self.failure.take() {
                Some(what) => LinkLoss::Socket(what),
                None => return Some(Turn::Idle),
            },
            Err(
                Error::ConnectionClosed
                | Error::AlreadyClosed
                | Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake),
            ) => LinkLoss::End,
            Err(error) => LinkLoss::Socket(error.to_string()),
        };
        self.stage = Stage::Over;
        Some(Turn::Lost(lost))
    }
}

type Shaken = Result<
    (
        WebSocket<TcpStream>,
        tungstenite::handshake::client::Response,
    ),
    HandshakeError<ClientHandshake<TcpStream>>,
>;

/// Whether a connection is made; the error is the kernel's.
fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_blocked(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_SIZE)
        .write_buffer_size(WRITE_SIZE)
}
