//! One WebSocket connection under load: so many messages unanswered, each answer checked.
//!
//! All messages are equal, so the answers are one endless repetition of the same frame. What was
//! read is compared with it at memory speed; only what differs (a ping, a close, fragments, a wrong
//! answer) is parsed. What a read answers is asked again in one write.
//!
//! Invariant: asked and not yet answered messages are as many as `in_flight`, always.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::client::Open;
use super::drive::{Lap, READ_SIZE, Talk, Turn};
use super::failure::Failure;
use super::frame::{Frames, Incoming, PONG, client_frame, server_frame};

/// Prepared frames for one write, in bytes; a larger single frame is prepared once.
const WRITE_SIZE: usize = 256 << 10;

/// The key that all frames are masked with: one that changes every byte.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x3c];

/// What all connections of a run say, and what they must hear; prepared once.
#[derive(Debug)]
pub struct Script {
    opcode: u8,
    answer: Vec<u8>,
    /// Masked frames, as many as go into one write.
    asking: Vec<u8>,
    asking_size: usize,
    /// The answers' frames, enough for one read that begins anywhere in a frame.
    answers: Vec<u8>,
    answer_size: usize,
}

impl Script {
    /// Prepares `in_flight` messages, and the answers to one read.
    pub fn new(opcode: u8, message: &[u8], answer: &[u8], in_flight: usize) -> Self {
        let frame = client_frame(opcode, message, MASK);
        let answer_frame = server_frame(opcode, answer);
        let asking_count = in_flight.min(WRITE_SIZE / frame.len()).max(1);
        let answers_count = READ_SIZE / answer_frame.len() + 2;
        Self {
            opcode,
            answer: answer.into(),
            asking_size: frame.len(),
            asking: frame.repeat(asking_count),
            answer_size: answer_frame.len(),
            answers: answer_frame.repeat(answers_count),
        }
    }
}

/// One connection that keeps its messages in flight.
#[derive(Debug)]
pub struct Conversation {
    socket: TcpStream,
    script: Arc<Script>,
    in_flight: usize,
    /// Bytes of prepared frames that the socket has not taken yet.
    owed: usize,
    /// Bytes of the current answer that were read already.
    heard: usize,
    /// Pongs that wait for a frame's end.
    pongs: Vec<u8>,
    flights: VecDeque<Flight>,
    hearing: Hearing,
}

/// Messages that were asked together.
#[derive(Debug)]
struct Flight {
    asked_ns: u64,
    count: u64,
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
    pub fn new(open: Open, script: Arc<Script>, in_flight: usize) -> Self {
        let mut frames = Frames::default();
        frames.feed(&open.rest);
        Self {
            socket: open.socket,
            script,
            in_flight,
            owed: 0,
            heard: 0,
            pongs: Vec::new(),
            flights: VecDeque::with_capacity(in_flight.min(64)),
            hearing: if open.rest.is_empty() {
                Hearing::Compared
            } else {
                Hearing::Parsed(frames)
            },
        }
    }

    fn ask(&mut self, count: u64, now: u64) {
        self.flights.push_back(Flight {
            asked_ns: now,
            count,
        });
        self.owed += count as usize * self.script.asking_size;
    }

    /// Counts the answers in what was read.
    fn hear(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        let script = &self.script;
        if let Hearing::Compared = self.hearing {
            if bytes == &script.answers[self.heard..self.heard + bytes.len()] {
                let heard = self.heard + bytes.len();
                self.heard = heard % script.answer_size;
                return Ok((heard / script.answer_size) as u64);
            }
            let mut frames = Frames::default();
            frames.feed(&script.answers[..self.heard]);
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
            .filter(|rest| self.script.answers.starts_with(rest))
        {
            self.heard = rest.len() % self.script.answer_size;
            self.hearing = Hearing::Compared;
        }
        Ok(answers)
    }

    /// Takes the answered messages off what is in flight, the oldest first.
    fn settle(&mut self, mut answers: u64, now: u64, lap: &mut Lap) -> Result<(), Failure> {
        while answers > 0 {
            let Some(flight) = self.flights.front_mut() else {
                return Err(Failure::WrongEcho("more answers than messages".into()));
            };
            let count = flight.count.min(answers);
            lap.answered(now.saturating_sub(flight.asked_ns), count);
            flight.count -= count;
            answers -= count;
            if flight.count == 0 {
                self.flights.pop_front();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        loop {
            let size = self.script.asking_size;
            let begun = (size - self.owed % size) % size;
            if begun == 0 && !self.pongs.is_empty() {
                if !self.flush_pongs()? {
                    return Ok(());
                }
            } else if self.owed == 0 {
                return Ok(());
            } else {
                let until = if self.pongs.is_empty() {
                    self.script.asking.len()
                } else {
                    size
                };
                let end = until.min(begun + self.owed);
                match (&self.socket).write(&self.script.asking[begun..end]) {
                    Ok(count) => self.owed -= count,
                    Err(error) => return blocked(error),
                }
            }
        }
    }

    /// Says whether all of them are out.
    fn flush_pongs(&mut self) -> Result<bool, Failure> {
        match (&self.socket).write(&self.pongs) {
            Ok(count) => {
                self.pongs.drain(..count);
                Ok(self.pongs.is_empty())
            }
            Err(error) => blocked(error).map(|()| false),
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
                Err(error) => {
                    blocked(error)?;
                    break;
                }
            };
            let now = lap.now();
            let answers = self.hear(&lap.bytes[..count])?;
            if answers > 0 {
                self.settle(answers, now, lap)?;
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

fn blocked(error: std::io::Error) -> Result<(), Failure> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Err(Failure::Reset),
        _ => Err(error.into()),
    }
}
