//! Commands: what other threads ask of a reactor, and the batches in which commands travel.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mio::net::TcpStream;

use super::freeze::FreezeOrder;
use super::limits::ReactorLimits;
use crate::base::{Fd, PeerAddress, RolloutPart};
use crate::proto::http::Response;

/// A connection that was accepted.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket; that of a Unix socket's peer has this type, too.
    pub(crate) socket: TcpStream,
    /// Where it came from.
    pub(crate) peer: PeerAddress,
    /// Whether TLS is spoken on it.
    pub(crate) is_tls: bool,
}

/// What is done with encrypted connections, which no upgrade can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncryptedOrder {
    /// No more are accepted, and those that wait for no answer are closed: WebSockets with 1012.
    Leave,
    /// All that are left are cut.
    Cut,
    /// They are accepted again.
    Accept,
}

/// One command for a reactor, as plain owned data.
#[derive(Debug)]
pub enum Command {
    /// Sends the whole frames at `start..end` of the batch's `frames`.
    Push {
        /// The receiver; a connection that is gone, or closes, gets nothing.
        fd: Fd,
        /// Index of the first byte.
        start: u32,
        /// Index behind the last byte.
        end: u32,
    },
    /// Sends a whole frame that is too large to be copied into a batch.
    PushLarge {
        /// The receiver; a connection that is gone, or closes, gets nothing.
        fd: Fd,
        /// One encoded frame.
        frame: Bytes,
    },
    /// Sends one frame to all members of a topic.
    Publish {
        /// The topic's name.
        topic: Arc<str>,
        /// One encoded frame, shared by all receivers.
        frame: SharedFrame,
    },
    /// Sends one frame to all members of a topic, in a way of its own.
    Deliver {
        /// The topic's name.
        topic: Arc<str>,
        /// The encoded frame, behind those that are told instead of older ones, if any.
        frames: Bytes,
        /// The way.
        way: DeliveryWay,
    },
    /// Sends one frame to every WebSocket.
    Broadcast(SharedFrame),
    /// Makes a connection a member of a topic.
    Subscribe {
        /// The new member.
        fd: Fd,
        /// The topic's name.
        topic: Arc<str>,
        /// Whole frames that are sent before any frame of the topic; may be empty.
        frames_first: Bytes,
    },
    /// Ends a connection's membership in a topic.
    Unsubscribe {
        /// The member.
        fd: Fd,
        /// The topic's name.
        topic: Arc<str>,
    },
    /// Starts the close handshake of a WebSocket; an HTTP connection is cut.
    Disconnect {
        /// The WebSocket.
        fd: Fd,
        /// Close code of RFC 6455 §7.4.
        code: u16,
        /// The reason; at most 123 bytes of it are sent.
        reason: Box<str>,
    },
    /// Reports, once, that at most `bytes_max` bytes wait for a connection.
    AwaitBuffer {
        /// The connection; nothing is reported for one that is gone.
        fd: Fd,
        /// The number of waiting bytes at which the report is made.
        bytes_max: usize,
        /// The one who is told.
        by: AwaitedBy,
    },
    /// Answers an HTTP request.
    Answer {
        /// The connection that made the request.
        fd: Fd,
        /// The serial number of the request on its connection.
        serial: u32,
        /// The answer, which isn't encoded yet.
        response: Box<Response>,
    },
    /// Puts other bounds and times into force.
    Settings(Box<ReactorOrder>),
    /// Makes the reactor the owner of a connection that another one accepted.
    Adopt(Box<Arrival>),
    /// Starts a timer, which is reported once `after_ms` have passed.
    StartTimer {
        /// The timer's name.
        timer: u64,
        /// Milliseconds from now, and between two reports if the timer repeats.
        after_ms: u64,
        /// Whether the timer goes on after its first report.
        repeats: bool,
    },
    /// Ends a timer, by its name.
    ClearTimer(u64),
    /// Has the owner of the events look at its orders.
    Renew,
    /// What an upgrade has done with encrypted connections.
    Encrypted(EncryptedOrder),
    /// Stops accepting, answers the requests under way, and closes all connections.
    Drain,
    /// Tells reactor 0 that another reactor has ended.
    PeerEnded,
    /// Cuts the open connections and ends the reactor.
    Stop,
    /// Brings the reactor a step nearer to a stand, or lets it go on.
    Freeze {
        /// The number of the freeze.
        number: u64,
        /// The step.
        order: FreezeOrder,
    },
}

