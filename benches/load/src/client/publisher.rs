//! One connection that publishes, by WebSocket or by HTTP: messages out, acknowledgements in.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use memchr::memmem;

use crate::client::dialect::{Acks, MASK, Publish};
use crate::client::load_client::Turn;
use crate::client::marker::number;
use crate::client::opening::{Open, connect};
use crate::measure::failure::Failure;
use crate::wire::frame::{PONG, client_frame};
use crate::wire::frame_scanner::{Heard, Inbox};
use crate::wire::response::Responses;

/// An answer to one message, or to one batch of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The number of the message; `None` for the oldest unanswered one.
    pub(crate) seq: Option<u64>,
    /// What the server said.
    pub(crate) outcome: Outcome,
}

/// What became of a message, or of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server took it.
    Taken {
        /// Codes of the messages of a batch that it did not take.
        refused: Vec<String>,
        /// Messages that it says it had already.
        duplicates: u64,
    },
    /// The server did not take it, with this code.
    Refused(String),
}

#[derive(Debug)]
enum Manner {
    Frames(Inbox),
    Requests {
        responses: Responses,
        address: SocketAddr,
        source: Option<SocketAddr>,
    },
}

/// One connection that publishes.
#[derive(Debug)]
pub(crate) struct Line {
    socket: TcpStream,
    publish: Arc<Publish>,
    manner: Manner,
    out: Vec<u8>,
    written: usize,
}

impl Line {
    /// Takes over an open connection; further ones go to `address` from `source` too.
    ///
    /// # Errors
    ///
    /// What came behind the handshake ends the connection.
    pub(crate) fn new(
        open: Open,
        publish: Arc<Publish>,
        address: SocketAddr,
        source: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let manner = match *publish {
            Publish::Frame { .. } => Manner::Frames(Inbox::default()),
            Publish::Request { .. } => Manner::Requests {
                responses: Responses::with_bodies(),
                address,
                source,
            },
        };
        let mut line = Self {
            socket: open.socket,
            publish,
            manner,
            out: Vec::new(),
            written: 0,
        };
        line.take(&open.rest, &mut |_| ())?;
        Ok(line)
    }

    /// The socket, to register it.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether several messages may wait for their answers without being pipelined requests.
    pub(crate) fn is_by_frames(&self) -> bool {
        matches!(self.manner, Manner::Frames(_))
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
            match self.socket.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Failure::of_open(error)),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what came through `bytes`, and writes what the socket takes.
    ///
    /// With [`Turn::NewSocket`] the server ended the connection as it had announced, and whatever
    /// is unanswered will stay so.
    ///
    /// # Errors
    ///
    /// The server ended the connection, or broke the protocol.
    pub(crate) fn ready<F: FnMut(Answer)>(
        &mut self,
        bytes: &mut [u8],
        hung_up: bool,
        answered: &mut F,
    ) -> Result<Turn, Failure> {
        loop {
            let count = match self.socket.read(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(Failure::of_open(error)),
            };
            if count > 0 {
                self.take(&bytes[..count], answered)?;
            }
            if self.is_over(count, answered)? {
                self.reconnect()?;
                return Ok(Turn::NewSocket);
            }
            if count < bytes.len() && !hung_up {
                break;
            }
        }
        self.flush()?;
        Ok(Turn::Same)
    }

    fn is_over<F: FnMut(Answer)>(
        &mut self,
        count: usize,
        answered: &mut F,
    ) -> Result<bool, Failure> {
        match &mut self.manner {
            Manner::Frames(_) if count == 0 => Err(Failure::Ended),
            Manner::Frames(_) => Ok(false),
            Manner::Requests { responses, .. } if count == 0 => {
                if let Some(status) = responses.end()? {
                    answered(judge(status, b""));
                }
                Ok(true)
            }
            Manner::Requests { responses, .. } => Ok(responses.is_closing()),
        }
    }

    fn take<F: FnMut(Answer)>(&mut self, bytes: &[u8], answered: &mut F) -> Result<(), Failure> {
        let out = &mut self.out;
        match &mut self.manner {
            Manner::Frames(inbox) => inbox.receive(bytes, |heard| {
                match heard {
                    Heard::Message(payload) => {
                        self.publish
                            .acks()
                            .read(payload)
                            .into_iter()
                            .for_each(&mut *answered);
                    }
                    Heard::Ping(payload) => out.extend(client_frame(PONG, payload, MASK)),
                    Heard::Close(code, reason) => return Err(Failure::Closed(code, reason)),
                }
                Ok(())
            }),
            Manner::Requests { responses, .. } => {
                responses.receive(bytes, |status, body| answered(judge(status, body)))
            }
        }
    }

