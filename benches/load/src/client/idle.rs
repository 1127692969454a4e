//! How a client goes: with a word, or without.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::measure::failure::Failure;
use crate::wire::frame::{CLOSE, Frames, Incoming, PONG, client_frame, close_payload};

/// A server that has not answered a Close after this time counts as failed.
pub(crate) const LEAVING_MAX: Duration = Duration::from_secs(10);

const MASK: [u8; 4] = [0x21, 0x43, 0x65, 0x87];

/// How to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Close 1000, then wait for the server's Close and the end of the stream (RFC 6455 §7.1.1).
    Clean,
    /// A reset, as from a phone that lost its network.
    Abrupt,
}

/// A connection that does nothing: answers pings, until it leaves.
#[derive(Debug)]
pub(crate) struct Guest {
    socket: TcpStream,
    frames: Frames,
    pings: u64,
    leaving: Option<Leaving>,
}

/// A Close was sent.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    since: Instant,
    answered: bool,
}

/// Whether a guest is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It waits for its socket.
    Here,
    /// It left as it should.
    Gone,
}

impl Guest {
    /// Takes over an open connection, and what came behind its handshake.
    pub(crate) fn new(socket: TcpStream, rest: &[u8]) -> Self {
        let mut frames = Frames::default();
        frames.feed(rest);
        Self {
            socket,
            frames,
            pings: 0,
            leaving: None,
        }
    }

    /// The socket, to register it.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// How many pings were answered.
    pub(crate) fn pings(&self) -> u64 {
        self.pings
    }

    /// Whether the server's Close is overdue.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.leaving
            .is_some_and(|leaving| now.saturating_duration_since(leaving.since) > LEAVING_MAX)
    }

    /// Begins to go; an abrupt leave is done at once.
    ///
    /// # Errors
    ///
    /// The connection is broken already.
    pub(crate) fn leave(&mut self, leave: Leave) -> Result<Presence, Failure> {
        match leave {
            Leave::Abrupt => {
                reset_on_drop(&self.socket)?;
                Ok(Presence::Gone)
            }
            Leave::Clean => {
                self.leaving = Some(Leaving {
                    since: Instant::now(),
                    answered: false,
                });
                say(&self.socket, CLOSE, &close_payload(1000))?;
                Ok(Presence::Here)
            }
        }
    }

    /// Reads what came, through `bytes`.
    ///
    /// # Errors
    ///
    /// The server ended the connection, or broke the protocol.
    pub(crate) fn ready(&mut self, bytes: &mut [u8]) -> Result<Presence, Failure> {
        loop {
            match self.socket.read(bytes) {
                Ok(0) => return self.end(Failure::Ended),
                Ok(count) => self.frames.feed(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Presence::Here),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return self.end(Failure::Reset);
                }
                Err(error) => return Err(error.into()),
            }
            self.hear()?;
        }
    }

    /// Takes what was read apart; also what came behind the handshake.
    ///
    /// # Errors
    ///
    /// The server closed the connection, or broke the protocol.
    pub(crate) fn hear(&mut self) -> Result<(), Failure> {
        while let Some(incoming) = self.frames.next_incoming()? {
            match (incoming, &mut self.leaving) {
                (Incoming::Ping(payload), None) => {
                    say(&self.socket, PONG, &payload)?;
                    self.pings += 1;
                }
                (Incoming::Close(..), Some(leaving)) => leaving.answered = true,
                (Incoming::Close(code, reason), None) => return Err(Failure::Closed(code, reason)),
                (Incoming::Ping(_) | Incoming::Pong | Incoming::Message(..), _) => {}
            }
        }
        Ok(())
    }

    fn end(&self, failure: Failure) -> Result<Presence, Failure> {
        match self.leaving {
            Some(Leaving { answered: true, .. }) => Ok(Presence::Gone),
            _ => Err(failure),
        }
    }
}

/// Makes a socket go by a reset when it is dropped.
///
/// Its port is free at once, while an orderly end keeps it in TIME_WAIT for a minute.
///
/// # Errors
///
/// None that an open socket could meet.
pub(crate) fn reset_on_drop(socket: &TcpStream) -> std::io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Sends a short frame.
///
/// It is small: a socket that has no room for it has a peer that doesn't read.
///
/// # Errors
///
/// The connection is broken, or full.
pub(crate) fn say(mut socket: &TcpStream, opcode: u8, payload: &[u8]) -> Result<(), Failure> {
    let frame = client_frame(opcode, payload, MASK);
    match socket.write(&frame) {
        Ok(count) if count == frame.len() => Ok(()),
        Ok(_) => Err(Failure::Timeout("sending a short frame")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(Failure::Timeout("sending a short frame"))
        }
        Err(error) => Err(Failure::of_open(error)),
    }
}
