//! Messages that go compressed to those who have agreed on it, and plain to the others.
//!
//! A message is compressed once, by the thread that made it, whoever gets it; a reactor picks one of two
//! frames for each receiver.

use std::sync::Arc;

use bytes::Bytes;

use super::delivery::{Delivery, encoded};
use super::handle::Handle;
use super::message::Message;
use super::shared::ServerShared;
use crate::base::Fd;
use crate::net::command::{Command, SharedFrame};
use crate::proto::websocket::{MessageKind, encode_deflated, header_size};

impl ServerShared {
    /// Whether anybody here has agreed on compression.
    pub(super) fn is_deflating(&self) -> bool {
        let mut counters = self.counters.iter();
        counters.any(|counters| counters.websockets_deflating.get() > 0)
    }

    /// Makes the frames of a message for many; compresses it if somebody understands that.
    pub(super) fn frames_of(&self, message: Message<'_>) -> SharedFrame {
        let size = message.data.len();
        let deflated = match self.deflaters.takes(size) && self.is_deflating() {
            true => (self.deflaters).run(size, |deflater| deflater.message(message.data)),
            false => None,
        };
        let deflated = deflated.map(|payload| encoded_deflated(message.kind, &payload));
        self.shared_frame(encoded(message), deflated)
    }

    pub(super) fn shared_frame(&self, plain: Vec<u8>, deflated: Option<Vec<u8>>) -> SharedFrame {
        SharedFrame {
            plain: self.budget.shared(plain),
            deflated: deflated.map(|frame| Arc::new(self.budget.shared(frame))),
        }
    }

    /// Makes the frame of a large message for one connection, compressed if it understands that.
    pub(super) fn large_frame(&self, fd: Fd, message: Message<'_>) -> Bytes {
        let size = message.data.len();
        let understands =
            || (self.directory_of(fd)).is_some_and(|directory| directory.deflates(fd));
        if self.deflaters.takes(size)
            && understands()
            && let Some(payload) = (self.deflaters).run(size, |one| one.message(message.data))
        {
            return encoded_deflated(message.kind, &payload).into();
        }
        encoded(message).into()
    }
}

impl<D: Delivery> Handle<D> {
    /// Sends a frame to all members of a topic.
    pub(super) fn publish_frame(&self, topic: &Arc<str>, frame: &SharedFrame) {
        let _pass = self.enter();
        for reactor in 0..self.shared().mailboxes.len() {
            let (topic, frame) = (Arc::clone(topic), frame.clone());
            self.put(reactor, Command::Publish { topic, frame });
        }
    }
}

/// Encodes a compressed payload as one whole frame.
pub(super) fn encoded_deflated(kind: MessageKind, payload: &[u8]) -> Vec<u8> {
    let size = payload.len();
    let mut frame = Vec::with_capacity(header_size(size) + size);
    encode_deflated(&mut frame, kind, payload);
    frame
}
