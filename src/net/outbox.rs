//! What waits to be written to one connection, as shared pieces.
//!
//! The pieces of all connections of a reactor stand in one arena, so that an idle connection owns
//! nothing and a busy one allocates nothing. A piece is a run of whole frames.

use std::io::{self, IoSlice};

use bytes::Bytes;
use slab::Slab;

use crate::proto::websocket::frame_boundary_at_or_after;

const NONE: u32 = u32::MAX;

/// Pieces written by one `writev`.
const PIECES_A_WRITE_MAX: usize = 64;

/// Shared pieces up to this many bytes are copied rather than kept, when they have to wait: the
/// copy is smaller than what it takes to keep a place in the list.
const COPIED_BYTES_MAX: usize = 256;

/// Copied pieces are joined up to this many bytes.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// What a piece is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Whole frames for this receiver alone, part of a larger batch.
    Own,
    /// Whole frames for this receiver alone, in memory of their own.
    Whole,
    /// A frame for many receivers: counted once for all of them by whoever made it.
    Shared,
    /// Bytes of HTTP; never divided.
    Http,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    next: u32,
    content: Content,
    /// Whether it is in the outbox's `counted`.
    counted: bool,
}

/// The pieces of all outboxes of one reactor.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    pieces: Slab<Piece>,
}

impl Arena {
    /// Gives memory back after a crowd was served.
    pub(crate) fn trim(&mut self) {
        if self.pieces.is_empty() && self.pieces.capacity() > 4_096 {
            self.pieces = Slab::new();
        }
    }
}

/// A list in the [`Arena`].
#[derive(Debug)]
pub(crate) struct Outbox {
    head: u32,
    tail: u32,
    /// The first piece that came since the last [`Outbox::settle`].
    unsettled: u32,
    /// Bytes of the first piece that are written.
    sent: u32,
    /// Bytes still to write.
    bytes: usize,
    /// Bytes kept in memory for this peer alone.
    counted: usize,
}

/// What a write attempt came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left.
    Empty,
    /// The socket is full.
    Waits,
}

