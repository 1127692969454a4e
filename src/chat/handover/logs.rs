//! The log of a channel, and what stands beside it in every channel: who opened it, when it is swept.

use super::numbered::Numbered;
use super::writer::ChatWriter;
use crate::base::{Epoch, Tick};
use crate::chat::log::{KeptLog, MessageLog};
use crate::chat::name::User;
use crate::chat::stats::Totals;
use crate::handover::{HandoverError, RecordReader, RecordWriter};

/// The fields of a log, with numbers for messages and users.
pub(super) struct LogFields {
    epoch: Epoch,
    sweep_at: Option<Tick>,
    opener: Option<(usize, u64)>,
    kept: Option<KeptLog<usize, usize>>,
}

/// A log that was read.
pub(super) struct TakenLog {
    pub(super) log: MessageLog,
    pub(super) sweep_at: Option<Tick>,
    /// Who opened the channel, and its number among all that were opened.
    pub(super) opener: Option<(User, u64)>,
}

impl LogFields {
    /// Gives numbers to all that stands in a log, and to the user who opened its channel.
    pub(super) fn of(
        writer: &mut ChatWriter<'_>,
        log: &MessageLog,
        sweep_at: Option<Tick>,
        opener: Option<(User, u64)>,
    ) -> Self {
        let kept = log.kept().map(|kept| KeptLog {
            newest: kept.newest,
            ring: (kept.ring.into_iter())
                .map(|(at, message)| (at, writer.message(message)))
                .collect(),
            acks: (kept.acks.into_iter())
                .map(|(user, offset)| (writer.user(user), offset))
                .collect(),
        });
        Self {
            epoch: log.position().epoch,
            sweep_at,
            opener: opener.map(|(user, number)| (writer.user(&user), number)),
            kept,
        }
    }

    pub(super) fn write(self, record: &mut RecordWriter<'_>) {
        record.u64(self.epoch.bits().into());
        record.optional(self.sweep_at, RecordWriter::tick);
        record.optional(self.opener, |record, (user, number)| {
            record.size(user);
            record.u64(number);
        });
        record.optional(self.kept, |record, KeptLog { newest, ring, acks }| {
            record.u64(newest);
            record.list(ring, |record, (at, message)| {
                record.tick(at);
                record.size(message);
            });
            record.list(acks, |record, (user, offset)| {
                record.size(user);
                record.u64(offset);
            });
        });
    }
}

impl TakenLog {
    pub(super) fn read(
        record: &mut RecordReader<'_>,
        numbered: &Numbered,
        totals: &Totals,
    ) -> Result<Self, HandoverError> {
        let epoch = Epoch::from_bits(record.u32()?);
        let sweep_at = record.optional(RecordReader::tick)?;
        let opener = record.optional(|record| Ok((numbered.user(record)?, record.u64()?)))?;
        let kept = record.optional(|record| {
            let newest = record.u64()?;
            let ring = record.list(|record| Ok((record.tick()?, numbered.message(record)?)))?;
            let acks = record.list(|record| Ok((numbered.user(record)?, record.u64()?)))?;
            Ok(KeptLog { newest, ring, acks })
        })?;
        let log = MessageLog::as_it_was(epoch, kept, totals);
        let mut log = log.ok_or_else(|| record.refuse("it keeps more messages than there were"))?;
        log.has_opener = opener.is_some();
        Ok(Self {
            log,
            sweep_at,
            opener,
        })
    }
}
