//! One connection on its way: connecting, then the WebSocket handshake (RFC 6455 §4.1) if asked.
//!
//! [`Opening`] never blocks: it is advanced whenever its socket is ready, until it gives an
//! [`Open`] or a [`Failure`].

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::client::socket::{LoadSocket, Place, connect};
use crate::measure::failure::Failure;

/// A connection that isn't open after this time counts as failed.
pub(crate) const OPENING_MAX: Duration = Duration::from_secs(10);

/// The longest answer to a handshake that is read, in bytes.
const HEAD_SIZE_MAX: usize = 16 << 10;

/// The first bytes on a new connection, prepared beforehand.
#[derive(Debug)]
pub(crate) enum Handshake {
    /// Nothing: the connection is open as soon as TCP says so.
    Nothing,
    /// The handshake, and the `Sec-WebSocket-Accept` that must come back.
    Upgrade {
        /// The whole request.
        request: Vec<u8>,
        /// The one right answer to its key.
        accept: String,
    },
}

impl Handshake {
    /// Prepares the WebSocket handshake with further header fields, each `Name: value`.
    pub(crate) fn upgrade(host: &str, path: &str, fields: &[String]) -> Self {
        let key = generate_key();
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        );
        for field in fields {
            request += &format!("{field}\r\n");
        }
        request += "\r\n";
        Self::Upgrade {
            request: request.into(),
            accept: derive_accept_key(key.as_bytes()),
        }
    }
}

/// A connection that is ready for its work.
#[derive(Debug)]
pub(crate) struct Open {
    /// Which connection of the run this is, from 0.
    pub(crate) number: usize,
    /// The socket, non-blocking, without delay.
    pub(crate) socket: LoadSocket,
    /// Bytes that came right behind the handshake.
    pub(crate) rest: Vec<u8>,
    /// From the first step until now.
    pub(crate) took: Duration,
}

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Opening {
    socket: LoadSocket,
    address: SocketAddr,
    number: usize,
    started: Instant,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Waiting for TCP, and for room for the handshake.
    Connecting,
    /// The handshake is sent; its answer is collected here.
    Asked(Vec<u8>),
    /// Done; what came behind the handshake, and the time that all of it took.
    Open { rest: Vec<u8>, took: Duration },
}

impl Opening {
    /// Starts to connect the run's connection `number`, from `source` when one is given.
    ///
    /// # Errors
    ///
    /// No descriptor or port is free, or the connection is refused at once.
    pub(crate) fn start(
        place: &Place,
        source: Option<SocketAddr>,
        number: usize,
    ) -> Result<Self, Failure> {
        let address = place.address;
        let socket =
            connect(place, source).map_err(|error| Failure::of_connecting(error, address))?;
        Ok(Self {
            socket,
            address,
            number,
            started: Instant::now(),
            step: Step::Connecting,
        })
    }

    /// The socket, to register it.
    pub(crate) fn socket(&self) -> &LoadSocket {
        &self.socket
    }

    /// Whether its time is over.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.started) > OPENING_MAX
    }

    /// What it is waiting for, as a failure.
    pub(crate) fn timeout(&self) -> Failure {
        Failure::Timeout(match self.step {
            Step::Connecting => "connecting",
            Step::Asked(_) | Step::Open { .. } => "waiting for the handshake's answer",
        })
    }

    /// Goes as far as the socket allows; true when the connection is open.
    ///
    /// # Errors
    ///
    /// The connection or the handshake failed.
    pub(crate) fn advance(&mut self, handshake: &Handshake) -> Result<bool, Failure> {
        match self
            .step_on(handshake)
            .map_err(|error| Failure::of_connecting(error, self.address))?
        {
            Some(rest) => {
                self.step = Step::Open {
                    rest: rest?,
                    took: self.started.elapsed(),
                };
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Hands the connection over; `None` before it is open.
    pub(crate) fn into_open(self) -> Option<Open> {
        match self.step {
            Step::Open { rest, took } => Some(Open {
                number: self.number,
                socket: self.socket,
                rest,
                took,
            }),
            Step::Connecting | Step::Asked(_) => None,
        }
    }

    fn step_on(
        &mut self,
        handshake: &Handshake,
    ) -> std::io::Result<Option<Result<Vec<u8>, Failure>>> {
        if matches!(self.step, Step::Connecting) {
            if waiting(self.socket.shake())?.is_none() {
                return Ok(None);
            }
            match handshake {
                Handshake::Nothing => return Ok(Some(Ok(Vec::new()))),
                Handshake::Upgrade { request, .. } => {
                    let Some(sent) = waiting((&self.socket).write(request))? else {
                        return Ok(None);
                    };
                    if sent < request.len() {
                        return Ok(Some(Err(Failure::Timeout("sending the handshake"))));
                    }
                    self.step = Step::Asked(Vec::new());
                }
            }
        }
        self.hear(handshake)
    }

    fn hear(&mut self, handshake: &Handshake) -> std::io::Result<Option<Result<Vec<u8>, Failure>>> {
        let (Step::Asked(head), Handshake::Upgrade { accept, .. }) = (&mut self.step, handshake)
        else {
            return Ok(None);
        };
        let mut bytes = [0; 2048];
        loop {
            let Some(count) = waiting((&self.socket).read(&mut bytes))? else {
                return Ok(None);
            };
            head.extend_from_slice(&bytes[..count]);
            if let Some(judged) = judge(head, accept) {
                return Ok(Some(judged));
            }
            if count == 0 {
                return Ok(Some(Err(Failure::Ended)));
            }
        }
    }
}

/// Turns "not yet" into `None`.
fn waiting<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::NotConnected
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads the answer to a handshake; `None` while it is incomplete, else what lies behind it.
fn judge(head: &[u8], accept: &str) -> Option<Result<Vec<u8>, Failure>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    let size = match answer.parse(head) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if head.len() <= HEAD_SIZE_MAX => return None,
        Ok(httparse::Status::Partial) => {
            return Some(Err(Failure::Violation("an endless handshake")));
        }
        Err(_) => return Some(Err(Failure::Violation("an answer that isn't HTTP"))),
    };
    if answer.code != Some(101) {
        return Some(Err(Failure::Status(answer.code.unwrap_or(0))));
    }
    let key = answer
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("sec-websocket-accept"));
    match key {
        Some(field) if field.value == accept.as_bytes() => Some(Ok(head[size..].to_vec())),
        _ => Some(Err(Failure::Violation("a wrong Sec-WebSocket-Accept"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: yes\r\n\r\n\x81\x00";

    #[test]
    fn the_answer_is_judged_once_it_is_complete() {
        let head = ANSWER.len() - 2;
        for cut in 0..head {
            assert!(judge(&ANSWER[..cut], "yes").is_none(), "cut at {cut}");
        }
        assert_eq!(judge(ANSWER, "yes").unwrap().unwrap(), b"\x81\x00");
        assert!(matches!(
            judge(ANSWER, "no"),
            Some(Err(Failure::Violation(_)))
        ));
    }

    #[test]
    fn another_status_than_101_is_named() {
        let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(judge(answer, ""), Some(Err(Failure::Status(403)))));
        assert!(matches!(
            judge(b"SSH-2.0-x\r\n", ""),
            Some(Err(Failure::Violation(_)))
        ));
    }
}