/// One encoded frame for many.
#[derive(Debug, Clone)]
pub struct SharedFrame {
    /// The frame that everybody understands.
    pub plain: Bytes,
    /// The same message in a compressed frame, for those who have agreed on that; behind one more pointer,
    /// since most commands have none.
    pub deflated: Option<Arc<Bytes>>,
}

impl SharedFrame {
    /// The frame for a receiver that understands compressed ones.
    pub(super) fn smallest(&self) -> &Bytes {
        self.deflated.as_deref().unwrap_or(&self.plain)
    }

    /// Counts the bytes of both forms.
    fn len(&self) -> usize {
        self.plain.len() + self.deflated.as_ref().map_or(0, |deflated| deflated.len())
    }
}

impl From<Bytes> for SharedFrame {
    fn from(plain: Bytes) -> Self {
        Self {
            plain,
            deflated: None,
        }
    }
}

/// Other bounds and times for a reactor.
#[derive(Debug)]
pub struct ReactorOrder {
    /// The bounds and times.
    pub limits: Arc<ReactorLimits>,
    /// Dropped once every connection goes by them.
    pub part: RolloutPart,
}

/// The way of a frame to the members of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryWay {
    /// Milliseconds for which the frame waits for more at the most; 0 if it doesn't.
    pub delay_ms: u16,
    /// What becomes of the frame where a reader is slow.
    pub slow: SlowWay,
}

/// What becomes of a frame that waits for a slow reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowWay {
    /// The frame waits.
    Waits,
    /// The next such frame of the topic takes its place, with the frames before it, which end where
    /// the frame itself starts.
    Latest {
        /// Index of the frame's first byte.
        start: u32,
    },
    /// The frame waits, and so do those before it: no later one takes their place.
    Fence,
}

/// The one who waits until a peer has taken what was sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwaitedBy {
    /// The server's user, in a callback.
    User,
    /// The worker, with the next message of that peer.
    Worker,
}

impl Command {
    /// Counts the bytes that the command keeps in memory beside itself and the batch's frames.
    fn payload_size(&self) -> usize {
        match self {
            Self::Publish { frame, .. } | Self::Broadcast(frame) => frame.len(),
            Self::PushLarge { frame, .. }
            | Self::Deliver { frames: frame, .. }
            | Self::Subscribe {
                frames_first: frame,
                ..
            } => frame.len(),
            Self::Answer { response, .. } => size_of::<Response>() + response.size(),
            Self::Disconnect { reason, .. } => reason.len(),
            Self::Push { .. }
            | Self::Unsubscribe { .. }
            | Self::AwaitBuffer { .. }
            | Self::Settings(_)
            | Self::Adopt(_)
            | Self::StartTimer { .. }
            | Self::ClearTimer(_)
            | Self::Renew
            | Self::Encrypted(_)
            | Self::Drain
            | Self::PeerEnded
            | Self::Stop
            | Self::Freeze { .. } => 0,
        }
    }
}

/// Commands for one reactor, with the frames that its pushes name.
#[derive(Debug, Default)]
pub struct CommandBatch {
    /// The commands in the order in which they are carried out.
    pub commands: Vec<Command>,
    /// Whole encoded frames, one behind the other.
    pub frames: Bytes,
}

impl CommandBatch {
    /// Makes a batch of one command that needs no frames.
    #[must_use]
    pub fn of(command: Command) -> Self {
        Self {
            commands: vec![command],
            frames: Bytes::new(),
        }
    }

    /// Counts the bytes that this batch keeps in memory, for the mailbox's pressure.
    #[must_use]
    pub fn size(&self) -> usize {
        let payloads: usize = self.commands.iter().map(Command::payload_size).sum();
        self.frames.len() + payloads + self.commands.len() * size_of::<Command>()
    }
}

/// Commands for which an emptied list has room that is kept: a round number, 4 KiB for a reactor.
const REUSED_COMMANDS_MAX: usize = 64;

/// Collects commands for one reactor until they are sent as one batch.
#[derive(Debug, Default)]
pub struct Outgoing {
    commands: Vec<Command>,
    frames: BytesMut,
}

