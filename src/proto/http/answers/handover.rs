//! The answers of a connection that haven't left, in a handover.

use std::sync::Arc;

use super::{AnswerSlot, Answers};
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::proto::http::{AnswerFields, AnswerTo, Response};

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
        // What each answer gets besides stands behind all that is known of the connection.
        for AnswerSlot { to, answer, .. } in oldest.iter().chain(later) {
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

    /// Lists the fields that each answer gets besides, oldest first.
    pub(in crate::proto) fn fields(&self) -> impl Iterator<Item = Option<&AnswerFields>> {
        let slots = self.oldest.iter().chain(&self.later);
        slots.map(|slot| slot.fields.as_deref())
    }

    /// Gives each answer such fields, in the same order.
    pub(in crate::proto) fn set_fields(
        &mut self,
        fields: impl IntoIterator<Item = Option<AnswerFields>>,
    ) {
        let slots = self.oldest.iter_mut().chain(&mut self.later);
        for (slot, fields) in slots.zip(fields) {
            slot.fields = fields.map(Arc::new);
        }
    }
}
