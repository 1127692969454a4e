//! One WebSocket connection under load: so many messages unanswered, each answer checked.
//!
//! All messages are equal, so the answers are one endless repetition of the same frame. What was
//! read is compared with it at memory speed; only what differs (a ping, a close, fragments, a wrong
//! answer) is parsed. What a read answers is asked again in one write.
//!
//! Invariant: asked and not yet answered messages are as many as `in_flight`, always.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use crate::client::load_client::{Lap, READ_SIZE, Talk, Turn};
use crate::client::opening::Open;
use crate::client::pending::Flights;
use crate::measure::failure::Failure;
use crate::wire::frame::{Frames, Incoming, PONG, client_frame, server_frame};
use crate::wire::repeat::{Debt, Repeat};

/// Prepared frames for one write, in bytes; a larger single frame is prepared once.
const WRITE_SIZE: usize = 256 << 10;

/// The key that all frames are masked with: one that changes every byte.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x3c];

/// What all connections of a run say, and what they must hear; prepared once.
#[derive(Debug)]
pub(crate) struct Script {
    opcode: u8,
    answer: Vec<u8>,
    /// Masked frames, as many as go into one write.
    asking: Repeat,
    /// The answers' frames, enough for one read that begins anywhere in a frame.
    answers: Repeat,
}

impl Script {
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
}

/// One connection that keeps its messages in flight.
#[derive(Debug)]
pub(crate) struct Conversation {
    socket: TcpStream,
    script: Arc<Script>,
    in_flight: usize,
    owed: Debt,
    /// Bytes of the current answer that were read already.
    heard: usize,
    /// Pongs that wait for a frame's end.
    pongs: Vec<u8>,
    flights: Flights,
    hearing: Hearing,
}

#[derive(Debug)]
enum Hearing {
    /// Everything so far was as expected.
    Compared,
    /// Something else came; parsing until a frame ends where the script can go on.
    Parsed(Frames),
}

impl Conversation {
    /// Takes over an open connection.
    pub(crate) fn new(open: Open, script: Arc<Script>, in_flight: usize) -> Self {
        let mut frames = Frames::default();
        frames.feed(&open.rest);
        Self {
            socket: open.socket,
            script,
            in_flight,
            owed: Debt::default(),
            heard: 0,
            pongs: Vec::new(),
            flights: Flights::default(),
            hearing: if open.rest.is_empty() {
                Hearing::Compared
            } else {
                Hearing::Parsed(frames)
            },
        }
    }

    fn ask(&mut self, count: u64, now_ns: u64) {
        self.flights.ask(count, now_ns);
        self.owed.add(count as usize, &self.script.asking);
    }

    /// Counts the answers in what was read.
    fn hear(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        let script = &self.script;
        if let Hearing::Compared = self.hearing {
            let end = self.heard + bytes.len();
            if bytes == &script.answers.bytes()[self.heard..end] {
                self.heard = end % script.answers.size();
                return Ok((end / script.answers.size()) as u64);
            }
            let mut frames = Frames::default();
            frames.feed(&script.answers.bytes()[..self.heard]);
            self.hearing = Hearing::Parsed(frames);
        }
        self.parse(bytes)
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        let Hearing::Parsed(frames) = &mut self.hearing else {
            return Ok(0);
        };
        frames.feed(bytes);
        let mut answers = 0;
        while let Some(incoming) = frames.next_incoming()? {
            match incoming {
                Incoming::Message(opcode, payload) => {
                    check(&self.script, opcode, &payload)?;
                    answers += 1;
                }
                Incoming::Ping(payload) => self.pongs.extend(client_frame(PONG, &payload, MASK)),
                Incoming::Pong => {}
                Incoming::Close(code, reason) => return Err(Failure::Closed(code, reason)),
            }
        }
        if let Some(rest) = frames
            .rest()
            .filter(|rest| self.script.answers.bytes().starts_with(rest))
        {
            self.heard = rest.len() % self.script.answers.size();
            self.hearing = Hearing::Compared;
        }
        Ok(answers)
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if !self.pongs.is_empty() {
            let begun = self.owed.pay_begun(&self.script.asking, &self.socket);
            if !begun.map_err(Failure::of_open)? || !self.flush_pongs()? {
                return Ok(());
            }
        }
        self.owed
            .pay(&self.script.asking, &self.socket)
            .map_err(Failure::of_open)
    }

    /// Says whether all of them are out.
    fn flush_pongs(&mut self) -> Result<bool, Failure> {
        match (&self.socket).write(&self.pongs) {
            Ok(count) => {
                self.pongs.drain(..count);
                Ok(self.pongs.is_empty())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(Failure::of_open(error)),
        }
    }
}

impl Talk for Conversation {
    fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn begin(&mut self, lap: &mut Lap) -> Result<(), Failure> {
        self.parse(&[])?;
        self.ask(self.in_flight as u64, lap.now());
        self.flush()
    }

    fn ready(&mut self, lap: &mut Lap) -> Result<Turn, Failure> {
        loop {
            let count = match self.socket.read(&mut lap.bytes) {
                Ok(0) => return Err(Failure::Ended),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(Failure::of_open(error)),
            };
            let now = lap.now();
            let answers = self.hear(&lap.bytes[..count])?;
            if answers > 0 {
                self.flights.land(answers, now, lap)?;
                self.ask(answers, now);
            }
            if count < lap.bytes.len() && !lap.hung_up {
                break;
            }
        }
        self.flush()?;
        Ok(Turn::Same)
    }
}

fn check(script: &Script, opcode: u8, payload: &[u8]) -> Result<(), Failure> {
    if opcode == script.opcode && payload == script.answer {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
    Err(Failure::WrongEcho(format!(
        "opcode {opcode} with {} bytes {shown:?} instead of opcode {} with {} bytes",
        payload.len(),
        script.opcode,
        script.answer.len()
    )))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::wire::frame::{CLOSE, PING, TEXT, close_payload};

    /// A conversation with two messages in flight, and the server's end of it.
    fn conversation() -> (Conversation, TcpStream, Lap) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        server
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let open = Open {
            number: 0,
            socket,
            rest: Vec::new(),
            took: Duration::ZERO,
        };
        let script = Arc::new(Script::new(TEXT, b"hello", b"hello", 2));
        let mut lap = Lap::new(Instant::now());
        let mut conversation = Conversation::new(open, script, 2);
        conversation.begin(&mut lap).unwrap();
        (conversation, server, lap)
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
            let (mut conversation, mut server, mut lap) = conversation();
            assert_eq!(heard(&mut server, frame.len() * 2), frame.repeat(2));
            for part in [&bytes[..cut], &bytes[cut..]] {
                server.write_all(part).unwrap();
                conversation.ready(&mut lap).unwrap();
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
        let (mut conversation, mut server, mut lap) = conversation();
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
        conversation.ready(&mut lap).unwrap();
        let expected = [client_frame(PONG, b"?", MASK), frame.repeat(2)].concat();
        assert_eq!(heard(&mut server, expected.len()), expected);
        assert!(matches!(conversation.hearing, Hearing::Compared));
        server.write_all(&answer[3..]).unwrap();
        conversation.ready(&mut lap).unwrap();
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
            let (mut conversation, mut server, mut lap) = conversation();
            heard(&mut server, client_frame(TEXT, b"hello", MASK).len() * 2);
            server.write_all(&bytes).unwrap();
            drop(server);
            lap.hung_up = true;
            assert_eq!(conversation.ready(&mut lap).unwrap_err().kind(), kind);
        }
    }
}
