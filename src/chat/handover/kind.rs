//! The kinds of records.

use crate::handover::{HandoverError, RecordReader};

/// The kind of a record, which is its first field. A number is never used for another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// Where ids, epochs and hashes come from; the first record, once.
    Sources = 0,
    /// A number that only grows.
    Counter = 1,
    /// A name of a user's inbox or of a room.
    Name = 2,
    /// The rights of one or more connections.
    Rights = 3,
    /// A kept message.
    Message = 4,
    Connection = 5,
    Inbox = 6,
    /// The rooms of which a user is a lasting member.
    Lasting = 7,
    Room = 8,
    /// The channel of everyone; once.
    Everyone = 9,
    /// The id of a message that was said lately.
    RecentId = 10,
}

const KINDS: [RecordKind; 11] = [
    RecordKind::Sources,
    RecordKind::Counter,
    RecordKind::Name,
    RecordKind::Rights,
    RecordKind::Message,
    RecordKind::Connection,
    RecordKind::Inbox,
    RecordKind::Lasting,
    RecordKind::Room,
    RecordKind::Everyone,
    RecordKind::RecentId,
];

impl RecordKind {
    pub(super) fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let number = record.size()?;
        let kind = KINDS.get(number).copied();
        kind.ok_or_else(|| record.refuse("this program doesn't know its kind"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_number() {
        for (number, kind) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, number);
        }
    }
}
