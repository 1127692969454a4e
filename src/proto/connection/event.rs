//! The events of a connection, and the reasons of its end.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::proto::http::Head;
use crate::proto::websocket::{ControlFrame, FrameError, MessageKind};

/// One event of a connection; events come in the order in which they happened.
#[derive(Debug)]
pub enum ConnectionEvent<'a> {
    /// The connection sends these bytes, after all bytes of earlier events.
    Output(Output),
    /// A whole request arrived; its answer goes to [`super::Connection::answer`].
    Request(Box<HttpRequest>),
    /// The connection became a WebSocket; the [`ConnectionEvent::Output`] just before was the 101.
    Opened(Box<Head>),
    /// A whole message arrived, unmasked and joined from its fragments.
    Message {
        /// Text (valid UTF-8) or binary.
        kind: MessageKind,
        /// The message's bytes; borrowed from the read buffer unless they came in pieces.
        payload: Cow<'a, [u8]>,
    },
    /// Input that asks for nothing: a pong, or a message that crossed our Close.
    Ignored,
    /// No event follows. Send the queued bytes, shut the write side, read to the end.
    Closed(CloseReason),
}

/// Bytes that the protocol itself sends.
#[derive(Debug)]
pub enum Output {
    /// A ping, a pong or a close.
    Control(ControlFrame),
    /// A 100, a 101 or an answer.
    Http(Bytes),
}

impl Output {
    /// Returns the bytes as they go to the socket.
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
    /// The number of the request on its connection; the answer names it.
    pub serial: u32,
    /// Method, target and fields.
    pub head: Head,
    /// The body without its transfer coding; empty when there was none.
    pub body: Bytes,
}

/// The reason why a WebSocket ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer sent Close first.
    Peer {
        /// The code of RFC 6455 §7.4; `None` if the frame was empty.
        code: Option<u16>,
        /// The peer's reason, at most 123 bytes.
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
    /// Returns the close code of RFC 6455 §7.1.5: 1005 for a Close without a code, 1006 without a
    /// Close.
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
