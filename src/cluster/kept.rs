//! What the next image of the program goes on with as the same node.

use super::call::Life;
use super::shared::NodeShared;
use crate::handover::{
    HandoverError, RecordReader, RecordWriter, Section, SectionFormat, SectionWriter,
};

/// The section of a node.
pub const NODE_FORMAT: SectionFormat = SectionFormat {
    name: "node",
    version: 1,
    oldest_reader: 1,
};

/// A node as it was written down: enough to go on also while the engine is out of reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptNode {
    /// The generation under which it calls.
    pub generation: u64,
    /// The life that it believed in.
    pub life: Life,
    /// The highest number of a call that it knew to be safe.
    pub seen: u64,
    /// The number of the last call that it sent; 0 where an older program wrote it down, which left that to the
    /// engine.
    pub number: u64,
    /// The key of hashes that all nodes make alike; `None` where an older program wrote it down.
    pub key: Option<[u64; 2]>,
}

impl KeptNode {
    /// Writes a node down.
    pub fn write_down(shared: &NodeShared, section: &mut SectionWriter) {
        let belief = shared.belief();
        let kept = Self {
            generation: shared.generation(),
            life: belief.life,
            seen: belief.seen,
            number: shared.last_call(),
            key: shared.key(),
        };
        section.record(|record| kept.write(record));
    }

    /// Reads what was written down.
    ///
    /// # Errors
    ///
    /// [`HandoverError`].
    pub fn read(section: &Section<'_>) -> Result<Self, HandoverError> {
        section.check(NODE_FORMAT.version)?;
        let mut records = section.records();
        let record = &mut records.needed()?;
        Self::read_record(record)
    }

    fn write(&self, record: &mut RecordWriter<'_>) {
        record.u64(self.generation);
        record.text(&self.life.run);
        record.u64(self.life.era);
        record.u64(self.seen);
        record.u64(self.number);
        record.optional(self.key, |record, [first, second]| {
            record.u64(first);
            record.u64(second);
        });
    }

    fn read_record(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let (generation, run, era) = (record.u64()?, record.text()?, record.u64()?);
        if generation == 0 {
            return Err(record.refuse("has no generation"));
        }
        let run = run.into();
        Ok(Self {
            generation,
            life: Life { run, era },
            seen: record.u64()?,
            number: record.or(0, RecordReader::u64)?,
            key: record.or(None, |record| {
                record.optional(|record| Ok([record.u64()?, record.u64()?]))
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_down_is_read_back() {
        let kept = KeptNode {
            generation: 1 << 49,
            life: Life {
                run: "8f2a".into(),
                era: 1_700_000_000_001,
            },
            seen: 77,
            number: 5,
            key: Some([1, u64::MAX]),
        };
        let mut section = SectionWriter::new();
        section.record(|record| kept.write(record));
        let section = Section::of(NODE_FORMAT.name, NODE_FORMAT.version, section.as_bytes());
        assert_eq!(KeptNode::read(&section).unwrap(), kept);
    }

    #[test]
    fn what_a_program_before_these_fields_wrote_down_is_read() {
        let mut section = SectionWriter::new();
        section.record(|record| {
            record.u64(7);
            record.text("8f2a");
            record.u64(3);
            record.u64(77);
        });
        let section = Section::of(NODE_FORMAT.name, NODE_FORMAT.version, section.as_bytes());
        let kept = KeptNode::read(&section).unwrap();
        assert_eq!((kept.seen, kept.number, kept.key), (77, 0, None));
    }
}
