//! One member of a room: finds the messages among all frames that its server sends.
//!
//! This is the generator's hot path: one read, one clock reading, and for each frame one search for
//! the marker; nothing is copied or parsed.

use std::ops::ControlFlow;
use std::time::Instant;

use memchr::memmem::Finder;

use crate::client::marker::Marker;
use crate::client::socket::{LoadSocket, send_frame};
use crate::measure::failure::Failure;
use crate::wire::frame::PONG;
use crate::wire::frame_scanner::{FrameScanner, Scanned};
use crate::wire::read::{ReadBuffer, ReadEnd};

/// One connection that receives messages.
#[derive(Debug)]
pub(crate) struct Subscriber {
    socket: LoadSocket,
    frames: SubscriberFrames,
}

/// The frames that the server sends to a subscriber.
#[derive(Debug)]
struct SubscriberFrames {
    scanner: FrameScanner,
    is_in: bool,
}

/// How members recognize messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matcher<'a> {
    /// The text that each message bears.
    pub(crate) marker: &'a Marker,
    /// Text in the frame that tells that it is in; `None` when there is no such frame.
    pub(crate) joined: Option<&'a Finder<'static>>,
}

impl Subscriber {
    /// Takes over an open connection.
    pub(crate) fn new(socket: LoadSocket, matcher: &Matcher<'_>) -> Self {
        Self {
            socket,
            frames: SubscriberFrames {
                scanner: FrameScanner::default(),
                is_in: matcher.joined.is_none(),
            },
        }
    }

    /// The socket, to register it.
    pub(crate) fn socket(&self) -> &LoadSocket {
        &self.socket
    }

    /// Whether the server said that it is in, or never says that.
    pub(crate) fn is_in(&self) -> bool {
        self.frames.is_in
    }

    /// Reads what came; calls `deliver` with the stream, the number and the time of each message, in
    /// nanoseconds since `epoch`.
    ///
    /// # Errors
    ///
    /// The server ended the connection, or broke the protocol.
    pub(crate) fn ready(
        &mut self,
        buffer: &mut ReadBuffer,
        matcher: &Matcher<'_>,
        epoch: Instant,
        mut deliver: impl FnMut(u64, u64, u64),
    ) -> Result<(), Failure> {
        let socket = &self.socket;
        let end = buffer.read_all(socket, |bytes| {
            let now_ns = epoch.elapsed().as_nanos() as u64;
            let deliver = |publisher, seq| deliver(publisher, seq, now_ns);
            self.frames.receive(bytes, socket, matcher, deliver)?;
            Ok::<_, Failure>(ControlFlow::Continue(()))
        })?;
        match end {
            ReadEnd::Closed => Err(Failure::Ended),
            ReadEnd::Drained | ReadEnd::Stopped => Ok(()),
        }
    }

    /// Takes what came behind the handshake; calls `deliver` with stream and number of each message.
    ///
    /// # Errors
    ///
    /// The server closed the connection, or broke the protocol.
    pub(crate) fn begin(
        &mut self,
        rest: &[u8],
        matcher: &Matcher<'_>,
        deliver: impl FnMut(u64, u64),
    ) -> Result<(), Failure> {
        self.frames.receive(rest, &self.socket, matcher, deliver)
    }
}

impl SubscriberFrames {
    fn receive(
        &mut self,
        bytes: &[u8],
        socket: &LoadSocket,
        matcher: &Matcher<'_>,
        mut deliver: impl FnMut(u64, u64),
    ) -> Result<(), Failure> {
        let is_in = &mut self.is_in;
        self.scanner.receive(bytes, |scanned| {
            match scanned {
                Scanned::Message(payload) => {
                    if !matcher.marker.find_each(payload, &mut deliver) && !*is_in {
                        let joined = matcher.joined;
                        *is_in = joined.is_some_and(|text| text.find(payload).is_some());
                    }
                }
                Scanned::Ping(payload) => send_frame(socket, PONG, payload)?,
                Scanned::Close(code, reason) => return Err(Failure::Closed(code, reason)),
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::client::marker::MARKER;
    use crate::wire::frame::{PING, TEXT, server_frame};

    #[test]
    fn messages_are_found_among_everything_else_that_a_server_says() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (marker, joined) = (Marker::new(MARKER).unwrap(), Finder::new("\"ok\""));
        let matcher = Matcher {
            marker: &marker,
            joined: Some(&joined),
        };
        let mut subscriber = Subscriber::new(socket.into(), &matcher);
        let text = |text: &str| server_frame(TEXT, text.as_bytes());
        let bytes = [
            text(r#"{"type":"hello"}"#),
            server_frame(PING, b"?"),
            text(r#"{"type":"ok","seq":null}"#),
            text(r#"{"type":"msg","data":{"t":0,"n":1}}"#),
            text(r#"{"type":"joined","uid":"u1"}"#),
            text(r#"{"type":"msg","data":{"t":0,"n":2}}"#),
        ]
        .concat();
        assert!(!subscriber.is_in());
        let mut delivered = Vec::new();
        for part in bytes.chunks(7) {
            let deliver = |publisher, seq| delivered.push((publisher, seq));
            subscriber.begin(part, &matcher, deliver).unwrap();
        }
        assert!(subscriber.is_in());
        assert_eq!(delivered, [(0, 1), (0, 2)]);
    }
}
