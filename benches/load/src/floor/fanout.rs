//! The fan-out of the floor: what one connection sends is written to all others.
//!
//! A connection is a member once its handshake is complete. With its first frame it becomes a
//! publisher, to which nothing is written any more; that frame tells the size of all that follow, so
//! that they are counted by bytes and unmasked, and nothing else. All frames that are read in one
//! batch of events are merged into one write a member: less than that no server can do.
//!
//! As a floor of many small rooms, it writes to a few members in turn instead, and back to the
//! publisher as if that were an acknowledgement ([`Audience::InTurn`]).
//!
//! Invariant: a member's bytes wait in its `pending` as soon as its socket was full once, so none
//! is lost or overtaken.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;

use slab::Slab;

use crate::floor::handler::{Handler, Liveness, READ_SIZE};
use crate::floor::handshake::handshake;
use crate::wire::frame::{CLOSE, Header, server_frame, unmask};
use crate::wire::read::{ReadBuffer, ReadEnd};

/// The longest handshake or frame, in bytes, above what the generator sends; a longer one ends its
/// connection.
const HELD_SIZE_MAX: usize = 2 << 20;

/// Bytes that wait for a member, at most; a member that reads so slowly is cut, as a server would.
const PENDING_SIZE_MAX: usize = 64 << 20;

/// Whom the frames of one batch of events are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// All members.
    All,
    /// So many members in turn, and the publisher.
    InTurn(usize),
}

#[derive(Debug)]
enum FanoutStage {
    /// Collecting the handshake.
    Handshake,
    /// Everything that others send goes here.
    Subscriber,
    /// Everything from here goes to the members.
    Publisher(LearnedHeader),
}

/// What all frames of a publisher have in common.
#[derive(Clone, Copy, Debug)]
struct LearnedHeader {
    opcode: u8,
    head_size: usize,
    frame_size: usize,
}

#[derive(Debug)]
struct FanoutConnection {
    socket: TcpStream,
    receiver: FanoutReceiver,
    /// Bytes that the socket didn't take yet.
    pending: Vec<u8>,
}

/// What a connection sends.
#[derive(Debug)]
struct FanoutReceiver {
    stage: FanoutStage,
    /// An unfinished handshake or frame.
    held: Vec<u8>,
}

/// All connections of one thread.
#[derive(Debug)]
pub(crate) struct FanoutHandler {
    connections: Slab<FanoutConnection>,
    buffer: ReadBuffer,
    /// Frames that were read and not yet written to the members.
    merged: Vec<u8>,
    audience: Audience,
    /// Whose turn is next, in [`Audience::InTurn`].
    next: usize,
    /// The last one to publish.
    publisher: usize,
}

impl FanoutHandler {
    /// Begins with nobody.
    pub(crate) fn new(audience: Audience) -> Self {
        Self {
            connections: Slab::new(),
            buffer: ReadBuffer::new(READ_SIZE),
            merged: Vec::new(),
            audience,
            next: 0,
            publisher: 0,
        }
    }

    fn write_to_all(&mut self) {
        let merged = &self.merged;
        self.connections
            .retain(|_, connection| match connection.receiver.stage {
                FanoutStage::Subscriber => connection.send(merged).is_ok(),
                FanoutStage::Handshake | FanoutStage::Publisher(_) => true,
            });
    }

    fn write_in_turn(&mut self, count: usize) {
        self.write_to(self.publisher);
        let keys = self.connections.capacity();
        let (mut written, mut looked) = (0, 0);
        while written < count && looked < keys {
            let key = self.next % keys;
            (self.next, looked) = (key + 1, looked + 1);
            let connection = self.connections.get(key);
            let stage = connection.map(|connection| &connection.receiver.stage);
            if let Some(FanoutStage::Subscriber) = stage {
                self.write_to(key);
                written += 1;
            }
        }
    }

    fn write_to(&mut self, key: usize) {
        let connection = self.connections.get_mut(key);
        if connection.is_some_and(|connection| connection.send(&self.merged).is_err()) {
            self.connections.remove(key);
        }
    }
}

impl Handler for FanoutHandler {
    fn vacant_key(&self) -> usize {
        self.connections.vacant_key()
    }

    fn accept(&mut self, socket: TcpStream) {
        self.connections.insert(FanoutConnection {
            socket,
            receiver: FanoutReceiver {
                stage: FanoutStage::Handshake,
                held: Vec::new(),
            },
            pending: Vec::new(),
        });
    }

    fn ready(&mut self, key: usize, hung_up: bool) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        self.buffer.hung_up = hung_up;
        let before = self.merged.len();
        let received = connection.receive(&mut self.buffer, &mut self.merged);
        if self.merged.len() > before {
            self.publisher = key;
        }
        if !matches!(received, Ok(Liveness::Open)) {
            self.connections.remove(key);
        }
    }

    /// Writes what was read.
    fn end_batch(&mut self) -> io::Result<()> {
        if self.merged.is_empty() {
            return Ok(());
        }
        match self.audience {
            Audience::All => self.write_to_all(),
            Audience::InTurn(count) => self.write_in_turn(count),
        }
        self.merged.clear();
        Ok(())
    }
}

