//! One member of a room: finds messages in what it hears, and tells the course.
//!
//! This is the generator's hot path: one read, one clock reading, and for each frame one search for
//! the marker; nothing is copied or parsed.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Instant;

use memchr::memmem::Finder;

use crate::client::idle::say;
use crate::client::marker::Marker;
use crate::load::in_flight::Course;
use crate::measure::failure::Failure;
use crate::wire::frame::PONG;
use crate::wire::frame_scanner::{Heard, Inbox};

/// One connection that hears.
#[derive(Debug)]
pub(crate) struct Member {
    socket: TcpStream,
    inbox: Inbox,
    is_in: bool,
}

/// How members understand what they hear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ear<'a> {
    /// What its messages bear.
    pub(crate) marker: &'a Marker,
    /// Text in the frame that tells that it is in; `None` when there is no such frame.
    pub(crate) joined: Option<&'a Finder<'static>>,
}

impl Member {
    /// Takes over an open connection.
    pub(crate) fn new(socket: TcpStream, ear: &Ear<'_>) -> Self {
        Self {
            socket,
            inbox: Inbox::default(),
            is_in: ear.joined.is_none(),
        }
    }

    /// The socket, to register it.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the server said that it is in, or never says that.
    pub(crate) fn is_in(&self) -> bool {
        self.is_in
    }

    /// Reads what came through `bytes`, as the member `key` of the course.
    ///
    /// # Errors
    ///
    /// The server ended the connection, or broke the protocol.
    pub(crate) fn ready(
        &mut self,
        key: usize,
        bytes: &mut [u8],
        hung_up: bool,
        ear: &Ear<'_>,
        (course, epoch): (&mut Course, Instant),
    ) -> Result<(), Failure> {
        loop {
            let count = match self.socket.read(bytes) {
                Ok(0) => return Err(Failure::Ended),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Failure::of_open(error)),
            };
            let now_ns = epoch.elapsed().as_nanos() as u64;
            self.hear(key, &bytes[..count], ear, course, now_ns)?;
            if count < bytes.len() && !hung_up {
                return Ok(());
            }
        }
    }

    /// Takes what was read at `now_ns` apart; also what came behind the handshake.
    ///
    /// # Errors
    ///
    /// The server closed the connection, or broke the protocol.
    pub(crate) fn hear(
        &mut self,
        key: usize,
        bytes: &[u8],
        ear: &Ear<'_>,
        course: &mut Course,
        now_ns: u64,
    ) -> Result<(), Failure> {
        let (socket, is_in) = (&self.socket, &mut self.is_in);
        self.inbox.receive(bytes, |heard| {
            match heard {
                Heard::Message(payload) => {
                    if let Some((publisher, seq)) = ear.marker.find(payload) {
                        course.deliver(key, publisher, seq, now_ns);
                    } else if !*is_in {
                        *is_in = ear.joined.is_some_and(|text| text.find(payload).is_some());
                    }
                }
                Heard::Ping(payload) => say(socket, PONG, payload)?,
                Heard::Close(code, reason) => return Err(Failure::Closed(code, reason)),
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::client::marker::MARKER;
    use crate::load::in_flight::Acknowledging;
    use crate::wire::frame::{PING, TEXT, server_frame};

    #[test]
    fn messages_are_found_among_everything_else_that_a_server_says() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (marker, joined) = (Marker::new(MARKER).unwrap(), Finder::new("\"ok\""));
        let ear = Ear {
            marker: &marker,
            joined: Some(&joined),
        };
        let mut member = Member::new(socket, &ear);
        let mut course = Course::new(1, 1, Acknowledging::Never);
        course.measuring = true;
        let text = |text: &str| server_frame(TEXT, text.as_bytes());
        course.depart(0, 0);
        course.depart(0, 0);
        let bytes = [
            text(r#"{"type":"hello"}"#),
            server_frame(PING, b"?"),
            text(r#"{"type":"ok","seq":null}"#),
            text(r#"{"type":"msg","data":{"t":0,"n":1}}"#),
            text(r#"{"type":"joined","uid":"u1"}"#),
            text(r#"{"type":"msg","data":{"t":0,"n":2}}"#),
        ]
        .concat();
        assert!(!member.is_in());
        for part in bytes.chunks(7) {
            member.hear(0, part, &ear, &mut course, 5).unwrap();
        }
        assert!(member.is_in() && course.is_idle());
        assert_eq!(course.deliveries(), 2);
    }
}
