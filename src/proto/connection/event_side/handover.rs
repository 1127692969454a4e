//! A stream of events in a handover.

use super::{CloseReason, EventSide, StreamPhase};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

impl EventSide {
    pub(in crate::proto) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self { phase, beats_at } = self;
        record.tick(*beats_at);
        let ended = match phase {
            StreamPhase::Open => None,
            StreamPhase::Ended(reason) => Some(reason),
        };
        record.optional(ended, |record, reason| reason.hand_over(record));
    }

    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        Ok(Self {
            beats_at: record.tick()?,
            phase: match record.optional(CloseReason::take_over)? {
                None => StreamPhase::Open,
                Some(reason) => StreamPhase::Ended(Box::new(reason)),
            },
        })
    }
}