impl FanoutConnection {
    /// Reads what came, and adds a publisher's frames to `merged`.
    fn receive(&mut self, buffer: &mut ReadBuffer, merged: &mut Vec<u8>) -> io::Result<Liveness> {
        self.flush()?;
        let (socket, receiver) = (&self.socket, &mut self.receiver);
        let end = buffer.read_all(socket, |bytes| {
            Ok::<_, io::Error>(match receiver.take(bytes, socket, merged)? {
                Liveness::Open => ControlFlow::Continue(()),
                Liveness::Ended => ControlFlow::Break(()),
            })
        })?;
        Ok(match end {
            ReadEnd::Drained => Liveness::Open,
            ReadEnd::Closed | ReadEnd::Stopped => Liveness::Ended,
        })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        if self.pending.is_empty() {
            sent = match self.socket.write(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
        }
        self.pending.extend_from_slice(&bytes[sent..]);
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

impl FanoutReceiver {
    fn take(
        &mut self,
        bytes: &[u8],
        mut socket: &TcpStream,
        merged: &mut Vec<u8>,
    ) -> io::Result<Liveness> {
        self.held.extend_from_slice(bytes);
        if let FanoutStage::Handshake = self.stage {
            let Some((answer, size)) = handshake(&self.held)? else {
                return self.within_bounds();
            };
            socket.write_all(answer.as_bytes())?;
            self.held.drain(..size);
            self.stage = FanoutStage::Subscriber;
        }
        if let FanoutStage::Subscriber = self.stage {
            let Some(header) = Header::parse(&self.held) else {
                return self.within_bounds();
            };
            if header.opcode == CLOSE || header.payload_size > HELD_SIZE_MAX as u64 {
                _ = socket.write(&server_frame(CLOSE, &[])); // it is leaving anyway
                return Ok(Liveness::Ended);
            }
            self.stage = FanoutStage::Publisher(LearnedHeader {
                opcode: header.opcode,
                head_size: header.size,
                frame_size: header.size + header.payload_size as usize,
            });
        }
        if let FanoutStage::Publisher(learned) = self.stage {
            let mut frames = self.held.chunks_exact_mut(learned.frame_size);
            (&mut frames).for_each(|frame| learned.translate(frame, merged));
            let rest = frames.into_remainder().len();
            self.held.drain(..self.held.len() - rest);
        }
        self.within_bounds()
    }

    fn within_bounds(&self) -> io::Result<Liveness> {
        match self.held.len() <= HELD_SIZE_MAX + 14 {
            true => Ok(Liveness::Open),
            false => Ok(Liveness::Ended),
        }
    }
}

impl LearnedHeader {
    /// Turns a client's frame into a server's.
    fn translate(self, frame: &mut [u8], merged: &mut Vec<u8>) {
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
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::wire::frame::{TEXT, client_frame};

    struct Scene {
        handler: FanoutHandler,
        listener: TcpListener,
    }

    impl Scene {
        fn new(audience: Audience) -> Self {
            Self {
                handler: FanoutHandler::new(audience),
                listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            }
        }

        /// A client behind its handshake, and its key.
        fn client(&mut self) -> (TcpStream, usize) {
            let mut client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let patience = Some(Duration::from_secs(5));
            client.set_read_timeout(patience).unwrap();
            let socket = self.listener.accept().unwrap().0;
            let key = self.handler.vacant_key();
            self.handler.accept(socket);
            client
                .write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n")
                .unwrap();
            self.handler.ready(key, false);
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
        let mut scene = Scene::new(Audience::All);
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
                scene.handler.ready(key, false);
            }
            scene.handler.end_batch().unwrap();
            let mut received = vec![0; expected.len()];
            member.read_exact(&mut received).unwrap();
            assert_eq!(received, expected, "cut at {cut}");
        }
    }

    #[test]
    fn members_are_written_to_in_turn_and_the_publisher_each_time() {
        let mut scene = Scene::new(Audience::InTurn(2));
        let mut members: Vec<TcpStream> = (0..3).map(|_| scene.client().0).collect();
        let (mut publisher, key) = scene.client();
        for word in [b"one", b"two", b"six"] {
            let frame = client_frame(TEXT, word, [1, 2, 3, 4]);
            publisher.write_all(&frame).unwrap();
            scene.handler.ready(key, false);
            scene.handler.end_batch().unwrap();
        }
        drop(scene);
        let heard = |socket: &mut TcpStream| {
            let mut all = Vec::new();
            socket.read_to_end(&mut all).unwrap();
            all
        };
        let words = |words: &[&[u8]]| -> Vec<u8> {
            let frames = words.iter().map(|word| server_frame(TEXT, word));
            frames.flatten().collect()
        };
        assert_eq!(heard(&mut publisher), words(&[b"one", b"two", b"six"]));
        assert_eq!(heard(&mut members[0]), words(&[b"one", b"two"]));
        assert_eq!(heard(&mut members[1]), words(&[b"one", b"six"]));
        assert_eq!(heard(&mut members[2]), words(&[b"two", b"six"]));
    }

    #[test]
    fn a_close_before_any_message_is_answered() {
        let mut scene = Scene::new(Audience::All);
        let (mut client, key) = scene.client();
        client
            .write_all(&client_frame(CLOSE, &[3, 232], [0; 4]))
            .unwrap();
        scene.handler.ready(key, false);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, server_frame(CLOSE, &[]));
    }
}