impl Outbox {
    pub(crate) const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            unsettled: NONE,
            sent: 0,
            bytes: 0,
            counted: 0,
        }
    }

    /// Bytes that this peer still has to get.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same with what is written of the first piece, which stays in memory until all of it is.
    pub(crate) fn kept(&self) -> usize {
        self.bytes + self.sent as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Whether there is nothing behind the first piece: one message may exceed every bound.
    pub(crate) fn is_one_piece(&self) -> bool {
        self.head == self.tail
    }

    /// Bytes kept in memory for this peer alone, as of the last [`Outbox::settle`].
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    pub(crate) fn push(&mut self, arena: &mut Arena, bytes: Bytes, content: Content) {
        if bytes.is_empty() {
            return;
        }
        self.bytes += bytes.len();
        let piece = Piece {
            bytes,
            next: NONE,
            content,
            counted: false,
        };
        let key = arena.pieces.insert(piece) as u32;
        if self.tail == NONE {
            self.head = key;
        } else {
            arena.pieces[self.tail as usize].next = key;
        }
        self.tail = key;
        if self.unsettled == NONE {
            self.unsettled = key;
        }
    }

    /// Writes as much as `write` takes, in as few calls as can be.
    ///
    /// # Errors
    ///
    /// What `write` failed with; `WouldBlock` isn't an error here.
    pub(crate) fn flush(
        &mut self,
        arena: &mut Arena,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Flushed> {
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_A_WRITE_MAX];
            let (count, offered) = self.gather(arena, &mut slices);
            match write(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.advance(arena, written);
                    if written < offered {
                        return Ok(Flushed::Waits);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Flushed::Waits);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flushed::Empty)
    }

    fn gather<'a>(&self, arena: &'a Arena, slices: &mut [IoSlice<'a>]) -> (usize, usize) {
        let (mut count, mut offered, mut key, mut skip) = (0, 0, self.head, self.sent as usize);
        while key != NONE && count < slices.len() {
            let piece = &arena.pieces[key as usize];
            slices[count] = IoSlice::new(&piece.bytes[skip..]);
            offered += piece.bytes.len() - skip;
            (skip, key) = (0, piece.next);
            count += 1;
        }
        (count, offered)
    }

    fn advance(&mut self, arena: &mut Arena, mut written: usize) {
        self.bytes -= written;
        while written > 0 {
            let left = arena.pieces[self.head as usize].bytes.len() - self.sent as usize;
            if written < left {
                self.sent += written as u32;
                return;
            }
            written -= left;
            self.pop(arena);
        }
    }

    fn pop(&mut self, arena: &mut Arena) {
        let piece = arena.pieces.remove(self.head as usize);
        if piece.counted {
            self.counted -= piece.bytes.len();
        }
        if self.unsettled == self.head {
            self.unsettled = piece.next;
        }
        self.head = piece.next;
        self.sent = 0;
        if self.head == NONE {
            self.tail = NONE;
        }
    }

    /// After a write attempt left something: copies what came since the last time out of its
    /// batch, so that a few bytes don't keep the whole batch in memory, and counts it.
    pub(crate) fn settle(&mut self, arena: &mut Arena) {
        let mut key = self.unsettled;
        while key != NONE {
            let piece = &arena.pieces[key as usize];
            let begun = key == self.head && self.sent > 0;
            key = match piece.content {
                Content::Http | Content::Whole => self.count(arena, key),
                Content::Shared if begun || piece.bytes.len() > COPIED_BYTES_MAX => piece.next,
                Content::Shared | Content::Own => self.copy_run(arena, key),
            };
        }
        self.unsettled = NONE;
    }

    fn count(&mut self, arena: &mut Arena, key: u32) -> u32 {
        let piece = &mut arena.pieces[key as usize];
        piece.counted = true;
        self.counted += piece.bytes.len();
        piece.next
    }

    /// Joins the frames from `first` on into one piece of its own; returns what follows it.
    fn copy_run(&mut self, arena: &mut Arena, first: u32) -> u32 {
        let piece = &arena.pieces[first as usize];
        let sent = if first == self.head {
            self.sent as usize
        } else {
            0
        };
        // Where a frame begins must stay known, so the one under way is kept from its start.
        let start = frame_start_at_or_before(&piece.bytes, sent);
        let mut run = piece.bytes[start..].to_vec();
        let mut next = piece.next;
        while next != NONE && run.len() < JOINED_BYTES_MAX {
            let piece = &arena.pieces[next as usize];
            let copied = match piece.content {
                Content::Own => true,
                Content::Shared => piece.bytes.len() <= COPIED_BYTES_MAX,
                Content::Http | Content::Whole => false,
            };
            if !copied {
                break;
            }
            run.extend_from_slice(&piece.bytes);
            next = arena.pieces.remove(next as usize).next;
        }
        if first == self.head {
            self.sent = (sent - start) as u32;
        }
        if next == NONE {
            self.tail = first;
        }
        let piece = &mut arena.pieces[first as usize];
        *piece = Piece {
            bytes: Bytes::from(run),
            next,
            content: Content::Own,
            counted: false,
        };
        self.count(arena, first)
    }

    /// Drops all frames that aren't begun; the one under way will be finished.
    pub(crate) fn drop_unstarted(&mut self, arena: &mut Arena) {
        let kept = self.begun(arena);
        self.clear(arena);
        if let Some((rest, content)) = kept {
            self.push(arena, rest, content);
        }
    }

    /// What is left of the frame that was written in part.
    fn begun(&self, arena: &Arena) -> Option<(Bytes, Content)> {
        let piece = arena.pieces.get(self.head as usize)?;
        let sent = self.sent as usize;
        let end = match piece.content {
            Content::Http => piece.bytes.len(),
            _ if sent == 0 => 0,
            _ => frame_boundary_at_or_after(&piece.bytes, sent),
        };
        (end > sent).then(|| (piece.bytes.slice(sent..end), Content::Http))
    }

    pub(crate) fn clear(&mut self, arena: &mut Arena) {
        while self.head != NONE {
            self.pop(arena);
        }
        self.bytes = 0;
    }
}

