//! An answer that isn't encoded yet, and the facts about its request, in a handover.

use super::{AnswerFields, AnswerTo, Response, Version};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

/// The bits of a request's facts.
const HEAD_ONLY: u8 = 1;
const KEEP_ALIVE: u8 = 2;
const HTTP_10: u8 = 4;

impl AnswerTo {
    pub(in crate::proto) fn hand_over(self, record: &mut RecordWriter<'_>) {
        let Self {
            head_only,
            keep_alive,
            version,
        } = self;
        let bits = [
            (head_only, HEAD_ONLY),
            (keep_alive, KEEP_ALIVE),
            (version == Version::Http10, HTTP_10),
        ];
        let set = bits.into_iter().filter(|(is_set, _)| *is_set);
        record.u64(set.map(|(_, bit)| u64::from(bit)).sum());
    }

    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        let bits = record.u8()?;
        if bits > HEAD_ONLY | KEEP_ALIVE | HTTP_10 {
            return Err(record.refuse("a request is of an unknown kind"));
        }
        Ok(Self {
            head_only: bits & HEAD_ONLY != 0,
            keep_alive: bits & KEEP_ALIVE != 0,
            version: match bits & HTTP_10 {
                0 => Version::Http11,
                _ => Version::Http10,
            },
        })
    }
}

impl AnswerFields {
    pub(in crate::proto) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        write_fields(self.fields(), record);
    }

    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        Ok(Self::new(read_fields(record)?))
    }
}

fn write_fields<'a>(
    fields: impl Iterator<Item = (&'a str, &'a str)>,
    record: &mut RecordWriter<'_>,
) {
    let fields: Vec<_> = fields.collect();
    record.list(fields, |record, (name, value)| {
        record.text(name);
        record.text(value);
    });
}

fn read_fields<'a>(
    record: &mut RecordReader<'a>,
) -> Result<Vec<(&'a str, &'a str)>, HandoverError> {
    record.list(|record| Ok((record.text()?, record.text()?)))
}

impl Response {
    pub(in crate::proto) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        record.u64(self.status.into());
        write_fields(self.fields(), record);
        record.bytes(&self.body);
    }

    /// Takes an answer over through the methods that made it, so that it can't break out of its lines.
    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        let response = Self::new(record.u16()?);
        let fields = read_fields(record)?;
        let response = (fields.into_iter()).fold(response, |response, (name, value)| {
            response.field(name, value)
        });
        Ok(response.body(record.bytes()?.to_vec()))
    }
}
