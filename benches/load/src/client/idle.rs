//! One connection that does nothing, and how it leaves.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::client::socket::{LoadSocket, reset_on_drop, send_frame};
use crate::measure::failure::Failure;
use crate::wire::frame::{CLOSE, PONG, close_payload};
use crate::wire::frame_reader::{FrameReader, Incoming};
use crate::wire::read::{ReadBuffer, ReadEnd};

/// A server that has not answered a Close after this time counts as failed.
pub(crate) const LEAVING_MAX: Duration = Duration::from_secs(10);

/// How to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Close 1000, then wait for the server's Close and the end of the stream (RFC 6455 §7.1.1).
    Clean,
    /// A reset, as from a phone that lost its network.
    Abrupt,
}

impl Leave {
    /// Reads the flag `--abrupt`.
    pub(crate) fn new(abrupt: bool) -> Self {
        if abrupt { Self::Abrupt } else { Self::Clean }
    }
}

/// A connection that does nothing: answers pings, until it leaves.
#[derive(Debug)]
pub(crate) struct IdleClient {
    socket: LoadSocket,
    frames: IdleFrames,
}

/// The frames that the server sends to an idle connection.
#[derive(Debug)]
struct IdleFrames {
    reader: FrameReader,
    /// Pings that were answered.
    pings: u64,
    leaving: Option<Leaving>,
}

/// A Close was sent.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    since: Instant,
    answered: bool,
}

/// Whether a client is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It waits for its socket.
    Here,
    /// It left as it should.
    Gone,
}

impl IdleClient {
    /// Takes over an open connection, and what came behind its handshake.
    pub(crate) fn new(socket: LoadSocket, rest: &[u8]) -> Self {
        Self {
            socket,
            frames: IdleFrames {
                reader: FrameReader::new(rest),
                pings: 0,
                leaving: None,
            },
        }
    }

    /// The socket, to register it.
    pub(crate) fn socket(&self) -> &LoadSocket {
        &self.socket
    }

    /// How many pings were answered.
    pub(crate) fn pings(&self) -> u64 {
        self.frames.pings
    }

    /// Whether the server's Close is overdue.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.frames
            .leaving
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
                self.frames.leaving = Some(Leaving {
                    since: Instant::now(),
                    answered: false,
                });
                send_frame(&self.socket, CLOSE, &close_payload(1000))?;
                Ok(Presence::Here)
            }
        }
    }

    /// Reads what came, and answers pings.
    ///
    /// # Errors
    ///
    /// The server ended the connection, or broke the protocol.
    pub(crate) fn ready(&mut self, buffer: &mut ReadBuffer) -> Result<Presence, Failure> {
        let socket = &self.socket;
        let end = buffer.read_all(socket, |bytes| {
            self.frames.receive(bytes, socket)?;
            Ok(ControlFlow::Continue(()))
        });
        let is_answered = self.frames.leaving.is_some_and(|leaving| leaving.answered);
        match end {
            Ok(ReadEnd::Drained | ReadEnd::Stopped) => Ok(Presence::Here),
            Ok(ReadEnd::Closed) | Err(Failure::Reset) if is_answered => Ok(Presence::Gone),
            Ok(ReadEnd::Closed) => Err(Failure::Ended),
            Err(failure) => Err(failure),
        }
    }

    /// Answers what came behind the handshake.
    ///
    /// # Errors
    ///
    /// The server closed the connection, or broke the protocol.
    pub(crate) fn begin(&mut self) -> Result<(), Failure> {
        self.frames.receive(&[], &self.socket)
    }
}

impl IdleFrames {
    fn receive(&mut self, bytes: &[u8], socket: &LoadSocket) -> Result<(), Failure> {
        self.reader.feed(bytes);
        while let Some(incoming) = self.reader.next_incoming()? {
            match (incoming, &mut self.leaving) {
                (Incoming::Ping(payload), None) => {
                    send_frame(socket, PONG, &payload)?;
                    self.pings += 1;
                }
                (Incoming::Close(..), Some(leaving)) => leaving.answered = true,
                (Incoming::Close(code, reason), None) => return Err(Failure::Closed(code, reason)),
                (Incoming::Ping(_) | Incoming::Pong | Incoming::Message(..), _) => {}
            }
        }
        Ok(())
    }
}
