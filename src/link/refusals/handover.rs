//! The refusals of the producers in a handover.

use std::sync::Arc;

use super::RecentRefusals;
use crate::api::refusal::Refusal;
use crate::chat::ErrorCode;
use crate::handover::{HandoverError, RecordReader, RecordWriter};

impl RecentRefusals {
    /// Calls `each` for every refusal, with a function that writes it down; in the order of the
    /// producers and their numbers.
    pub fn hand_over(&self, mut each: impl FnMut(&dyn Fn(&mut RecordWriter<'_>))) {
        let mut producers: Vec<_> = self.producers.iter().collect();
        producers.sort_unstable_by_key(|(producer, _)| Arc::clone(producer));
        for (producer, refused) in producers {
            for (n, refusal) in refused {
                each(&|record| write(record, producer, *n, refusal));
            }
        }
    }

    /// Takes a refusal that was written down.
    ///
    /// # Errors
    ///
    /// The record is none.
    pub fn take_over(&mut self, record: &mut RecordReader<'_>) -> Result<(), HandoverError> {
        let (producer, n) = (Arc::from(record.text()?), record.u64()?);
        let code = ErrorCode::of_name(record.text()?);
        let code = code.ok_or_else(|| record.refuse("there is no such code"))?;
        let refusal = Refusal {
            code,
            message: record.text()?.to_owned().into(),
            status: record.u16()?,
            retry_after_s: record.u64()?,
        };
        self.record(&producer, n, refusal);
        Ok(())
    }
}

fn write(record: &mut RecordWriter<'_>, producer: &str, n: u64, refusal: &Refusal) {
    record.text(producer);
    record.u64(n);
    record.text(refusal.code.name());
    record.text(&refusal.message);
    record.u64(refusal.status.into());
    record.u64(refusal.retry_after_s);
}
