//! The checkpoint that each segment begins with: everything but the messages, written in pieces.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use super::batch::WriteBatch;
use super::files::StoreFile;
use super::log_record::LogRecord;
use super::segment_head::{SEGMENT_HEAD_SIZE, SegmentHead};
use super::snapshot::Walk;
use super::state::StoreState;

/// Writes batches behind the head of a new segment, one after the other.
#[derive(Debug)]
pub(super) struct CheckpointWriter {
    file: Arc<dyn StoreFile>,
    seed: u32,
    /// The position of the next batch.
    pub(super) at: u64,
    /// Bytes that were written since a sync began.
    pub(super) unsynced: u64,
    pub(super) batch: WriteBatch,
}

impl CheckpointWriter {
    /// Makes a writer that begins behind the head of an empty file.
    pub(super) fn new(file: Arc<dyn StoreFile>, head: &SegmentHead) -> Self {
        Self {
            file,
            seed: head.seed(),
            at: SEGMENT_HEAD_SIZE as u64,
            unsynced: 0,
            batch: WriteBatch::default(),
        }
    }

    /// Writes the records that were gathered, as one batch. It confirms nothing: what a segment
    /// begins with is durable before the segment has its name.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let bytes = self.batch.seal(self.seed, self.at, 0);
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        self.batch.clear();
        Ok(())
    }
}

/// Adds up to `records_max` records of a state to a batch, from this place on; returns the place to
/// go on at.
pub(super) fn write_piece(
    state: &StoreState,
    mut walk: Walk,
    records_max: usize,
    batch: &mut WriteBatch,
) -> Walk {
    let mut left = records_max;
    while left > 0 && walk != Walk::End {
        walk = match walk {
            Walk::Channels(index, acked) => write_channel(state, (index, acked), &mut left, batch),
            Walk::Members(after) => write_members(state, after, &mut left, batch),
            Walk::Marks(after) => write_marks(state, after, &mut left, batch),
            Walk::End => Walk::End,
        };
    }
    walk
}

/// Writes a channel and its acknowledgements behind those that were written; one at the least.
fn write_channel(
    state: &StoreState,
    (index, acked): (usize, Option<Box<str>>),
    left: &mut usize,
    batch: &mut WriteBatch,
) -> Walk {
    if index >= state.channels_end() {
        return Walk::Members(None);
    }
    *left -= 1;
    let next = Walk::Channels(index + 1, None);
    let Some(channel) = state.channel_at(index) else {
        return next;
    };
    if acked.is_none() {
        let snapshot = state.snapshot.as_ref();
        if !snapshot.is_some_and(|snapshot| snapshot.has_written(index)) {
            channel.record().write(batch);
        }
        if let Some(user) = &channel.opener {
            let channel = &channel.name;
            LogRecord::Opener { channel, user }.write(batch);
        }
    }
    let begin = acked.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    for (reader, &offset) in channel.acks.range::<str, _>((begin, Bound::Unbounded)) {
        let log_record = LogRecord::Ack {
            channel: &channel.name,
            reader,
            offset,
        };
        log_record.write(batch);
        *left = left.saturating_sub(1);
        if *left == 0 {
            return Walk::Channels(index, Some(reader.clone()));
        }
    }
    next
}

fn write_members(
    state: &StoreState,
    after: Option<(Box<str>, Box<str>)>,
    left: &mut usize,
    batch: &mut WriteBatch,
) -> Walk {
    let mut write = |members: &mut dyn Iterator<Item = (&str, &str)>| {
        for (room, user) in members {
            let log_record = LogRecord::Member {
                room,
                user,
                lasting: true,
            };
            log_record.write(batch);
            *left -= 1;
            if *left == 0 {
                return Walk::Members(Some((room.into(), user.into())));
            }
        }
        Walk::Marks(None)
    };
    match after {
        Some((room, user)) => write(&mut state.members_after(&room, &user)),
        None => write(&mut state.members()),
    }
}

fn write_marks(
    state: &StoreState,
    after: Option<Box<str>>,
    left: &mut usize,
    batch: &mut WriteBatch,
) -> Walk {
    for (producer, number) in state.marks_after(after.as_deref()) {
        LogRecord::Mark { producer, number }.write(batch);
        *left -= 1;
        if *left == 0 {
            return Walk::Marks(Some(producer.into()));
        }
    }
    Walk::End
}
