//! The bytes that wait to be written to one connection, as a list of shared pieces.
//!
//! The pieces of all connections of a reactor stand in one arena, so that an idle connection owns
//! no memory and a busy one allocates none. A piece is a run of whole frames.

mod handover;
mod latest;

use std::io::{self, IoSlice};

use bytes::{Bytes, BytesMut};
use slab::Slab;

use crate::proto::websocket::frame_boundary_at_or_after;
pub(super) use handover::HandedOutbox;
pub(super) use latest::LatestPiece;
use latest::LatestPieces;

const NONE: u32 = u32::MAX;

/// Pieces written by one `writev`: a round number. The slices take 1 KiB of stack, and the kernel
/// takes up to 1,024 of them.
const PIECES_A_WRITE_MAX: usize = 64;

/// Shared pieces up to this many bytes are copied rather than kept, when they have to wait. A round
/// number: joined copies of small messages save an entry of the list and a slice of `writev` each,
/// and copying so few bytes costs little.
const COPIED_BYTES_MAX: usize = 256;

/// Copied pieces are joined up to this many bytes. A round number: a slow reader of small messages
/// has few pieces then, and a piece, which is freed as a whole, keeps few written bytes in memory.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// The kind of bytes in a piece, which decides whether it is copied and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Whole frames for this receiver alone, part of a larger batch.
    Own,
    /// Whole frames for this receiver alone, in memory of their own.
    Whole,
    /// A frame for many receivers, counted once for all of them by the budget.
    Shared,
    /// The same of a topic of which a slow reader gets only the newest message; such a piece is
    /// marked with [`Outbox::push_latest`].
    Latest,
    /// Bytes of HTTP; never divided.
    Http,
}

/// What is to be done when a piece is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Plain,
    /// The piece is in the outbox's `counted`.
    Counted,
    /// The piece is known to the arena's `latest`.
    Latest,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    next: u32,
    content: Content,
    mark: Mark,
}

/// The pieces of all outboxes of one reactor.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    pieces: Slab<Piece>,
    latest: LatestPieces,
}

impl Arena {
    fn next_of(&self, key: u32) -> u32 {
        self.pieces[key as usize].next
    }

    /// Counts the pieces of all outboxes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Gives memory back after a crowd was served: more than 4,096 pieces, a round number.
    pub(crate) fn trim(&mut self) {
        if self.pieces.is_empty() && self.pieces.capacity() > 4_096 {
            self.pieces = Slab::new();
            self.latest.trim();
        }
    }
}

/// A list in the [`Arena`].
#[derive(Debug)]
pub(crate) struct Outbox {
    head: u32,
    tail: u32,
    /// The last piece that [`Outbox::settle`] has seen; later pieces stand behind it.
    settled: u32,
    /// Bytes of the first piece that are written already.
    sent: u32,
    /// Bytes still to write.
    bytes: usize,
    /// Bytes kept in memory for this peer alone.
    counted: usize,
}

/// The state of the outbox after a write attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Nothing is left to write.
    Empty,
    /// Bytes are left, and the socket takes no more.
    Waits,
}

