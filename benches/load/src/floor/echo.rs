//! The echo of the floor: a connection learns its first frame, then only counts bytes.

use std::io::{self, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::rc::Rc;

use slab::Slab;

use crate::floor::handler::{Handler, Liveness, READ_SIZE};
use crate::floor::handshake::handshake;
use crate::wire::frame::{CLOSE, Header, server_frame, unmask};
use crate::wire::read::{ReadBuffer, ReadEnd};
use crate::wire::repeat::{Repeat, Unsent};

/// The longest handshake or first frame, in bytes, a little more than `bench echo --size` allows; a
/// longer one ends its connection.
const FIRST_SIZE_MAX: usize = 17 << 20;

/// LearnedFrames that are kept for the next connection; a run of equal frames needs one.
const LEARNED_MAX: usize = 16;

/// What a first frame taught.
#[derive(Debug)]
struct Learned {
    frame: Vec<u8>,
    /// Answers to as many frames as end in one read.
    answers: Repeat,
}

impl Learned {
    fn of(header: &Header, frame: &[u8]) -> Self {
        let mut payload = frame[header.size..].to_vec();
        unmask(&mut payload, header.mask.unwrap_or_default());
        let answer = server_frame(header.opcode, &payload);
        Self {
            frame: frame.into(),
            answers: Repeat::new(&answer, READ_SIZE / frame.len() + 1),
        }
    }
}

/// LearnedFrames that connections with equal frames share.
#[derive(Debug, Default)]
struct LearnedFrames {
    learned: Vec<Rc<Learned>>,
}

impl LearnedFrames {
    fn learn(&mut self, header: &Header, frame: &[u8]) -> Rc<Learned> {
        if let Some(known) = self.learned.iter().find(|learned| learned.frame == frame) {
            return Rc::clone(known);
        }
        let learned = Rc::new(Learned::of(header, frame));
        if self.learned.len() >= LEARNED_MAX {
            self.learned.remove(0);
        }
        self.learned.push(Rc::clone(&learned));
        learned
    }
}

/// Connections that are answered, each for itself.
#[derive(Debug)]
pub(crate) struct EchoHandler {
    connections: Slab<EchoConnection>,
    frames: LearnedFrames,
    buffer: ReadBuffer,
}

impl EchoHandler {
    /// Begins with nobody.
    pub(crate) fn new() -> Self {
        Self {
            connections: Slab::new(),
            frames: LearnedFrames::default(),
            buffer: ReadBuffer::new(READ_SIZE),
        }
    }
}

impl Handler for EchoHandler {
    fn vacant_key(&self) -> usize {
        self.connections.vacant_key()
    }

    fn accept(&mut self, socket: TcpStream) {
        self.connections.insert(EchoConnection::new(socket));
    }

    fn ready(&mut self, key: usize, hung_up: bool) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        self.buffer.hung_up = hung_up;
        let liveness = connection.ready(&mut self.buffer, &mut self.frames);
        if !matches!(liveness, Ok(Liveness::Open)) {
            self.connections.remove(key);
        }
    }
}

#[derive(Debug)]
enum EchoStage {
    /// Collecting the handshake.
    Handshake(Vec<u8>),
    /// Collecting the first frame.
    First(Vec<u8>),
    /// Counting bytes.
    Counting(Counting),
}

#[derive(Debug)]
struct Counting {
    learned: Rc<Learned>,
    /// Bytes of a frame that has begun.
    carried: usize,
    unsent: Unsent,
}

/// One connection of the floor.
#[derive(Debug)]
struct EchoConnection {
    socket: TcpStream,
    stage: EchoStage,
}

