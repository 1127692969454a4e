//! The fan-out of the floor: what one connection sends is written to all others.
//!
//! Whoever completes the handshake is a member; whoever sends a frame becomes a publisher and is
//! written to no more. The first frame of a publisher teaches its size; from there on so many bytes
//! are so many frames, which are unmasked and nothing else. What was read in one batch of news is
//! merged into one write a member: less than that no server can do.
//!
//! Invariant: a member's bytes wait in its `pending` as soon as its socket was full once, so none
//! is lost or overtaken.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use slab::Slab;

use crate::floor::echo::{Fate, READ_SIZE, handshake};
use crate::floor::handler::Hall;
use crate::wire::frame::{CLOSE, Header, server_frame, unmask};

/// The longest handshake or frame, in bytes; whoever sends more is cut.
const HELD_SIZE_MAX: usize = 2 << 20;

/// Bytes that wait for a member at most; whoever reads so slowly is cut.
const PENDING_SIZE_MAX: usize = 64 << 20;

#[derive(Debug)]
enum Stage {
    /// Collecting the handshake.
    Handshake,
    /// Everything that others send goes here.
    Member,
    /// Everything from here goes to the members.
    Publisher(Lesson),
}

/// What all frames of a publisher have in common.
#[derive(Clone, Copy, Debug)]
struct Lesson {
    opcode: u8,
    head_size: usize,
    frame_size: usize,
}

#[derive(Debug)]
struct Guest {
    socket: TcpStream,
    stage: Stage,
    /// An unfinished handshake or frame.
    held: Vec<u8>,
    /// Bytes that the socket didn't take yet.
    pending: Vec<u8>,
}

/// All connections of one thread.
#[derive(Debug)]
pub(crate) struct Crowd {
    guests: Slab<Guest>,
    bytes: Vec<u8>,
    /// Frames that were read and not yet written to the members.
    merged: Vec<u8>,
}

impl Crowd {
    /// Begins with nobody.
    pub(crate) fn new() -> Self {
        Self {
            guests: Slab::new(),
            bytes: vec![0; READ_SIZE],
            merged: Vec::new(),
        }
    }
}

impl Hall for Crowd {
    fn vacant_key(&self) -> usize {
        self.guests.vacant_key()
    }

    fn enter(&mut self, socket: TcpStream) {
        self.guests.insert(Guest {
            socket,
            stage: Stage::Handshake,
            held: Vec::new(),
            pending: Vec::new(),
        });
    }

    fn ready(&mut self, key: usize, hung_up: bool) {
        let Some(guest) = self.guests.get_mut(key) else {
            return;
        };
        let heard = guest.hear(&mut self.bytes, hung_up, &mut self.merged);
        if !matches!(heard, Ok(Fate::Stays)) {
            self.guests.remove(key);
        }
    }

    /// Writes what was read to all members.
    fn batch_read(&mut self) -> io::Result<()> {
        if self.merged.is_empty() {
            return Ok(());
        }
        let merged = &self.merged;
        self.guests.retain(|_, guest| match guest.stage {
            Stage::Member => guest.say(merged).is_ok(),
            Stage::Handshake | Stage::Publisher(_) => true,
        });
        self.merged.clear();
        Ok(())
    }
}

