//! The kinds of records of the endpoint's section.

use crate::handover::{HandoverError, RecordReader, RecordWriter, SectionWriter};

/// The kind of a record, which is its first field. A number is never used for another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::endpoint) enum EndpointRecord {
    /// The clock, and the serial numbers of connections; the first record, once.
    Clock = 0,
    /// A number that only grows.
    Counter = 1,
    /// The API key that a connection showed.
    ShownKey = 2,
    /// The key of a token, to which deadlines point by its place.
    TokenKey = 3,
    /// The time by which a connection has to act.
    Deadline = 4,
    /// A connection that will be closed since its key was withdrawn.
    Withdrawn = 5,
    /// The key of a token that was withdrawn.
    WithdrawnTokenKey = 6,
    /// A connection that was told to go.
    Kicked = 7,
    /// The replays of a connection.
    Replays = 8,
    Link = 9,
    /// The link that a producer opened last.
    Producer = 10,
    /// A number of a producer that was refused for good.
    LinkRefusal = 11,
}

impl EndpointRecord {
    pub(super) const ALL: [Self; 12] = [
        Self::Clock,
        Self::Counter,
        Self::ShownKey,
        Self::TokenKey,
        Self::Deadline,
        Self::Withdrawn,
        Self::WithdrawnTokenKey,
        Self::Kicked,
        Self::Replays,
        Self::Link,
        Self::Producer,
        Self::LinkRefusal,
    ];

    /// Writes a record of this kind.
    pub(in crate::endpoint) fn write(
        self,
        section: &mut SectionWriter,
        write: impl FnOnce(&mut RecordWriter<'_>),
    ) {
        section.record(|record| {
            record.size(self as usize);
            write(record);
        });
    }

    /// Writes a number that only grows, by the names of its owner and of its own; 0 needs no record.
    pub(in crate::endpoint) fn count(
        section: &mut SectionWriter,
        of: &str,
        name: &str,
        count: u64,
    ) {
        if count > 0 {
            Self::Counter.write(section, |record| {
                record.text(of);
                record.text(name);
                record.u64(count);
            });
        }
    }

    pub(in crate::endpoint) fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let number = record.size()?;
        let kind = Self::ALL.get(number).copied();
        kind.ok_or_else(|| record.refuse("this program doesn't know its kind"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_number() {
        for (number, kind) in EndpointRecord::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, number);
        }
    }
}
