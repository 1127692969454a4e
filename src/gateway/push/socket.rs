//! A WebSocket to an upstream that never waits: connecting, TLS if it is asked for, handshake, frames.
//!
//! The owner of the poll calls [`Socket::advance`] whenever something may have changed, which gives
//! one step after the other, and [`Socket::send`] for as long as [`Socket::has_room`].

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
use crate::tls::{ClientStream, TlsDialer, TlsError, TlsStream};

/// Bytes that gather before they are written: some hundred messages in one call of the system.
const WRITE_SIZE: usize = 64 * 1024;

/// Bytes of one read: an upstream says nothing but short frames, some hundred of which fit.
const READ_SIZE: usize = 16 * 1024;

/// Largest message of an upstream, in bytes: the longest that it has to say is `open_ok` with the
/// refusals that it remembers, some ten thousand bytes.
const MESSAGE_SIZE_MAX: usize = 256 * 1024;

/// Frames that are read in one turn, of any kind: some reads of small ones, which take well below a
/// millisecond, after which the other upstreams and the gateway are served.
const FRAMES_PER_TURN: u32 = 256;

/// Pings whose answers may wait here while the kernel takes nothing: an upstream that reads leaves
/// none of them, and this many answers are half a MiB at the most.
const PINGS_WAITING_MAX: u32 = 4_096;

/// The token of every socket, behind those of the pipe and the resolver: the poll only has to wake.
const UPSTREAM: Token = Token(2);

/// Longest wait for the upstream's answer to our Close: it comes within a round trip, or not at all.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// One step of the socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SocketStep {
    /// The handshake is done.
    Connected,
    /// A text frame came.
    Text(String),
    /// Nothing more happens until the poll says otherwise.
    Idle,
    /// The turn of this socket is over, and there may be more to read: it has to be asked again
    /// without waiting for the poll.
    Yielded,
    /// The socket is over.
    Lost(LinkLoss),
}

/// The stage of the socket.
#[derive(Debug)]
enum SocketStage {
    Connecting(TcpStream, Box<Opening>),
    /// The handshake of TLS is half done.
    Securing(Box<TlsStream<TcpStream>>, Box<Request>),
    /// The handshake is half done.
    Shaking(MidHandshake<ClientHandshake<Stream>>),
    Open(WebSocket<Stream>),
    /// Our Close is sent; the answer may come until this time.
    Closing(WebSocket<Stream>, Instant),
    Over,
}

type Stream = ClientStream<TcpStream>;

/// What is said on a connection once it is made.
#[derive(Debug)]
struct Opening {
    request: Request,
    /// What begins TLS, and the host.
    security: Option<(TlsDialer, String)>,
}

/// A WebSocket to one upstream.
#[derive(Debug)]
pub(super) struct Socket {
    stage: SocketStage,
    /// Whether the kernel has no room for the bytes that are already written here.
    is_blocked: bool,
    /// The reason why nothing can be written any more.
    failure: Option<String>,
    /// Frames that may still be read in this turn.
    frames_left: u32,
    /// Pings that came since all bytes were written last.
    pings_waiting: u32,
    was_open: bool,
}

