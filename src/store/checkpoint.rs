//! The checkpoint that each segment begins with: everything but the messages.

use std::io;

use super::batch::WriteBatch;
use super::files::StoreFile;
use super::log_record::{LogRecord, NeededSegment};
use super::segment_head::{SEGMENT_HEAD_SIZE, SegmentHead};
use super::state::StoreState;

/// Bytes of a checkpoint that are written at once: few writes, and little memory beside the state.
const CHECKPOINT_BATCH_SIZE: usize = 256 << 10;

/// Writes the checkpoint of a new segment and then its head, and makes both durable. `needed` are
/// the sealed segments that this one can't do without.
pub(super) fn write_checkpoint(
    file: &dyn StoreFile,
    head: &mut SegmentHead,
    state: &StoreState,
    needed: impl Iterator<Item = NeededSegment>,
) -> io::Result<()> {
    let mut writer = CheckpointWriter {
        file,
        seed: head.seed(),
        at: SEGMENT_HEAD_SIZE as u64,
        batch: WriteBatch::default(),
    };
    writer.write(&LogRecord::Checkpoint {
        forgotten: state.forgotten(),
        serials_below: state.serials_below(),
        needed: needed.collect(),
    })?;
    for channel in state.channels() {
        let known = channel.log.state();
        writer.write(&LogRecord::Channel {
            channel: &channel.name,
            epoch: known.epoch,
            floor: known.floor,
            newest: known.newest,
        })?;
        if let Some(user) = &channel.opener {
            let channel = &channel.name;
            writer.write(&LogRecord::Opener { channel, user })?;
        }
        for (reader, &offset) in &channel.acks {
            writer.write(&LogRecord::Ack {
                channel: &channel.name,
                reader,
                offset,
            })?;
        }
    }
    for (room, user) in state.members() {
        writer.write(&LogRecord::Member {
            room,
            user,
            lasting: true,
        })?;
    }
    for (producer, number) in state.marks() {
        writer.write(&LogRecord::Mark { producer, number })?;
    }
    writer.write(&LogRecord::CheckpointEnd)?;
    writer.flush()?;
    head.checkpoint_end = writer.at;
    file.write_all_at(&head.to_bytes(), 0)?;
    file.sync_data()
}

/// Writes records in batches, so that a checkpoint of any size needs little memory.
struct CheckpointWriter<'a> {
    file: &'a dyn StoreFile,
    seed: u32,
    at: u64,
    batch: WriteBatch,
}

impl CheckpointWriter<'_> {
    fn write(&mut self, log_record: &LogRecord<'_>) -> io::Result<()> {
        log_record.write(&mut self.batch);
        if self.batch.size() >= CHECKPOINT_BATCH_SIZE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = self.batch.seal(self.seed, self.at, 0);
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.batch.clear();
        Ok(())
    }
}