impl Outbox {
    pub(crate) const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            settled: NONE,
            sent: 0,
            bytes: 0,
            counted: 0,
        }
    }

    /// Counts the bytes that still have to be written to this peer.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts the bytes in memory: those still to be written, and the written ones of the first
    /// piece, since a piece stays until all of it is written.
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

    /// Counts the bytes kept in memory for this peer alone, as of the last [`Outbox::settle`].
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
            mark: Mark::Plain,
        };
        let key = arena.pieces.insert(piece) as u32;
        if self.tail == NONE {
            self.head = key;
        } else {
            arena.pieces[self.tail as usize].next = key;
        }
        self.tail = key;
    }

    /// Writes as much as `write` takes, in as few calls as possible.
    ///
    /// # Errors
    ///
    /// The error of `write`; `WouldBlock` isn't an error here.
    pub(crate) fn flush(
        &mut self,
        arena: &mut Arena,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<Flushed> {
        while !self.is_empty() {
            let (offered, tried) = if self.is_one_piece() {
                // Nearly every outbox; the list of slices below takes some 240 instructions.
                let rest = &arena.pieces[self.head as usize].bytes[self.sent as usize..];
                (rest.len(), write(&[IoSlice::new(rest)]))
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES_A_WRITE_MAX];
                let (count, offered) = self.gather(arena, &mut slices);
                (offered, write(&slices[..count]))
            };
            match tried {
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
        match piece.mark {
            Mark::Plain => {}
            Mark::Counted => self.counted -= piece.bytes.len(),
            Mark::Latest => arena.latest.remove(self.head),
        }
        if self.settled == self.head {
            self.settled = NONE;
        }
        self.head = piece.next;
        self.sent = 0;
        if self.head == NONE {
            self.tail = NONE;
        }
    }

    /// Copies the pieces that came since the last call out of their batches, so that a few bytes
    /// don't keep a whole batch in memory, and counts them. Called after a write attempt that left
    /// bytes: most pieces are written at once and need no copy. Of topics of which a slow reader gets
    /// only the newest message, the older one is replaced.
    pub(crate) fn settle(&mut self, arena: &mut Arena) {
        while let Some(key) = self.first_unsettled(arena) {
            let piece = &arena.pieces[key as usize];
            let begun = key == self.head && self.sent > 0;
            self.settled = match piece.content {
                Content::Http | Content::Whole => self.count(arena, key),
                Content::Shared if begun || piece.bytes.len() > COPIED_BYTES_MAX => key,
                Content::Shared | Content::Own => self.copy_run(arena, key),
                Content::Latest => self.settle_latest(arena, key),
            };
        }
    }

    fn first_unsettled(&self, arena: &Arena) -> Option<u32> {
        let key = match self.settled {
            NONE => self.head,
            settled => arena.pieces[settled as usize].next,
        };
        (key != NONE).then_some(key)
    }

    fn count(&mut self, arena: &mut Arena, key: u32) -> u32 {
        let piece = &mut arena.pieces[key as usize];
        piece.mark = Mark::Counted;
        self.counted += piece.bytes.len();
        key
    }

    /// Joins the frames from `first` on into one piece, which may be the piece before them: a slow
    /// reader of small messages mustn't cost a piece for each. Returns the joined piece.
    fn copy_run(&mut self, arena: &mut Arena, first: u32) -> u32 {
        let (joined, mut run, mut next) = match self.open_run(arena) {
            Some(run) => (self.settled, run, first),
            None => (first, self.start_run(arena, first), arena.next_of(first)),
        };
        while next != NONE && run.len() < JOINED_BYTES_MAX {
            let piece = &arena.pieces[next as usize];
            let copied = match piece.content {
                Content::Own => true,
                Content::Shared => piece.bytes.len() <= COPIED_BYTES_MAX,
                Content::Http | Content::Whole | Content::Latest => false,
            };
            if !copied {
                break;
            }
            run.extend_from_slice(&piece.bytes);
            next = arena.pieces.remove(next as usize).next;
        }
        if next == NONE {
            self.tail = joined;
        }
        arena.pieces[joined as usize] = Piece {
            bytes: run.freeze(),
            next,
            content: Content::Own,
            mark: Mark::Plain,
        };
        self.count(arena, joined)
    }

    /// Takes the bytes of the last settled piece, to add to them, if it was joined here and has
    /// room.
    fn open_run(&mut self, arena: &mut Arena) -> Option<BytesMut> {
        let piece = arena.pieces.get_mut(self.settled as usize)?;
        if piece.content != Content::Own || piece.bytes.len() >= JOINED_BYTES_MAX {
            return None;
        }
        let size = piece.bytes.len();
        match std::mem::take(&mut piece.bytes).try_into_mut() {
            Ok(run) => {
                self.counted -= size;
                Some(run)
            }
            Err(bytes) => {
                piece.bytes = bytes;
                None
            }
        }
    }

    /// Copies one piece. The start of a frame must stay known, so in a piece that is partly
    /// written the unfinished frame is copied from its start.
    fn start_run(&mut self, arena: &Arena, first: u32) -> BytesMut {
        let frames = &arena.pieces[first as usize].bytes;
        if first != self.head {
            return BytesMut::from(&frames[..]);
        }
        let start = frame_start_at_or_before(frames, self.sent as usize);
        self.sent -= start as u32;
        BytesMut::from(&frames[start..])
    }

    /// Drops all frames of which no byte is written; the unfinished frame, and HTTP before it,
    /// stay.
    pub(crate) fn drop_unstarted(&mut self, arena: &mut Arena) {
        let kept = self.started(arena);
        self.clear(arena);
        for bytes in kept {
            self.push(arena, bytes, Content::Http);
        }
    }

    /// Returns the rest of the frame that is partly written, or of HTTP: the 101 and the answers
    /// before it stand before all frames.
    fn started(&self, arena: &Arena) -> Vec<Bytes> {
        let (mut kept, mut key, mut sent) = (Vec::new(), self.head, self.sent as usize);
        while let Some(piece) = arena.pieces.get(key as usize) {
            let end = match piece.content {
                Content::Http => piece.bytes.len(),
                _ => frame_boundary_at_or_after(&piece.bytes, sent),
            };
            kept.push(piece.bytes.slice(sent..end));
            if piece.content != Content::Http {
                break;
            }
            (key, sent) = (piece.next, 0);
        }
        kept
    }

    pub(crate) fn clear(&mut self, arena: &mut Arena) {
        while self.head != NONE {
            self.pop(arena);
        }
        self.bytes = 0;
    }
}

/// Returns the start of the frame that contains `position`; between two frames, `position` itself.
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
mod tests;
