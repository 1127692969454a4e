//! The memory of repeats in a handover: each message with its age, the oldest first.

use super::{Dedup, HashTable, KnownMessage, SenderTag, TABLES, hash, table_of};
use crate::base::Epoch;
use crate::handover::{HandoverError, Records, SectionWriter};

/// Bytes of a message.
const KNOWN_SIZE: usize = 40;

/// Messages that one record has at the most.
const KNOWN_A_RECORD: usize = 1_024;

/// A count that nobody reaches.
const FORGOTTEN_MAX: u64 = 1 << 60;

impl Dedup {
    /// Writes down what is known, without those that went before their turn.
    pub(in crate::store) fn hand_over(&self, section: &mut SectionWriter) {
        section.record(|record| {
            record.u64(self.seed);
            record.u64(self.forgotten);
            record.size(self.count());
        });
        let mut known = self.known.iter().filter(|known| known.offset > 0);
        let mut bytes = Vec::with_capacity(KNOWN_A_RECORD * KNOWN_SIZE);
        loop {
            bytes.clear();
            for known in known.by_ref().take(KNOWN_A_RECORD) {
                bytes.extend_from_slice(&known.to_bytes());
            }
            if bytes.is_empty() {
                return;
            }
            section.record(|record| record.bytes(&bytes));
        }
    }

    /// Makes the memory that was written down, for up to `max` messages; those beyond grow old.
    pub(in crate::store) fn take_over(
        records: &mut Records<'_>,
        max: usize,
    ) -> Result<Self, HandoverError> {
        let record = &mut records.needed()?;
        let mut dedup = Self::new(record.u64()?, max);
        dedup.forgotten = record.u64()?;
        if dedup.forgotten > FORGOTTEN_MAX {
            return Err(record.refuse("nobody has forgotten so many messages"));
        }
        let count = record.size()?;
        if u32::try_from(count).is_err() {
            return Err(record.refuse("nobody remembers so many messages"));
        }
        while dedup.known.len() < count {
            let record = &mut records.needed()?;
            let (all, rest) = record.bytes()?.as_chunks::<KNOWN_SIZE>();
            let here = (count - dedup.known.len()).min(KNOWN_A_RECORD);
            if all.len() != here || !rest.is_empty() {
                return Err(record.refuse("it has another number of messages than it says"));
            }
            for known in all {
                let known = KnownMessage::of_bytes(known);
                let known = known.ok_or_else(|| record.refuse("no message has that position"))?;
                dedup.known.push_back(known);
            }
        }
        dedup.enter_all();
        Ok(dedup)
    }

    /// Enters the numbers of all that are known into the tables, which are empty.
    fn enter_all(&mut self) {
        let all = &self.known;
        // Hardly a table gets a tenth more than its part.
        let part = all.len() / TABLES / 10 * 11;
        let table = || HashTable::with_capacity(part);
        self.numbers = std::iter::repeat_with(table).take(TABLES).collect();
        let hash_of = |number: &u32| hash(all[*number as usize].idempotency_key);
        for (number, known) in (0..).zip(all) {
            let key = known.idempotency_key;
            self.numbers[table_of(key)].insert_unique(hash(key), number, hash_of);
        }
    }
}

impl KnownMessage {
    fn to_bytes(self) -> [u8; KNOWN_SIZE] {
        let mut bytes = [0; KNOWN_SIZE];
        let tail = u64::from(self.epoch.bits()) << 32 | u64::from(self.sender.0);
        let [high, low] = self.idempotency_key;
        let fields = [self.at_ms, high, low, tail, self.offset];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    fn of_bytes(bytes: &[u8; KNOWN_SIZE]) -> Option<Self> {
        let (fields, _) = bytes.as_chunks::<8>();
        let field = |at: usize| u64::from_le_bytes(fields[at]);
        let (tail, offset) = (field(3), field(4));
        let bits = (tail >> 32) as u32;
        let epoch = Epoch::from_bits(bits);
        (epoch.bits() == bits && offset > 0).then_some(Self {
            at_ms: field(0),
            idempotency_key: [field(1), field(2)],
            epoch,
            sender: SenderTag(tail as u32),
            offset,
        })
    }
}
