//! What a connection reports, and why it ended.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::proto::http::Head;
use crate::proto::websocket::{ControlFrame, FrameError, MessageKind};

/// One thing that happened on a connection, in order.
#[derive(Debug)]
pub enum ConnectionEvent<'a> {
    /// These bytes are to be sent, after everything sent before.
    Output(Output),
    /// A whole request arrived; its answer goes to [`super::Connection::answer`].
    Request(Box<HttpRequest>),
    /// The peer became a WebSocket; the 101 was an [`ConnectionEvent::Output`] just before.
    Opened(Box<Head>),
    /// A whole message arrived.
    Message {
        /// Text (valid UTF-8) or binary.
        kind: MessageKind,
        /// Its bytes; borrowed from the read buffer unless it came in pieces.
        payload: Cow<'a, [u8]>,
    },
    /// Something that needs nothing done: a pong, or data that crossed our Close.
    Ignored,
    /// Nothing follows. Send what is queued, shut the write side, read to the end.
    Closed(CloseReason),
}

/// Bytes the protocol itself sends.
#[derive(Debug)]
pub enum Output {
    /// A ping, a pong or a close.
    Control(ControlFrame),
    /// A 100, a 101 or an answer.
    Http(Bytes),
}

impl Output {
    /// The bytes as they go to the socket.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Control(frame) => frame.as_bytes(),
            Self::Http(bytes) => bytes,
        }
    }
}

/// A whole HTTP request.
#[derive(Debug)]
pub struct HttpRequest {
    /// Which request of its connection; the answer names it.
    pub serial: u32,
    /// Method, target and fields.
    pub head: Head,
    /// The body without its transfer coding; empty when there was none.
    pub body: Bytes,
}

/// Why a WebSocket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent Close: its code, if it gave one, and its reason.
    Peer {
        /// Code of RFC 6455 §7.4, `None` when the frame was empty.
        code: Option<u16>,
        /// At most 123 bytes.
        reason: Box<str>,
    },
    /// We sent Close with this code first.
    Server(u16),
    /// The peer broke RFC 6455.
    Violation(FrameError),
    /// The peer didn't answer a ping in time.
    PingTimeout,
    /// The peer didn't read what was sent to it.
    SlowReader,
    /// The stream ended or failed without a Close frame.
    Lost,
}

impl CloseReason {
    /// The code as RFC 6455 §7.1.5 has it: 1005 for a Close without one, 1006 for none at all.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Peer { code, .. } => code.unwrap_or(1005),
            Self::Server(code) => *code,
            Self::Violation(error) => error.close_code(),
            Self::PingTimeout => 4010,
            Self::SlowReader => 4008,
            Self::Lost => 1006,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer {
                code: Some(code), ..
            } => write!(f, "closed by the peer with {code}"),
            Self::Peer { code: None, .. } => f.write_str("closed by the peer"),
            Self::Server(code) => write!(f, "closed by the server with {code}"),
            Self::Violation(error) => write!(f, "protocol violation: {error}"),
            Self::PingTimeout => f.write_str("no answer to a ping"),
            Self::SlowReader => f.write_str("too slow a reader"),
            Self::Lost => f.write_str("lost without a close frame"),
        }
    }
}