/// Where the frame that `position` falls into begins; `position` itself between two frames.
fn frame_start_at_or_before(frames: &[u8], position: usize) -> usize {
    let mut start = 0;
    while start < position {
        let end = start + frame_boundary_at_or_after(&frames[start..], 1);
        if end > position || end == start {
            break;
        }
        start = end;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::websocket::{MessageKind, encode_message};

    fn frame(size: usize, fill: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        encode_message(&mut frame, MessageKind::Binary, &vec![fill; size]);
        frame
    }

    /// A socket that takes `room` bytes and then no more.
    fn take<'a>(
        room: usize,
        wire: &'a mut Vec<u8>,
    ) -> impl FnMut(&[IoSlice<'_>]) -> io::Result<usize> + 'a {
        let mut left = room;
        move |slices| {
            let before = wire.len();
            for slice in slices {
                let part = &slice[..left.min(slice.len())];
                wire.extend_from_slice(part);
                left -= part.len();
            }
            if wire.len() == before {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(wire.len() - before)
            }
        }
    }

    fn filled(arena: &mut Arena) -> (Outbox, Vec<u8>) {
        let (mut outbox, mut all) = (Outbox::new(), Vec::new());
        for (size, content) in [
            (3, Content::Own),
            (200, Content::Own),
            (10, Content::Shared),
            (900, Content::Shared),
            (5, Content::Own),
            (2_000, Content::Whole),
            (70_000, Content::Own),
        ] {
            let bytes = frame(size, size as u8);
            all.extend_from_slice(&bytes);
            outbox.push(arena, Bytes::from(bytes), content);
        }
        (outbox, all)
    }

    #[test]
    fn whatever_the_socket_takes_the_bytes_come_whole_and_in_order() {
        for room in (1..1_200).step_by(7) {
            let (mut arena, mut wire) = (Arena::default(), Vec::new());
            let (mut outbox, all) = filled(&mut arena);
            while outbox.flush(&mut arena, take(room, &mut wire)).unwrap() == Flushed::Waits {
                outbox.settle(&mut arena);
                assert_eq!(outbox.bytes(), all.len() - wire.len());
            }
            assert!(wire == all && arena.pieces.is_empty(), "room {room}");
            assert_eq!((outbox.bytes(), outbox.counted()), (0, 0));
        }
    }

    #[test]
    fn pieces_that_wait_are_copied_and_counted_unless_they_are_large_and_shared() {
        let mut arena = Arena::default();
        let (mut outbox, all) = filled(&mut arena);
        outbox.settle(&mut arena);
        assert_eq!(outbox.counted(), all.len() - frame(900, 0).len());
        assert_eq!(
            arena.pieces.len(),
            5,
            "joined where they stand side by side"
        );
        outbox.clear(&mut arena);
        assert_eq!(
            (outbox.counted(), outbox.bytes(), arena.pieces.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn dropping_what_is_not_begun_ends_on_a_frame_boundary() {
        for sent in 0..1_200 {
            for settled in [false, true] {
                let (mut arena, mut wire) = (Arena::default(), Vec::new());
                let (mut outbox, all) = filled(&mut arena);
                if sent > 0 {
                    outbox.flush(&mut arena, take(sent, &mut wire)).unwrap();
                }
                if settled {
                    outbox.settle(&mut arena);
                }
                outbox.drop_unstarted(&mut arena);
                outbox
                    .flush(&mut arena, take(usize::MAX, &mut wire))
                    .unwrap();
                assert_eq!(
                    wire.len(),
                    frame_boundary_at_or_after(&all, sent),
                    "sent {sent}"
                );
                assert!(all.starts_with(&wire));
            }
        }
    }
}
