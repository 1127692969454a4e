//! One connection of the floor: learns its first frame, then only counts bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;

use tungstenite::handshake::derive_accept_key;

use crate::wire::frame::{CLOSE, Header, server_frame, unmask};
use crate::wire::repeat::{Debt, Repeat};

/// Bytes that are read at once.
pub(crate) const READ_SIZE: usize = 64 << 10;

/// The longest handshake or first frame, in bytes; whoever sends more is cut.
const FIRST_SIZE_MAX: usize = 17 << 20;

/// Lessons that are kept for the next connection; a run of equal frames needs one.
const LESSONS_MAX: usize = 16;

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits for its socket.
    Stays,
    /// It is over; drop it.
    Ends,
}

/// What a first frame taught.
#[derive(Debug)]
struct Lesson {
    frame: Vec<u8>,
    /// Answers to as many frames as end in one read.
    answers: Repeat,
}

impl Lesson {
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

/// Lessons that connections with equal frames share.
#[derive(Debug, Default)]
pub(crate) struct Lessons {
    learned: Vec<Rc<Lesson>>,
}

impl Lessons {
    fn learn(&mut self, header: &Header, frame: &[u8]) -> Rc<Lesson> {
        if let Some(known) = self.learned.iter().find(|lesson| lesson.frame == frame) {
            return Rc::clone(known);
        }
        let lesson = Rc::new(Lesson::of(header, frame));
        if self.learned.len() >= LESSONS_MAX {
            self.learned.remove(0);
        }
        self.learned.push(Rc::clone(&lesson));
        lesson
    }
}

#[derive(Debug)]
enum Stage {
    /// Collecting the handshake.
    Handshake(Vec<u8>),
    /// Collecting the first frame.
    First(Vec<u8>),
    /// Counting bytes.
    Echo(Echo),
}

#[derive(Debug)]
struct Echo {
    lesson: Rc<Lesson>,
    /// Bytes of a frame that has begun.
    carried: usize,
    owed: Debt,
}

/// One connection of the floor.
#[derive(Debug)]
pub(crate) struct Parrot {
    socket: TcpStream,
    stage: Stage,
}

impl Parrot {
    /// Takes a connection that was just accepted; the socket must not block.
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            stage: Stage::Handshake(Vec::new()),
        }
    }

    /// Reads into `bytes` and answers; `hung_up` says that only reading to the end tells the rest.
    pub(crate) fn ready(&mut self, bytes: &mut [u8], hung_up: bool, lessons: &mut Lessons) -> Fate {
        loop {
            let count = match self.socket.read(bytes) {
                Ok(0) => return Fate::Ends,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Fate::Ends,
            };
            let fate = match &mut self.stage {
                Stage::Echo(echo) => echo.count(count, &self.socket).map(|()| Fate::Stays),
                Stage::Handshake(_) | Stage::First(_) => self.learn(&bytes[..count], lessons),
            };
            match fate {
                Ok(Fate::Stays) => {}
                Ok(Fate::Ends) | Err(_) => return Fate::Ends,
            }
            if count < bytes.len() && !hung_up {
                return Fate::Stays;
            }
        }
        // The socket may have room again for what it didn't take before.
        let flushed = match &mut self.stage {
            Stage::Echo(echo) => echo.owed.pay(&echo.lesson.answers, &self.socket),
            Stage::Handshake(_) | Stage::First(_) => Ok(()),
        };
        if flushed.is_ok() {
            Fate::Stays
        } else {
            Fate::Ends
        }
    }

    fn learn(&mut self, bytes: &[u8], lessons: &mut Lessons) -> io::Result<Fate> {
        let (Stage::Handshake(first) | Stage::First(first)) = &mut self.stage else {
            return Ok(Fate::Stays);
        };
        first.extend_from_slice(bytes);
        if first.len() > FIRST_SIZE_MAX {
            return Ok(Fate::Ends);
        }
        if let Stage::Handshake(head) = &mut self.stage {
            let Some((answer, size)) = handshake(head)? else {
                return Ok(Fate::Stays);
            };
            (&self.socket).write_all(answer.as_bytes())?;
            self.stage = Stage::First(head.split_off(size));
        }
        let Stage::First(first) = &self.stage else {
            return Ok(Fate::Stays);
        };
        let Some(header) = Header::parse(first) else {
            return Ok(Fate::Stays);
        };
        let end = header.size as u64 + header.payload_size;
        if end > FIRST_SIZE_MAX as u64 {
            return Ok(Fate::Ends);
        }
        let Some(frame) = first.get(..end as usize) else {
            return Ok(Fate::Stays);
        };
        let lesson = lessons.learn(&header, frame);
        if header.opcode == CLOSE {
            (&self.socket).write_all(&lesson.answers.bytes()[..lesson.answers.size()])?;
            return Ok(Fate::Ends);
        }
        let count = first.len();
        let mut echo = Echo {
            lesson,
            carried: 0,
            owed: Debt::default(),
        };
        echo.count(count, &self.socket)?;
        self.stage = Stage::Echo(echo);
        Ok(Fate::Stays)
    }
}

impl Echo {
    /// The whole work: bytes read, answers written.
    fn count(&mut self, read: usize, socket: &TcpStream) -> io::Result<()> {
        let bytes = self.carried + read;
        let size = self.lesson.frame.len();
        self.carried = bytes % size;
        self.owed.add(bytes / size, &self.lesson.answers);
        self.owed.pay(&self.lesson.answers, socket)
    }
}

/// The answer to a handshake and the handshake's size; `None` while it is incomplete.
///
/// # Errors
///
/// It isn't a handshake.
pub(crate) fn handshake(head: &[u8]) -> io::Result<Option<(String, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let size = match request.parse(head).map_err(io::Error::other)? {
        httparse::Status::Complete(size) => size,
        httparse::Status::Partial => return Ok(None),
    };
    let key = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("sec-websocket-key"));
    let key = key.ok_or_else(|| io::Error::other("no handshake"))?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.value)
    );
    Ok(Some((answer, size)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::wire::frame::{BINARY, client_frame};

    #[test]
    fn as_many_answers_go_out_as_frames_came_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut parrot = Parrot::new(listener.accept().unwrap().0);
        let (mut bytes, mut lessons) = (vec![0; READ_SIZE], Lessons::default());
        let frame = client_frame(BINARY, b"hello", [1, 2, 3, 4]);
        client
            .write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n")
            .unwrap();
        parrot.ready(&mut bytes, false, &mut lessons);
        let mut heard = [0; 500];
        while !heard.starts_with(b"HTTP/1.1 101") {
            assert!(client.read(&mut heard).unwrap() > 0);
        }
        for cut in 1..frame.len() * 3 {
            client.write_all(&frame.repeat(3)[..cut]).unwrap();
            parrot.ready(&mut bytes, false, &mut lessons);
            client.write_all(&frame.repeat(3)[cut..]).unwrap();
            parrot.ready(&mut bytes, false, &mut lessons);
            let mut answers = [0; 21];
            client.read_exact(&mut answers).unwrap();
            assert_eq!(
                answers[..],
                server_frame(BINARY, b"hello").repeat(3),
                "cut at {cut}"
            );
        }
        assert_eq!(lessons.learned.len(), 1);
    }
}
