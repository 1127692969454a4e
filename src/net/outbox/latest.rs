//! Messages of topics of which a slow reader gets only the newest: one that waits is replaced by the
//! next, in its place.
//!
//! A message is marked as it is pushed, and looked at only when the socket has left bytes: a reader
//! that keeps up gets all of them. What is begun is never replaced, and neither is what stands before
//! a fence: a frame of the topic that has to keep its place among the messages.
//!
//! Invariant: of each slot and topic at most one piece is in `waiting`; that piece is marked, settled,
//! in the slot's outbox, and the last message of its topic there.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Arena, Content, Mark, NONE, Outbox};

/// What is known of a piece of such a topic, beside its bytes.
#[derive(Debug)]
pub(crate) struct LatestPiece {
    /// The slot of the reader.
    pub(crate) slot: u32,
    /// The number of the topic.
    pub(crate) topic: u32,
    /// The whole frames that stand in the place of a message which the piece replaces; `None` for a
    /// fence.
    pub(crate) instead: Option<Bytes>,
}

/// What is known of all marked pieces of an arena.
#[derive(Debug, Default)]
pub(super) struct LatestPieces {
    /// By the key of the piece.
    pub(super) known: Vec<Option<LatestPiece>>,
    count: usize,
    /// The pieces that the next message of their topic replaces, by slot and topic.
    pub(super) waiting: HashMap<(u32, u32), u32>,
    pub(super) replaced: u64,
}

impl LatestPieces {
    fn insert(&mut self, key: u32, piece: LatestPiece) {
        let key = key as usize;
        if self.known.len() <= key {
            self.known.resize_with(key + 1, || None);
        }
        self.known[key] = Some(piece);
        self.count += 1;
    }

    /// Forgets a piece that is gone, or isn't marked any more.
    pub(super) fn remove(&mut self, key: u32) {
        if let Some(piece) = self.known[key as usize].take() {
            self.count -= 1;
            let place = (piece.slot, piece.topic);
            if self.waiting.get(&place) == Some(&key) {
                self.waiting.remove(&place);
            }
        }
    }

    /// Gives memory back when there is nothing to know.
    pub(super) fn trim(&mut self) {
        debug_assert_eq!((self.count, self.waiting.len()), (0, 0));
        (self.known, self.waiting) = (Vec::new(), HashMap::new());
    }
}

impl Arena {
    /// Counts the messages that were replaced so far.
    pub(crate) fn replaced(&self) -> u64 {
        self.latest.replaced
    }

    /// Whether a marked piece waits for anybody.
    pub(crate) fn has_latest(&self) -> bool {
        self.latest.count > 0
    }

    /// Makes a marked piece one that nothing replaces.
    fn release(&mut self, key: u32) {
        let piece = &mut self.pieces[key as usize];
        (piece.content, piece.mark) = (Content::Shared, Mark::Plain);
        self.latest.remove(key);
    }
}

impl Outbox {
    /// Adds a message, or a fence, of a topic of which a slow reader gets only the newest message.
    pub(crate) fn push_latest(&mut self, arena: &mut Arena, frames: Bytes, latest: LatestPiece) {
        if frames.is_empty() {
            return;
        }
        self.push(arena, frames, Content::Latest);
        arena.pieces[self.tail as usize].mark = Mark::Latest;
        arena.latest.insert(self.tail, latest);
    }

    /// Lets a marked piece replace the one that waits, or wait itself; returns the piece that is
    /// settled last then.
    pub(super) fn settle_latest(&mut self, arena: &mut Arena, key: u32) -> u32 {
        let piece = arena.latest.known[key as usize].as_mut();
        let piece = piece.expect("a marked piece is known");
        let (place, instead) = ((piece.slot, piece.topic), piece.instead.take());
        let older = arena.latest.waiting.get(&place).copied();
        let Some(instead) = instead else {
            if let Some(older) = older {
                arena.release(older);
            }
            // It is looked at once more, as a piece like others.
            arena.release(key);
            return self.settled;
        };
        match older {
            Some(older) if !self.is_begun(older) => {
                self.replace(arena, older, instead);
                self.unlink(arena, key);
                arena.latest.replaced += 1;
                self.settled
            }
            _ => {
                arena.latest.waiting.insert(place, key);
                key
            }
        }
    }

    fn is_begun(&self, key: u32) -> bool {
        key == self.head && self.sent > 0
    }

    fn replace(&mut self, arena: &mut Arena, key: u32, bytes: Bytes) {
        self.bytes += bytes.len();
        let old = std::mem::replace(&mut arena.pieces[key as usize].bytes, bytes);
        self.bytes -= old.len();
    }

    /// Takes out the piece behind the settled ones, of which there is one at least.
    fn unlink(&mut self, arena: &mut Arena, key: u32) {
        let piece = arena.pieces.remove(key as usize);
        arena.latest.remove(key);
        self.bytes -= piece.bytes.len();
        arena.pieces[self.settled as usize].next = piece.next;
        if self.tail == key {
            self.tail = self.settled;
        }
    }

    /// Has everything that waits of a topic come as it is, since the reader leaves the topic.
    pub(crate) fn keep(&mut self, arena: &mut Arena, topic: u32) {
        let mut key = self.head;
        while key != NONE {
            let known = arena.latest.known.get(key as usize);
            let is_its = known.is_some_and(|piece| {
                let piece = piece.as_ref();
                piece.is_some_and(|piece| piece.topic == topic)
            });
            if is_its {
                arena.release(key);
            }
            key = arena.next_of(key);
        }
    }

    /// Whether more than `bytes_max` bytes wait beside messages that the next one replaces, and more
    /// than one message: one may exceed every bound.
    pub(crate) fn is_over(&self, arena: &Arena, bytes_max: usize) -> bool {
        if self.bytes <= bytes_max || self.is_one_piece() {
            return false;
        }
        let (mut bytes, mut pieces, mut key, mut sent) = (0, 0, self.head, self.sent as usize);
        while key != NONE {
            let piece = &arena.pieces[key as usize];
            if piece.content != Content::Latest {
                bytes += piece.bytes.len() - sent;
                pieces += 1;
            }
            (key, sent) = (piece.next, 0);
        }
        bytes > bytes_max && pieces > 1
    }
}

#[cfg(test)]
mod tests;
