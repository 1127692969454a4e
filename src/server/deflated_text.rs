//! Texts of which only the data is compressed, on another thread or at another time than they are made; and
//! what is sent under a lock, where nothing is compressed.

use std::ops::Range;
use std::sync::Arc;

use super::deflating::encoded_deflated;
use super::delivery::{Delivery, encoded};
use super::handle::Handle;
use super::message::Message;
use super::push_error::PushError;
use super::turn;
use crate::base::{DeflatedData, Fd};
use crate::net::command::Command;
use crate::proto::websocket::deflate::{COMPOSED_OVERHEAD, composed};
use crate::proto::websocket::{MessageKind, encode_message};

/// A text with data in it of which there is a compressed form.
#[derive(Debug, Clone)]
pub(crate) struct DeflatedText<'a> {
    /// The whole text.
    pub(crate) text: &'a str,
    /// The place of the data in it, in bytes.
    pub(crate) data_at: Range<usize>,
    /// The compressed form of the data.
    pub(crate) data: &'a DeflatedData,
}

impl DeflatedText<'_> {
    /// Makes the whole frame: what stands around the data is stored, and shares no window with it.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let (head, rest) = self.text.as_bytes().split_at(self.data_at.start);
        let end = &rest[self.data_at.len()..];
        encoded_deflated(MessageKind::Text, &composed(head, self.data.blocks(), end))
    }
}

/// Appends a text as one whole frame, which isn't compressed.
pub(crate) fn put_text(frames: &mut Vec<u8>, text: &str) {
    encode_message(frames, MessageKind::Text, text.as_bytes());
}

impl<D: Delivery> Handle<D> {
    /// Compresses the data of a message that many will get, if any of them understands it and it becomes
    /// smaller. To be called on the thread that has the message, under no lock.
    pub(crate) fn deflate(&self, data: &str) -> Option<DeflatedData> {
        let shared = self.shared();
        if !shared.deflaters.takes(data.len()) || !shared.is_deflating() {
            return None;
        }
        let blocks = shared.deflaters.run(data.len(), |deflater| {
            let blocks = deflater.blocks(data.as_bytes())?;
            (blocks.len() + COMPOSED_OVERHEAD < data.len()).then_some(blocks)
        });
        blocks.map(DeflatedData::new)
    }

    /// Whether a connection understands compressed messages.
    pub(crate) fn deflates(&self, fd: Fd) -> bool {
        let directory = self.shared().directory_of(fd);
        directory.is_some_and(|directory| directory.deflates(fd))
    }

    /// Sends a text to all members of a topic, compressed to those who understand it.
    pub(crate) fn publish_deflated(&self, topic: &Arc<str>, text: &DeflatedText<'_>) {
        let frame = encoded(Message::text(text.text));
        let frame = self.shared().shared_frame(frame, Some(text.frame()));
        self.publish_frame(topic, &frame);
    }

    /// Sends a message to all members of a topic as [`Handle::publish`] does, and never compresses it: for
    /// those who hold a lock.
    pub(crate) fn publish_plain(&self, topic: &Arc<str>, message: Message<'_>) {
        let frame = self.shared().shared_frame(encoded(message), None);
        self.publish_frame(topic, &frame);
    }

    /// Makes a WebSocket a member of a topic, once it got these frames.
    pub(crate) fn subscribe_after_frames(&self, fd: Fd, topic: Arc<str>, frames: Vec<u8>) {
        let _pass = self.enter();
        turn::note_pushed(fd, frames.len());
        let frames_first = frames.into();
        self.put(
            fd.reactor(),
            Command::Subscribe {
                fd,
                topic,
                frames_first,
            },
        );
    }

    /// Sends a message to one WebSocket as [`Handle::push`] does, and never compresses it: for those who
    /// hold a lock.
    pub(crate) fn push_plain(&self, fd: Fd, message: Message<'_>) -> Result<(), PushError> {
        let _pass = self.enter();
        if !self.is_established(fd) {
            return Err(PushError::NotEstablished(fd));
        }
        turn::note_pushed(fd, message.data.len());
        let frame = encoded(message).into();
        self.put(fd.reactor(), Command::PushLarge { fd, frame });
        Ok(())
    }
}