impl Guest {
    fn hear(&mut self, bytes: &mut [u8], hung_up: bool, merged: &mut Vec<u8>) -> io::Result<Fate> {
        self.flush()?;
        loop {
            let count = match self.socket.read(bytes) {
                Ok(0) => return Ok(Fate::Ends),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Fate::Stays),
                Err(error) => return Err(error),
            };
            if self.take(&bytes[..count], merged)? == Fate::Ends {
                return Ok(Fate::Ends);
            }
            if count < bytes.len() && !hung_up {
                return Ok(Fate::Stays);
            }
        }
    }

    fn take(&mut self, bytes: &[u8], merged: &mut Vec<u8>) -> io::Result<Fate> {
        self.held.extend_from_slice(bytes);
        if let Stage::Handshake = self.stage {
            let Some((answer, size)) = handshake(&self.held)? else {
                return self.within_bounds();
            };
            (&self.socket).write_all(answer.as_bytes())?;
            self.held.drain(..size);
            self.stage = Stage::Member;
        }
        if let Stage::Member = self.stage {
            let Some(header) = Header::parse(&self.held) else {
                return self.within_bounds();
            };
            if header.opcode == CLOSE || header.payload_size > HELD_SIZE_MAX as u64 {
                _ = (&self.socket).write(&server_frame(CLOSE, &[])); // it is leaving anyway
                return Ok(Fate::Ends);
            }
            self.stage = Stage::Publisher(Lesson {
                opcode: header.opcode,
                head_size: header.size,
                frame_size: header.size + header.payload_size as usize,
            });
        }
        if let Stage::Publisher(lesson) = self.stage {
            let mut frames = self.held.chunks_exact_mut(lesson.frame_size);
            (&mut frames).for_each(|frame| lesson.turn(frame, merged));
            let rest = frames.into_remainder().len();
            self.held.drain(..self.held.len() - rest);
        }
        self.within_bounds()
    }

    fn within_bounds(&self) -> io::Result<Fate> {
        match self.held.len() <= HELD_SIZE_MAX + 14 {
            true => Ok(Fate::Stays),
            false => Ok(Fate::Ends),
        }
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut said = 0;
        if self.pending.is_empty() {
            said = match self.socket.write(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
        }
        self.pending.extend_from_slice(&bytes[said..]);
        match self.pending.len() <= PENDING_SIZE_MAX {
            true => Ok(()),
            false => Err(ErrorKind::OutOfMemory.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.socket.write(&self.pending) {
                Ok(count) => _ = self.pending.drain(..count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Lesson {
    /// Turns a client's frame into a server's.
    fn turn(self, frame: &mut [u8], merged: &mut Vec<u8>) {
        let (head, payload) = frame.split_at_mut(self.head_size);
        if let Some(Header {
            mask: Some(mask), ..
        }) = Header::parse(head)
        {
            unmask(payload, mask);
        }
        merged.extend_from_slice(&server_frame(self.opcode, payload));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::wire::frame::{TEXT, client_frame};

    struct Scene {
        crowd: Crowd,
        listener: TcpListener,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                crowd: Crowd::new(),
                listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            }
        }

        /// A client behind its handshake, and its key.
        fn client(&mut self) -> (TcpStream, usize) {
            let mut client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let patience = Some(Duration::from_secs(5));
            client.set_read_timeout(patience).unwrap();
            let socket = self.listener.accept().unwrap().0;
            let key = self.crowd.vacant_key();
            self.crowd.enter(socket);
            client
                .write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n")
                .unwrap();
            self.crowd.ready(key, false);
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                answer.push(byte[0]);
            }
            (client, key)
        }
    }

    #[test]
    fn all_others_get_every_frame_however_it_is_cut() {
        let mut scene = Scene::new();
        let (mut member, _) = scene.client();
        let (mut publisher, key) = scene.client();
        let frames = [b"one", b"two"].map(|word| client_frame(TEXT, word, [1, 2, 3, 4]));
        let expected = [b"one", b"two"]
            .map(|word| server_frame(TEXT, word))
            .concat();
        let bytes = frames.concat();
        for cut in 1..bytes.len() {
            for part in [&bytes[..cut], &bytes[cut..]] {
                publisher.write_all(part).unwrap();
                scene.crowd.ready(key, false);
            }
            scene.crowd.batch_read().unwrap();
            let mut heard = vec![0; expected.len()];
            member.read_exact(&mut heard).unwrap();
            assert_eq!(heard, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_close_before_any_message_is_answered() {
        let mut scene = Scene::new();
        let (mut client, key) = scene.client();
        client
            .write_all(&client_frame(CLOSE, &[3, 232], [0; 4]))
            .unwrap();
        scene.crowd.ready(key, false);
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, server_frame(CLOSE, &[]));
    }
}
