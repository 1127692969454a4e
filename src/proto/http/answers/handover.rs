//! The answers of a connection that haven't left, in a handover.

use super::{AnswerSlot, Answers};
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::proto::http::{AnswerTo, Response};

impl Answers {
    pub(in crate::proto) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self {
            oldest,
            later,
            serial,
            bytes: _,
        } = self;
        record.u64((*serial).into());
        record.size(self.waiting());
        for AnswerSlot { to, answer } in oldest.iter().chain(later) {
            to.hand_over(record);
            record.optional(answer.as_ref(), |record, answer| answer.hand_over(record));
        }
    }

    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        let mut answers = Self {
            serial: record.u32()?,
            ..Self::new()
        };
        let waiting = record.list(|record| {
            let to = AnswerTo::take_over(record)?;
            Ok((to, record.optional(Response::take_over)?))
        })?;
        for (to, answer) in waiting {
            let serial = answers.begin(to);
            if let Some(answer) = answer {
                answers.fill(serial, answer);
            }
        }
        Ok(answers)
    }
}