impl EchoConnection {
    /// Takes a connection that was just accepted; the socket must not block.
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            stage: EchoStage::Handshake(Vec::new()),
        }
    }

    /// Reads what came, and answers.
    fn ready(
        &mut self,
        buffer: &mut ReadBuffer,
        frames: &mut LearnedFrames,
    ) -> io::Result<Liveness> {
        let (socket, stage) = (&self.socket, &mut self.stage);
        let end = buffer.read_all(socket, |bytes| {
            let liveness = match stage {
                EchoStage::Counting(counting) => {
                    counting.count(bytes.len(), socket)?;
                    Liveness::Open
                }
                EchoStage::Handshake(_) | EchoStage::First(_) => {
                    stage.learn(bytes, socket, frames)?
                }
            };
            Ok::<_, io::Error>(match liveness {
                Liveness::Open => ControlFlow::Continue(()),
                Liveness::Ended => ControlFlow::Break(()),
            })
        })?;
        if end != ReadEnd::Drained {
            return Ok(Liveness::Ended);
        }
        // The socket may have room again for what it didn't take before.
        if let EchoStage::Counting(counting) = stage {
            counting.unsent.write(&counting.learned.answers, socket)?;
        }
        Ok(Liveness::Open)
    }
}

impl EchoStage {
    /// Takes bytes of the handshake or the first frame; answers once they are whole.
    fn learn(
        &mut self,
        bytes: &[u8],
        mut socket: &TcpStream,
        frames: &mut LearnedFrames,
    ) -> io::Result<Liveness> {
        let (Self::Handshake(first) | Self::First(first)) = self else {
            return Ok(Liveness::Open);
        };
        first.extend_from_slice(bytes);
        if first.len() > FIRST_SIZE_MAX {
            return Ok(Liveness::Ended);
        }
        if let Self::Handshake(head) = self {
            let Some((answer, size)) = handshake(head)? else {
                return Ok(Liveness::Open);
            };
            socket.write_all(answer.as_bytes())?;
            *self = Self::First(head.split_off(size));
        }
        let Self::First(first) = self else {
            return Ok(Liveness::Open);
        };
        let Some(header) = Header::parse(first) else {
            return Ok(Liveness::Open);
        };
        let end = header.size as u64 + header.payload_size;
        if end > FIRST_SIZE_MAX as u64 {
            return Ok(Liveness::Ended);
        }
        let Some(frame) = first.get(..end as usize) else {
            return Ok(Liveness::Open);
        };
        let learned = frames.learn(&header, frame);
        if header.opcode == CLOSE {
            socket.write_all(&learned.answers.bytes()[..learned.answers.size()])?;
            return Ok(Liveness::Ended);
        }
        let count = first.len();
        let mut counting = Counting {
            learned,
            carried: 0,
            unsent: Unsent::default(),
        };
        counting.count(count, socket)?;
        *self = Self::Counting(counting);
        Ok(Liveness::Open)
    }
}

impl Counting {
    /// The whole work: bytes read, answers written.
    fn count(&mut self, read: usize, socket: &TcpStream) -> io::Result<()> {
        let bytes = self.carried + read;
        let size = self.learned.frame.len();
        self.carried = bytes % size;
        self.unsent.add(bytes / size, &self.learned.answers);
        self.unsent.write(&self.learned.answers, socket)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::wire::frame::{BINARY, client_frame};

    #[test]
    fn as_many_answers_go_out_as_frames_came_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = EchoConnection::new(listener.accept().unwrap().0);
        let (mut buffer, mut frames) = (ReadBuffer::new(READ_SIZE), LearnedFrames::default());
        let frame = client_frame(BINARY, b"hello", [1, 2, 3, 4]);
        client
            .write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n")
            .unwrap();
        connection.ready(&mut buffer, &mut frames).unwrap();
        let mut heard = [0; 500];
        while !heard.starts_with(b"HTTP/1.1 101") {
            assert!(client.read(&mut heard).unwrap() > 0);
        }
        for cut in 1..frame.len() * 3 {
            client.write_all(&frame.repeat(3)[..cut]).unwrap();
            connection.ready(&mut buffer, &mut frames).unwrap();
            client.write_all(&frame.repeat(3)[cut..]).unwrap();
            connection.ready(&mut buffer, &mut frames).unwrap();
            let mut answers = [0; 21];
            client.read_exact(&mut answers).unwrap();
            assert_eq!(
                answers[..],
                server_frame(BINARY, b"hello").repeat(3),
                "cut at {cut}"
            );
        }
        assert_eq!(frames.learned.len(), 1);
    }
}