    fn reconnect(&mut self) -> Result<(), Failure> {
        if let Manner::Requests {
            responses,
            address,
            source,
        } = &mut self.manner
        {
            let failed = |error| Failure::from_io(error, *address);
            self.socket = connect(*address, *source).map_err(failed)?;
            *responses = Responses::with_bodies();
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}

impl Acks {
    /// Reads a frame that may be an answer.
    pub(crate) fn read(&self, payload: &[u8]) -> Option<Answer> {
        let behind = |text: &[u8]| {
            let place = memmem::find(payload, text)?;
            Some(number(&payload[place + text.len()..])?.0)
        };
        match self {
            Self::Nothing => None,
            Self::Marker(before) => Some(Answer {
                seq: Some(behind(before.as_bytes())?),
                outcome: Outcome::Taken {
                    refused: Vec::new(),
                    duplicates: 0,
                },
            }),
            Self::Tidings => {
                let is = |kind: &str| memmem::find(payload, kind.as_bytes()).is_some();
                if is(r#""type":"ok""#) {
                    let outcome = taken(payload);
                    let seq = Some(behind(br#""seq":"#)?);
                    return Some(Answer { seq, outcome });
                }
                is(r#""type":"err""#).then(|| Answer {
                    seq: behind(br#""seq":"#),
                    outcome: Outcome::Refused(codes(payload).next().unwrap_or_default()),
                })
            }
        }
    }
}

/// What an HTTP answer says of the message or batch.
fn judge(status: u16, body: &[u8]) -> Answer {
    let outcome = match status {
        200..300 => taken(body),
        _ => {
            let code = codes(body).next().unwrap_or_default();
            Outcome::Refused(format!("status {status} {code}").trim_end().into())
        }
    };
    Answer { seq: None, outcome }
}

fn taken(body: &[u8]) -> Outcome {
    let errors = memmem::find(body, br#""error""#);
    Outcome::Taken {
        refused: errors.map_or_else(Vec::new, |start| codes(&body[start..]).collect()),
        duplicates: memmem::find_iter(body, br#""duplicate":true"#).count() as u64,
    }
}

/// The error codes that a body names.
fn codes(body: &[u8]) -> impl Iterator<Item = String> {
    const NAME: &[u8] = br#""code":""#;
    memmem::find_iter(body, NAME).map(|place| {
        let rest = &body[place + NAME.len()..];
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end.min(64)]).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(payload: &str) -> Option<Answer> {
        Acks::Tidings.read(payload.as_bytes())
    }

    #[test]
    fn answers_are_told_from_all_other_frames() {
        let ok = told(r#"{"type":"ok","seq":17,"channel":"x","duplicate":false}"#).unwrap();
        assert_eq!(ok.seq, Some(17));
        assert_eq!(told(r#"{"type":"ok","seq":null,"channels":{}}"#), None);
        assert_eq!(told(r#"{"type":"hello","fd":17}"#), None);
        let err = told(r#"{"type":"err","seq":4,"code":"not_member","message":"x"}"#).unwrap();
        assert_eq!(
            (err.seq, err.outcome),
            (Some(4), Outcome::Refused("not_member".into()))
        );
        let marker = Acks::Marker("ack ".into());
        assert_eq!(marker.read(b"the ack 12.").unwrap().seq, Some(12));
        assert_eq!(marker.read(b"something else"), None);
    }

    #[test]
    fn http_answers_give_codes_and_duplicates() {
        let body = br#"{"results":[{"offset":1,"duplicate":true},{"error":{"code":"a","message":"b"}},{"error":{"code":"c"}}]}"#;
        let expected = Outcome::Taken {
            refused: vec!["a".into(), "c".into()],
            duplicates: 1,
        };
        assert_eq!(judge(200, body).outcome, expected);
        let refused = judge(429, br#"{"error":{"code":"rate_limited"}}"#).outcome;
        assert_eq!(refused, Outcome::Refused("status 429 rate_limited".into()));
        assert_eq!(
            judge(502, b"").outcome,
            Outcome::Refused("status 502".into())
        );
    }
}
