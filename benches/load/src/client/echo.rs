//! One WebSocket connection under load: a fixed number of unanswered messages, each answer checked.
//!
//! All messages are equal, so the answers are one endless repetition of the same frame. What was
//! read is compared with it at memory speed; only what differs (a ping, a close, fragments, a wrong
//! answer) is parsed. What a read answers is asked again in one write.
//!
//! Invariant: `in_flight` messages are asked and not yet answered, always.

use std::io::{ErrorKind, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::client::load_client::{Interval, LoadClient, NextSocket, READ_SIZE};
use crate::client::opening::Open;
use crate::client::pending::PendingRequests;
use crate::client::socket::LoadSocket;
use crate::measure::failure::Failure;
use crate::wire::frame::{MASK, PONG, client_frame, server_frame};
use crate::wire::frame_reader::{FrameReader, Incoming};
use crate::wire::read::{ReadBuffer, ReadEnd};
use crate::wire::repeat::{Repeat, Unsent};

/// Prepared frames for one write, in bytes; a larger single frame is prepared once.
const WRITE_SIZE: usize = 256 << 10;

/// The messages of all connections of a run, and the right answers; prepared once.
#[derive(Debug)]
pub(crate) struct EchoScript {
    opcode: u8,
    answer: Vec<u8>,
    /// Masked frames, as many as go into one write.
    asking: Repeat,
    /// The answers' frames, enough for one read that begins anywhere in a frame.
    answers: Repeat,
}

impl EchoScript {
    /// Prepares `in_flight` messages, and the answers to one read.
    pub(crate) fn new(opcode: u8, message: &[u8], answer: &[u8], in_flight: usize) -> Self {
        let frame = client_frame(opcode, message, MASK);
        let asking_count = in_flight.min(WRITE_SIZE / frame.len());
        let answer_frame = server_frame(opcode, answer);
        let answers_count = READ_SIZE / answer_frame.len() + 2;
        Self {
            opcode,
            answer: answer.into(),
            asking: Repeat::new(&frame, asking_count),
            answers: Repeat::new(&answer_frame, answers_count),
        }
    }

    fn check(&self, opcode: u8, payload: &[u8]) -> Result<(), Failure> {
        if opcode == self.opcode && payload == self.answer {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
        Err(Failure::WrongEcho(format!(
            "opcode {opcode} with {} bytes {shown:?} instead of opcode {} with {} bytes",
            payload.len(),
            self.opcode,
            self.answer.len()
        )))
    }
}

/// One connection that keeps its messages in flight.
#[derive(Debug)]
pub(crate) struct EchoClient {
    socket: LoadSocket,
    answers: AnswerReader,
    in_flight: usize,
    unsent: Unsent,
    pending: PendingRequests,
    /// Pongs that wait for a frame's end.
    pongs: Vec<u8>,
}

/// Counts the right answers among a server's bytes, in any fragmentation.
#[derive(Debug)]
struct AnswerReader {
    script: Arc<EchoScript>,
    /// Bytes of the current answer that were read already.
    heard: usize,
    /// Parses since something else than an answer came, until a frame ends where the script can go
    /// on; `None` while all is as expected.
    frames: Option<FrameReader>,
}

impl AnswerReader {
    /// Takes bytes and gives the number of answers that they complete; a ping adds to `pongs`.
    ///
    /// # Errors
    ///
    /// An answer is wrong, or the server closed the connection or broke the protocol.
    fn receive(&mut self, bytes: &[u8], pongs: &mut Vec<u8>) -> Result<u64, Failure> {
        let answers = &self.script.answers;
        if self.frames.is_none() {
            let end = self.heard + bytes.len();
            if bytes == &answers.bytes()[self.heard..end] {
                self.heard = end % answers.size();
                return Ok((end / answers.size()) as u64);
            }
        }
        let heard = &answers.bytes()[..self.heard];
        let frames = self.frames.get_or_insert_with(|| FrameReader::new(heard));
        frames.feed(bytes);
        let mut count = 0;
        while let Some(incoming) = frames.next_incoming()? {
            match incoming {
                Incoming::Message(opcode, payload) => {
                    self.script.check(opcode, &payload)?;
                    count += 1;
                }
                Incoming::Ping(payload) => pongs.extend(client_frame(PONG, &payload, MASK)),
                Incoming::Pong => {}
                Incoming::Close(code, reason) => return Err(Failure::Closed(code, reason)),
            }
        }
        let rest = frames.rest();
        if let Some(rest) = rest.filter(|rest| answers.bytes().starts_with(rest)) {
            self.heard = rest.len() % answers.size();
            self.frames = None;
        }
        Ok(count)
    }
}

impl EchoClient {
    /// Takes over an open connection.
    pub(crate) fn new(open: Open, script: Arc<EchoScript>, in_flight: usize) -> Self {
        let behind = (!open.rest.is_empty()).then(|| FrameReader::new(&open.rest));
        Self {
            socket: open.socket,
            answers: AnswerReader {
                script,
                heard: 0,
                frames: behind,
            },
            in_flight,
            unsent: Unsent::default(),
            pending: PendingRequests::default(),
            pongs: Vec::new(),
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let asking = &self.answers.script.asking;
        if !self.pongs.is_empty() {
            let whole = self.unsent.write_begun(asking, &self.socket)?;
            if !whole || !self.flush_pongs()? {
                return Ok(());
            }
        }
        let asking = &self.answers.script.asking;
        Ok(self.unsent.write(asking, &self.socket)?)
    }

    /// Says whether all of them are out.
    fn flush_pongs(&mut self) -> Result<bool, Failure> {
        match (&self.socket).write(&self.pongs) {
            Ok(count) => {
                self.pongs.drain(..count);
                Ok(self.pongs.is_empty())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl LoadClient for EchoClient {
    fn socket(&self) -> &LoadSocket {
        &self.socket
    }

    fn begin(&mut self, interval: &mut Interval) -> Result<(), Failure> {
        self.answers.receive(&[], &mut self.pongs)?;
        let count = self.in_flight;
        self.pending.ask(count as u64, interval.now());
        self.unsent.add(count, &self.answers.script.asking);
        self.flush()
    }

    fn ready(
        &mut self,
        buffer: &mut ReadBuffer,
        interval: &mut Interval,
    ) -> Result<NextSocket, Failure> {
        let end = buffer.read_all(&self.socket, |bytes| {
            let now = interval.now();
            let count = self.answers.receive(bytes, &mut self.pongs)?;
            if count > 0 {
                self.pending.answer(count, now, interval)?;
                self.pending.ask(count, now);
                self.unsent.add(count as usize, &self.answers.script.asking);
            }
            Ok::<_, Failure>(ControlFlow::Continue(()))
        })?;
        if end == ReadEnd::Closed {
            return Err(Failure::Ended);
        }
        self.flush()?;
        Ok(NextSocket::Same)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::wire::frame::{CLOSE, PING, TEXT, close_payload};

    /// A client with two messages in flight, and the server's end of it.
    fn client() -> (EchoClient, TcpStream, ReadBuffer, Interval) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        server
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let open = Open {
            number: 0,
            socket: socket.into(),
            rest: Vec::new(),
            took: Duration::ZERO,
        };
        let script = Arc::new(EchoScript::new(TEXT, b"hello", b"hello", 2));
        let mut interval = Interval::new(Instant::now());
        let mut client = EchoClient::new(open, script, 2);
        client.begin(&mut interval).unwrap();
        (client, server, ReadBuffer::new(READ_SIZE), interval)
    }

    fn heard(server: &mut TcpStream, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        server.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_answer_is_followed_by_a_message_however_it_is_cut() {
        let bytes = server_frame(TEXT, b"hello").repeat(2);
        let frame = client_frame(TEXT, b"hello", MASK);
        for cut in 1..bytes.len() {
            let (mut client, mut server, mut buffer, mut interval) = client();
            assert_eq!(heard(&mut server, frame.len() * 2), frame.repeat(2));
            for part in [&bytes[..cut], &bytes[cut..]] {
                server.write_all(part).unwrap();
                client.ready(&mut buffer, &mut interval).unwrap();
            }
            assert_eq!(
                heard(&mut server, frame.len() * 2),
                frame.repeat(2),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_ping_between_answers_gets_its_pong_and_the_rest_goes_on() {
        let (mut client, mut server, mut buffer, mut interval) = client();
        let answer = server_frame(TEXT, b"hello");
        let frame = client_frame(TEXT, b"hello", MASK);
        heard(&mut server, frame.len() * 2);
        let bytes = [
            &answer[..],
            &server_frame(PING, b"?"),
            &answer,
            &answer[..3],
        ]
        .concat();
        server.write_all(&bytes).unwrap();
        client.ready(&mut buffer, &mut interval).unwrap();
        let expected = [client_frame(PONG, b"?", MASK), frame.repeat(2)].concat();
        assert_eq!(heard(&mut server, expected.len()), expected);
        assert!(client.answers.frames.is_none());
        server.write_all(&answer[3..]).unwrap();
        client.ready(&mut buffer, &mut interval).unwrap();
        assert_eq!(heard(&mut server, frame.len()), frame);
    }

    #[test]
    fn wrong_answers_closes_and_ends_are_told_apart() {
        for (bytes, kind) in [
            (server_frame(TEXT, b"hullo"), "wrong echo"),
            (server_frame(TEXT, b"hello").repeat(3), "wrong echo"),
            (server_frame(CLOSE, &close_payload(1001)), "closed 1001"),
            (Vec::new(), "ended"),
        ] {
            let (mut client, mut server, mut buffer, mut interval) = client();
            heard(&mut server, client_frame(TEXT, b"hello", MASK).len() * 2);
            server.write_all(&bytes).unwrap();
            drop(server);
            buffer.hung_up = true;
            assert_eq!(
                client.ready(&mut buffer, &mut interval).unwrap_err().kind(),
                kind
            );
        }
    }
}