impl Outgoing {
    /// Adds a command that brings its own frames, if any.
    pub fn put(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Adds a push; `encode` appends its frame. Consecutive pushes to one connection become one.
    pub fn push(&mut self, fd: Fd, encode: impl FnOnce(&mut BytesMut)) {
        let start = self.frames.len() as u32;
        encode(&mut self.frames);
        let new_end = self.frames.len() as u32;
        match self.commands.last_mut() {
            Some(Command::Push { fd: last, end, .. }) if *last == fd => *end = new_end,
            _ => self.commands.push(Command::Push {
                fd,
                start,
                end: new_end,
            }),
        }
    }

    /// Returns the connection that the last command pushed to, if it was a push.
    #[must_use]
    pub fn last_pushed(&self) -> Option<Fd> {
        match self.commands.last() {
            Some(Command::Push { fd, .. }) => Some(*fd),
            _ => None,
        }
    }

    /// Whether there is no command to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Counts the encoded bytes that wait in here.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.frames.len()
    }

    /// Takes an emptied list, so that the next commands need no new one.
    pub fn reuse(&mut self, commands: Vec<Command>) {
        if self.commands.capacity() == 0 && commands.capacity() <= REUSED_COMMANDS_MAX {
            self.commands = commands;
        }
    }

    /// Takes all commands out as one batch.
    pub fn take(&mut self) -> CommandBatch {
        CommandBatch {
            commands: std::mem::take(&mut self.commands),
            frames: self.frames.split().freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn frames_of(batch: &CommandBatch) -> Vec<(u64, &[u8])> {
        let pushes = batch.commands.iter().filter_map(|command| match command {
            Command::Push { fd, start, end } => {
                Some((fd.0, &batch.frames[*start as usize..*end as usize]))
            }
            _ => None,
        });
        pushes.collect()
    }

    #[test]
    fn pushes_in_a_row_to_one_connection_become_one() {
        let mut outgoing = Outgoing::default();
        for (fd, frame) in [(1, "a"), (1, "b"), (2, "c"), (1, "d")] {
            outgoing.push(Fd(fd), |frames| frames.put_slice(frame.as_bytes()));
            assert_eq!(outgoing.last_pushed(), Some(Fd(fd)));
        }
        outgoing.put(Command::Drain);
        assert_eq!((outgoing.last_pushed(), outgoing.frame_bytes()), (None, 4));
        outgoing.push(Fd(1), |frames| frames.put_slice(b"e"));
        let batch = outgoing.take();
        let expected: [(u64, &[u8]); 4] = [(1, b"ab"), (2, b"c"), (1, b"d"), (1, b"e")];
        assert_eq!(frames_of(&batch), expected);
        assert_eq!(batch.commands.len(), 5, "what stood between still does");
    }

    #[test]
    fn what_was_taken_is_not_taken_again() {
        let mut outgoing = Outgoing::default();
        outgoing.push(Fd(1), |frames| frames.put_slice(b"first"));
        let first = outgoing.take();
        assert!(outgoing.is_empty() && outgoing.frame_bytes() == 0);
        outgoing.push(Fd(1), |frames| frames.put_slice(b"second"));
        let second = outgoing.take();
        assert_eq!(frames_of(&first), [(1, &b"first"[..])]);
        assert_eq!(frames_of(&second), [(1, &b"second"[..])]);
        assert_eq!(second.size(), 6 + size_of::<Command>());
    }

    #[test]
    fn a_batch_counts_the_bytes_that_its_commands_bring() {
        let (frame, topic) = (Bytes::from_static(&[0; 1_000]), Arc::from("tea"));
        let size = |command| CommandBatch::of(command).size() - size_of::<Command>();
        let fd = Fd(1);
        let large = Command::PushLarge {
            fd,
            frame: frame.clone(),
        };
        assert_eq!(size(large), 1_000);
        assert_eq!(size(Command::Broadcast(frame.clone().into())), 1_000);
        let subscribe = Command::Subscribe {
            fd,
            topic: Arc::clone(&topic),
            frames_first: frame.clone(),
        };
        assert_eq!(size(subscribe), 1_000);
        let frame = SharedFrame {
            plain: frame,
            deflated: Some(Arc::new(Bytes::from_static(&[0; 400]))),
        };
        assert_eq!(size(Command::Publish { topic, frame }), 1_400);
        let answer = Command::Answer {
            fd,
            serial: 0,
            response: Box::new(Response::new(200).field("A", "b").body(&[0; 1_000][..])),
        };
        assert_eq!(size(answer), 1_006 + size_of::<Response>());
        assert_eq!(size(Command::Stop), 0);
    }
}
