//! One connection that publishes, by WebSocket, by HTTP or by bytes over TCP: messages out,
//! acknowledgements in.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::client::ack::Answer;
use crate::client::byte_acks::AckCounter;
use crate::client::dialect::PublishTemplate;
use crate::client::load_client::NextSocket;
use crate::client::opening::Open;
use crate::client::socket::{LoadSocket, Place, connect};
use crate::client::template::Blanks;
use crate::measure::failure::Failure;
use crate::wire::frame::{MASK, PONG, client_frame};
use crate::wire::frame_scanner::{FrameScanner, Scanned};
use crate::wire::read::{ReadBuffer, ReadEnd};
use crate::wire::response::ResponseParser;

#[derive(Debug)]
enum Protocol {
    WebSocket(FrameScanner),
    Http {
        parser: ResponseParser,
        place: Place,
        source: Option<SocketAddr>,
    },
    Tcp(AckCounter),
}

/// One connection that publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    socket: LoadSocket,
    publish: Arc<PublishTemplate>,
    protocol: Protocol,
    out: Vec<u8>,
    written: usize,
}

impl Publisher {
    /// Takes over an open connection; further ones go to `place` from `source` too.
    ///
    /// # Errors
    ///
    /// What came behind the handshake ends the connection.
    pub(crate) fn new(
        open: Open,
        publish: Arc<PublishTemplate>,
        place: Place,
        source: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let mut out = Vec::new();
        let protocol = match &*publish {
            PublishTemplate::Frame { .. } => Protocol::WebSocket(FrameScanner::default()),
            PublishTemplate::Bytes { first, acks, .. } => {
                let number = open.number as u64;
                let blanks = Blanks {
                    member: number,
                    publisher: number,
                    ..Blanks::default()
                };
                first.fill(&blanks, &mut out);
                Protocol::Tcp(AckCounter::new(acks.clone()))
            }
            PublishTemplate::Request { .. } => Protocol::Http {
                parser: ResponseParser::with_bodies(),
                place,
                source,
            },
        };
        let mut publisher = Self {
            socket: open.socket,
            publish,
            protocol,
            out,
            written: 0,
        };
        let (publish, out) = (&publisher.publish, &mut publisher.out);
        // Nothing was published yet, so an answer answers nothing of ours.
        _ = (publisher.protocol).receive(&open.rest, publish, out, &mut |_| ())?;
        Ok(publisher)
    }

    /// The socket, to register it.
    pub(crate) fn socket(&self) -> &LoadSocket {
        &self.socket
    }

    /// Whether several messages may wait for their answers without being pipelined requests.
    pub(crate) fn is_by_frames(&self) -> bool {
        !matches!(self.protocol, Protocol::Http { .. })
    }

    /// What to append messages to; they go out with [`Self::flush`].
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        while self.written < self.out.len() {
            match (&self.socket).write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads the answers that came, and writes what the socket takes.
    ///
    /// With [`NextSocket::New`] the server ended the connection as it had announced, and whatever
    /// is unanswered will stay so.
    ///
    /// # Errors
    ///
    /// The server ended the connection, or broke the protocol.
    pub(crate) fn ready<F: FnMut(Answer)>(
        &mut self,
        buffer: &mut ReadBuffer,
        answered: &mut F,
    ) -> Result<NextSocket, Failure> {
        let end = buffer.read_all(&self.socket, |bytes| {
            let out = &mut self.out;
            self.protocol.receive(bytes, &self.publish, out, answered)
        })?;
        if end == ReadEnd::Drained {
            self.flush()?;
            return Ok(NextSocket::Same);
        }
        if end == ReadEnd::Closed {
            self.protocol.end(answered)?;
        }
        self.reconnect()?;
        Ok(NextSocket::New)
    }

    fn reconnect(&mut self) -> Result<(), Failure> {
        if let Protocol::Http {
            parser,
            place,
            source,
        } = &mut self.protocol
        {
            let failed = |error| Failure::of_connecting(error, place.address);
            self.socket = connect(place, *source).map_err(failed)?;
            *parser = ResponseParser::with_bodies();
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}

impl Protocol {
    /// Takes the answers out of what was read, and adds pongs to `out`; breaks off where the server
    /// announced that it ends the connection.
    fn receive<F: FnMut(Answer)>(
        &mut self,
        bytes: &[u8],
        publish: &PublishTemplate,
        out: &mut Vec<u8>,
        answered: &mut F,
    ) -> Result<ControlFlow<()>, Failure> {
        match self {
            Self::WebSocket(scanner) => {
                scanner.receive(bytes, |scanned| {
                    match scanned {
                        Scanned::Message(payload) => {
                            let answer = publish.acks().read(payload);
                            answer.into_iter().for_each(&mut *answered);
                        }
                        Scanned::Ping(payload) => out.extend(client_frame(PONG, payload, MASK)),
                        Scanned::Close(code, reason) => return Err(Failure::Closed(code, reason)),
                    }
                    Ok(())
                })?;
                Ok(ControlFlow::Continue(()))
            }
            Self::Tcp(counter) => {
                counter.receive(bytes, answered);
                Ok(ControlFlow::Continue(()))
            }
            Self::Http { parser, .. } => {
                parser.receive(bytes, |status, body| {
                    answered(Answer::of_http(status, body))
                })?;
                Ok(match parser.is_closing() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            }
        }
    }

    /// Takes the end of the stream, which may complete an answer.
    fn end<F: FnMut(Answer)>(&mut self, answered: &mut F) -> Result<(), Failure> {
        match self {
            Self::WebSocket(_) | Self::Tcp(_) => Err(Failure::Ended),
            Self::Http { parser, .. } => {
                if let Some(status) = parser.end()? {
                    answered(Answer::of_http(status, b""));
                }
                Ok(())
            }
        }
    }
}
