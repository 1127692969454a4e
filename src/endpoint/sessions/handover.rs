//! The sessions in a handover.
//!
//! Acknowledgements are at the disk by then, commands have ended, and how much each client may still
//! ask for isn't kept: somebody may have one burst more.

use super::Sessions;
use super::deadlines::TakenDeadlines;
use crate::base::{Fd, MetricKind};
use crate::endpoint::handover::kind::EndpointRecord;
use crate::handover::{HandoverError, RecordReader, SectionWriter};

/// What is read of the sessions.
#[derive(Debug, Default)]
pub(in crate::endpoint) struct TakenSessions {
    deadlines: TakenDeadlines,
    kicked: Vec<Fd>,
}

impl Sessions {
    /// Writes down the sessions, while nothing is carried out.
    pub(in crate::endpoint) fn hand_over(&self, section: &mut SectionWriter) {
        debug_assert!(self.acks.are_given(), "the disk has them");
        debug_assert!(self.running.are_none(), "nothing is carried out");
        self.deadlines.hand_over(section);
        for fd in self.kicked.all() {
            EndpointRecord::Kicked.write(section, |record| record.u64(fd.0));
        }
        for (name, count) in self.refusals.counts() {
            EndpointRecord::count(section, "refusals", name, count);
        }
        for metric in self.limits.described() {
            if metric.kind == MetricKind::Counter {
                EndpointRecord::count(section, "limits", metric.name, metric.value);
            }
        }
    }

    /// Counts on from a number of an earlier image, of refusals or of the limits.
    pub(in crate::endpoint) fn count_on(&self, of: &str, name: &str, from: u64) {
        match of {
            "refusals" => self.refusals.count_on(name, from),
            _ => self.limits.count_on(name, from),
        }
    }

    /// Puts what was read in place.
    pub(in crate::endpoint) fn take_over(&self, taken: TakenSessions) {
        self.deadlines.take_over(taken.deadlines);
        for fd in taken.kicked {
            self.kicked.insert(fd);
        }
    }
}

impl TakenSessions {
    /// Takes a record of one of the kinds that [`Sessions::hand_over`] writes, but for numbers.
    pub(in crate::endpoint) fn take(
        &mut self,
        kind: EndpointRecord,
        record: &mut RecordReader<'_>,
    ) -> Result<(), HandoverError> {
        match kind {
            EndpointRecord::Kicked => {
                self.kicked.push(Fd(record.u64()?));
                Ok(())
            }
            kind => self.deadlines.take(kind, record),
        }
    }
}

#[cfg(test)]
impl Sessions {
    /// Has something of everything that is handed over.
    pub(in crate::endpoint) fn use_everything(&self) {
        use super::deadlines::DeadlineFor;
        use crate::api::auth::WithdrawnKeys;

        self.deadlines
            .set(Fd(1), 1_700_000_000_000, DeadlineFor::Login);
        for fd in 2..=4 {
            let token = DeadlineFor::Token(fd % 2);
            self.deadlines.set(Fd(fd), 1_800_000_000_000 + fd, token);
        }
        self.deadlines.note_key(Fd(5), "shop".into());
        self.deadlines.note_unknown_key(Fd(6));
        let withdrawn = WithdrawnKeys {
            api_keys: vec!["shop".into()],
            token_keys: vec![1],
            link_key: false,
        };
        self.withdraw(&withdrawn, || {});
        self.kicked.insert(Fd(3));
        self.refusals.count_on("origin", 5);
        self.limits.count_on("requests_refused", 6);
    }
}
