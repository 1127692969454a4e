//! The replays in a handover.

use std::sync::atomic::Ordering::Relaxed;

use super::Replays;
use crate::base::sync::lock;
use crate::endpoint::handover::kind::EndpointRecord;
use crate::handover::{HandoverError, RecordReader, SectionWriter};

impl Replays {
    /// Writes down the replays under way, while no page is being read.
    pub(in crate::endpoint) fn hand_over(&self, section: &mut SectionWriter) {
        lock(&self.table).hand_over(section);
        for (name, count) in [
            ("pages", &self.pages),
            ("finished", &self.finished),
            ("refused", &self.refused),
        ] {
            EndpointRecord::count(section, "replays", name, count.load(Relaxed));
        }
    }

    /// Takes the replays of one connection.
    pub(in crate::endpoint) fn take(
        &self,
        record: &mut RecordReader<'_>,
    ) -> Result<(), HandoverError> {
        lock(&self.table).take_over(record)
    }

    /// Counts on from a number of an earlier image.
    pub(in crate::endpoint) fn count_on(&self, name: &str, from: u64) {
        let count = match name {
            "pages" => &self.pages,
            "finished" => &self.finished,
            "refused" => &self.refused,
            _ => return,
        };
        count.fetch_add(from, Relaxed);
    }

    /// Has the next pages read of those that were ready for them.
    pub(in crate::endpoint) fn resume(&self) {
        let ready = lock(&self.table).resume();
        for fd in ready {
            self.next_page(fd);
        }
    }
}
