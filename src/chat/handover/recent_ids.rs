//! The ids of lately said messages.

use super::kind::RecordKind;
use super::writer::ChatWriter;
use crate::base::{Epoch, Position};
use crate::chat::hasher::IdempotencyKey;
use crate::chat::recent_ids::{RecentId, RecentIds};
use crate::handover::{HandoverError, RecordReader};

pub(super) fn write(writer: &mut ChatWriter<'_>, recent_ids: &RecentIds) {
    recent_ids.each(|IdempotencyKey(key), id| {
        writer.record(RecordKind::RecentId, |record| {
            record.u128(key);
            record.tick(id.at);
            record.u64(id.sender);
            record.optional(id.position, |record, position| {
                record.u64(position.epoch.bits().into());
                record.u64(position.offset);
            });
        });
    });
}

pub(super) fn read(
    record: &mut RecordReader<'_>,
) -> Result<(IdempotencyKey, RecentId), HandoverError> {
    let key = IdempotencyKey(record.u128()?);
    let id = RecentId {
        at: record.tick()?,
        sender: record.u64()?,
        position: record.optional(|record| {
            Ok(Position {
                epoch: Epoch::from_bits(record.u32()?),
                offset: record.u64()?,
            })
        })?,
    };
    Ok((key, id))
}
