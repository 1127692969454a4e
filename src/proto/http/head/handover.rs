//! A head in a handover: its bytes, which are parsed again, so that all that was checked is true again.

use super::Head;
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::proto::http::{HttpLimits, parse};

/// The head was within the bounds of its time.
const UNBOUNDED: HttpLimits = HttpLimits {
    target_size_max: usize::MAX,
    head_size_max: usize::MAX,
    head_fields_max: usize::MAX,
    body_size_max: usize::MAX,
    chunk_extensions_size_max: usize::MAX,
    trailers_size_max: usize::MAX,
};

impl Head {
    /// Writes the head down.
    pub fn hand_over(&self, record: &mut RecordWriter<'_>) {
        record.bytes(self.bytes.all());
    }

    /// Reads a head.
    ///
    /// # Errors
    ///
    /// The bytes are no whole head.
    pub fn take_over(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let bytes = record.bytes()?;
        match parse(bytes, &mut 0, &UNBOUNDED) {
            Ok(Some((head, size))) if size == bytes.len() => Ok(head),
            _ => Err(record.refuse("a request has no whole head")),
        }
    }
}
