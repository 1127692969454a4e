//! An outbox in a handover: its pieces, those that are shared by the number of their frame.
//!
//! Which pieces are counted follows from the rest: a settled one is, unless many share it.

use bytes::Bytes;

use super::{Arena, Content, LatestPiece, Mark, NONE, Outbox};
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::net::frame_table::{FrameTable, HandedFrames};
use crate::net::topics::TopicNumbers;

/// The contents of pieces.
const OWN: u8 = 0;
const WHOLE: u8 = 1;
const SHARED: u8 = 2;
const LATEST: u8 = 3;
const HTTP: u8 = 4;

/// The outbox of a connection whose slot isn't there yet.
#[derive(Debug, Default)]
pub(crate) struct HandedOutbox {
    pieces: Vec<HandedPiece>,
    /// Bytes of the first piece that are written already.
    sent: u32,
    /// Pieces that are settled.
    settled: usize,
}

#[derive(Debug)]
struct HandedPiece {
    bytes: Bytes,
    content: Content,
    latest: Option<HandedLatest>,
}

#[derive(Debug)]
struct HandedLatest {
    topic: u32,
    instead: Option<Bytes>,
    /// Whether the next message of the topic replaces it.
    waits: bool,
}

impl Outbox {
    pub(crate) fn hand_over(
        &self,
        arena: &Arena,
        frames: &FrameTable,
        topics: &TopicNumbers,
        record: &mut RecordWriter<'_>,
    ) {
        let keys = self.keys(arena);
        record.size(keys.len());
        if keys.is_empty() {
            return;
        }
        let settled = keys.iter().position(|key| *key == self.settled);
        record.size(settled.map_or(0, |place| place + 1));
        record.u64(self.sent.into());
        for key in keys {
            record.record(|record| arena.hand_over(key, frames, topics, record));
        }
    }

    fn keys(&self, arena: &Arena) -> Vec<u32> {
        let (mut keys, mut key) = (Vec::new(), self.head);
        while key != NONE {
            keys.push(key);
            key = arena.next_of(key);
        }
        keys
    }
}

impl Arena {
    fn hand_over(
        &self,
        key: u32,
        frames: &FrameTable,
        topics: &TopicNumbers,
        record: &mut RecordWriter<'_>,
    ) {
        let piece = &self.pieces[key as usize];
        let (content, is_shared) = match piece.content {
            Content::Own => (OWN, false),
            Content::Whole => (WHOLE, false),
            Content::Shared => (SHARED, true),
            Content::Latest => (LATEST, true),
            Content::Http => (HTTP, false),
        };
        record.u64(content.into());
        match is_shared {
            true => record.u64(frames.number_of(&piece.bytes).into()),
            false => record.bytes(&piece.bytes),
        }
        if piece.mark == Mark::Latest {
            let known = self.latest.known[key as usize].as_ref();
            let LatestPiece {
                slot,
                topic,
                instead,
            } = known.expect("a marked piece is known");
            record.u64(topics.of(*topic));
            record.optional(instead.as_ref(), |record, instead| {
                record.u64(frames.number_of(instead).into());
            });
            record.flag(self.latest.waiting.get(&(*slot, *topic)) == Some(&key));
        }
    }

    /// Goes on with the count of messages that were replaced.
    pub(crate) fn set_replaced(&mut self, replaced: u64) {
        self.latest.replaced = replaced;
    }
}

impl HandedOutbox {
    pub(crate) fn read(
        record: &mut RecordReader<'_>,
        frames: &HandedFrames,
    ) -> Result<Self, HandoverError> {
        let count = record.size()?;
        if count == 0 {
            return Ok(Self::default());
        }
        let (settled, sent) = (record.size()?, record.u32()?);
        let mut pieces = Vec::new();
        for place in 0..count {
            let piece = HandedPiece::read(&mut record.record()?, frames)?;
            let waits = piece.latest.as_ref().is_some_and(|latest| latest.waits);
            if waits && place >= settled {
                return Err(record.refuse("a message waits for the next one too early"));
            }
            pieces.push(piece);
        }
        if settled > count || sent as usize >= pieces[0].bytes.len() {
            return Err(record.refuse("an outbox has written more than it has"));
        }
        Ok(Self {
            pieces,
            sent,
            settled,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Puts the pieces into the outbox of this slot.
    pub(crate) fn adopt(self, arena: &mut Arena, slot: u32) -> Outbox {
        let mut outbox = Outbox::new();
        for (place, piece) in self.pieces.into_iter().enumerate() {
            let HandedPiece {
                bytes,
                content,
                latest,
            } = piece;
            let is_settled = place < self.settled;
            let Some(latest) = latest else {
                outbox.push(arena, bytes, content);
                if is_settled {
                    outbox.settled = match content {
                        Content::Shared => outbox.tail,
                        _ => outbox.count(arena, outbox.tail),
                    };
                }
                continue;
            };
            let (topic, instead) = (latest.topic, latest.instead);
            let known = LatestPiece {
                slot,
                topic,
                instead,
            };
            outbox.push_latest(arena, bytes, known);
            if is_settled {
                outbox.settled = outbox.tail;
            }
            if latest.waits {
                let place = (slot, topic);
                arena.latest.waiting.insert(place, outbox.tail);
            }
        }
        outbox.sent = self.sent;
        outbox.bytes -= self.sent as usize;
        outbox
    }
}

impl HandedPiece {
    fn read(record: &mut RecordReader<'_>, frames: &HandedFrames) -> Result<Self, HandoverError> {
        let content = match record.u8()? {
            OWN => Content::Own,
            WHOLE => Content::Whole,
            SHARED => Content::Shared,
            LATEST => Content::Latest,
            HTTP => Content::Http,
            _ => return Err(record.refuse("an outbox has a piece of an unknown kind")),
        };
        let bytes = match content {
            Content::Shared | Content::Latest => frames.take(record)?,
            Content::Own | Content::Whole | Content::Http => record.bytes()?.to_vec().into(),
        };
        if bytes.is_empty() {
            return Err(record.refuse("an outbox has a piece without a byte"));
        }
        let latest = match content {
            Content::Latest => Some(HandedLatest {
                topic: TopicNumbers::read(record)?,
                instead: record.optional(|record| frames.take(record))?,
                waits: record.flag()?,
            }),
            _ => None,
        };
        Ok(Self {
            bytes,
            content,
            latest,
        })
    }
}