impl Socket {
    /// Begins to connect; by TLS, if there is what begins it, and the host.
    pub(super) fn connect(
        address: SocketAddr,
        request: Request,
        security: Option<(TlsDialer, String)>,
        registry: &Registry,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        registry.register(
            &mut stream,
            UPSTREAM,
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(Self {
            stage: SocketStage::Connecting(stream, Box::new(Opening { request, security })),
            is_blocked: false,
            failure: None,
            frames_left: FRAMES_PER_TURN,
            pings_waiting: 0,
            was_open: false,
        })
    }

    /// Whether the handshake was ever done.
    pub(super) fn was_open(&self) -> bool {
        self.was_open
    }

    /// Begins a turn, in which the socket may read some frames and no more.
    pub(super) fn begin_turn(&mut self) {
        self.frames_left = FRAMES_PER_TURN;
    }

    /// Goes on as far as the socket can, up to the next step that the owner has to know.
    pub(super) fn advance(&mut self) -> SocketStep {
        loop {
            match std::mem::replace(&mut self.stage, SocketStage::Over) {
                SocketStage::Connecting(stream, opening) => match is_connected(&stream) {
                    Ok(false) => {
                        self.stage = SocketStage::Connecting(stream, opening);
                        return SocketStep::Idle;
                    }
                    Ok(true) => {
                        if let Some(step) = self.connected(stream, *opening) {
                            return step;
                        }
                    }
                    Err(error) => return SocketStep::Lost(LinkLoss::Socket(error.to_string())),
                },
                SocketStage::Securing(mut stream, request) => match stream.shake() {
                    Ok(()) => {
                        if let Some(step) = self.begin(ClientStream::Tls(stream), *request) {
                            return step;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.stage = SocketStage::Securing(stream, request);
                        return SocketStep::Idle;
                    }
                    Err(error) => return SocketStep::Lost(LinkLoss::Socket(error.to_string())),
                },
                SocketStage::Shaking(half) => {
                    let shaken = half.handshake();
                    if let Some(step) = self.shaken(shaken) {
                        return step;
                    }
                }
                SocketStage::Open(socket) if self.frames_left == 0 => {
                    self.stage = SocketStage::Open(socket);
                    return SocketStep::Yielded;
                }
                SocketStage::Open(mut socket) => {
                    self.frames_left -= 1;
                    let read = socket.read();
                    self.stage = SocketStage::Open(socket);
                    if let Some(step) = self.take_read(read) {
                        return step;
                    }
                }
                SocketStage::Closing(mut socket, until) => {
                    let is_late = until <= Instant::now();
                    // Whether it went out shows in what the upstream answers.
                    socket.flush().ok();
                    // Frames come too late now; they are read, since unread ones would have the
                    // kernel reset the connection, and the Close with it.
                    match socket.read() {
                        Ok(_) if !is_late && self.frames_left > 0 => {
                            self.frames_left -= 1;
                            self.stage = SocketStage::Closing(socket, until);
                        }
                        Ok(_) if !is_late => {
                            self.stage = SocketStage::Closing(socket, until);
                            return SocketStep::Yielded;
                        }
                        Err(error) if is_blocked(&error) && !is_late => {
                            self.stage = SocketStage::Closing(socket, until);
                            return SocketStep::Idle;
                        }
                        Ok(_) | Err(_) => {
                            socket.get_mut().end();
                            return SocketStep::Lost(LinkLoss::End);
                        }
                    }
                }
                SocketStage::Over => return SocketStep::Lost(LinkLoss::End),
            }
        }
    }

    /// Whether the socket takes frames now.
    pub(super) fn has_room(&mut self) -> bool {
        if self.is_blocked {
            self.flush();
        }
        matches!(self.stage, SocketStage::Open(_)) && !self.is_blocked && self.failure.is_none()
    }

    /// Takes a frame, which goes out with the next [`Socket::flush`] at the latest.
    pub(super) fn send(&mut self, text: String) {
        if let SocketStage::Open(socket) = &mut self.stage {
            let written = socket.write(Message::text(text));
            self.check_write(written);
        }
    }

    /// Writes the frames that were taken, as far as the kernel has room.
    pub(super) fn flush(&mut self) {
        if let SocketStage::Open(socket) = &mut self.stage {
            self.is_blocked = false;
            let written = socket.flush();
            self.check_write(written);
            if !self.is_blocked {
                self.pings_waiting = 0;
            }
        }
    }

    /// Sends Close 1001; [`Socket::advance`] tells when the socket is over.
    pub(super) fn close(&mut self) {
        if let SocketStage::Open(mut socket) = std::mem::replace(&mut self.stage, SocketStage::Over)
        {
            let frame = CloseFrame {
                code: CloseCode::Away,
                reason: "the gateway stops".into(),
            };
            match socket.close(Some(frame)).and_then(|()| socket.flush()) {
                Err(error) if !is_blocked(&error) => {}
                _ => self.stage = SocketStage::Closing(socket, Instant::now() + CLOSE_MAX),
            }
        }
    }

    fn check_write(&mut self, written: tungstenite::Result<()>) {
        match written {
            Ok(()) => {}
            Err(error) if is_blocked(&error) => self.is_blocked = true,
            // The next step tells of the error, after the frames that still came.
            Err(error) => self.failure = Some(error.to_string()),
        }
    }

    /// Goes on with a connection that is made.
    fn connected(&mut self, stream: TcpStream, opening: Opening) -> Option<SocketStep> {
        // Without this option the acknowledgements of small messages wait for each other.
        stream.set_nodelay(true).ok();
        let Opening { request, security } = opening;
        let Some((dialer, host)) = security else {
            return self.begin(ClientStream::Plain(stream), request);
        };
        match dialer.begin(&host, stream) {
            Ok(stream) => {
                self.stage = SocketStage::Securing(Box::new(stream), Box::new(request));
                None
            }
            Err(error) => Some(SocketStep::Lost(LinkLoss::Socket(error.to_string()))),
        }
    }

    /// Begins the handshake.
    fn begin(&mut self, stream: Stream, request: Request) -> Option<SocketStep> {
        self.shaken(client_with_config(request, stream, Some(config())))
    }

    /// Takes the outcome of a part of the handshake.
    fn shaken(&mut self, shaken: Shaken) -> Option<SocketStep> {
        match shaken {
            Ok((socket, _)) => {
                self.stage = SocketStage::Open(socket);
                self.was_open = true;
                Some(SocketStep::Connected)
            }
            Err(HandshakeError::Interrupted(half)) => {
                self.stage = SocketStage::Shaking(half);
                Some(SocketStep::Idle)
            }
            Err(HandshakeError::Failure(Error::Http(answer))) => {
                let what = format!("the upstream answered {}", answer.status());
                Some(SocketStep::Lost(LinkLoss::Socket(what)))
            }
            Err(HandshakeError::Failure(error)) => {
                Some(SocketStep::Lost(LinkLoss::Socket(error.to_string())))
            }
        }
    }

    /// Takes what was read; `None` where the owner need not know of it.
    fn take_read(&mut self, read: tungstenite::Result<Message>) -> Option<SocketStep> {
        let is_idle = matches!(&read, Err(error) if is_blocked(error));
        let lost = match read {
            Ok(Message::Text(text)) => return Some(SocketStep::Text(text.to_string())),
            Ok(Message::Close(frame)) => {
                // The answer to the Close goes out before the socket is dropped.
                self.flush();
                LinkLoss::Closed(frame.map_or(1005, |frame| frame.code.into()))
            }
            Ok(Message::Ping(_)) if self.pings_waiting >= PINGS_WAITING_MAX => {
                LinkLoss::Socket("the upstream pings, and doesn't read the answers".into())
            }
            Ok(Message::Ping(_)) => {
                self.pings_waiting += 1;
                return None;
            }
            Ok(_) => return None,
            Err(_) if is_idle => match self.failure.take() {
                Some(what) => LinkLoss::Socket(what),
                None => return Some(SocketStep::Idle),
            },
            Err(
                Error::ConnectionClosed
                | Error::AlreadyClosed
                | Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake),
            ) => LinkLoss::End,
            Err(Error::Io(error)) if tls_error(&error) == Some(&TlsError::Cut) => LinkLoss::End,
            Err(error) => LinkLoss::Socket(error.to_string()),
        };
        self.stage = SocketStage::Over;
        Some(SocketStep::Lost(lost))
    }
}

type Shaken = Result<
    (WebSocket<Stream>, tungstenite::handshake::client::Response),
    HandshakeError<ClientHandshake<Stream>>,
>;

/// What TLS has to say about an error.
fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

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
        .max_message_size(Some(MESSAGE_SIZE_MAX))
        .max_frame_size(Some(MESSAGE_SIZE_MAX))
}
