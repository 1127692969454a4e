//! The ledger in a handover.

use bytes::Bytes;

use super::super::pipe::{PipeKind, header};
use super::{Ledger, LedgerEntry};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

impl Ledger {
    /// Writes all of it down.
    pub(in super::super) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        record.list(&self.waiting, |record, entry| {
            record.record(|record| {
                record.u64(entry.kind as u64);
                record.u64(entry.id);
                record.bytes(&entry.payload);
            });
        });
        record.size(self.head_written);
        record.flag(self.is_stop_written);
        record.list(&self.given, |record, (id, payload)| {
            record.record(|record| {
                record.u64(*id);
                record.bytes(payload);
            });
        });
    }

    /// Makes the ledger that was written down.
    pub(in super::super) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        let waiting = record.list(|record| read_entry(&mut record.record()?))?;
        let (head_written, is_stop_written) = (record.size()?, record.flag()?);
        let given = record.list(|record| {
            let mut record = record.record()?;
            Ok((record.u64()?, Bytes::copy_from_slice(record.bytes()?)))
        })?;
        let head_size = waiting.first().map_or(1, LedgerEntry::frame_size);
        if head_written >= head_size {
            return Err(record.refuse("more is written of a frame than it has"));
        }
        let tasks = waiting.iter().filter(|entry| entry.kind == PipeKind::Task);
        let ids = given.iter().map(|(id, _)| *id);
        if !ids
            .chain(tasks.map(|task| task.id))
            .is_sorted_by(|a, b| a < b)
        {
            return Err(record.refuse("tasks are out of order"));
        }
        Ok(Self {
            waiting: waiting.into(),
            head_written,
            given: given.into_iter().collect(),
            released: 0,
            is_stop_written,
        })
    }

    /// The bytes that end the frame under way, if there is one, and then the process.
    pub(in super::super) fn last_words(&self) -> Vec<u8> {
        let mut words = Vec::new();
        if self.is_stop_written {
            return words;
        }
        let head = self.waiting.front().filter(|_| self.head_written > 0);
        if let Some(head) = head {
            words.extend_from_slice(&header(head.kind, head.id, head.payload.len()));
            words.extend_from_slice(&head.payload);
            words.drain(..self.head_written);
        }
        if head.is_none_or(|head| head.kind != PipeKind::Stop) {
            words.extend_from_slice(&header(PipeKind::Stop, 0, 0));
        }
        words
    }

    /// Notes that a process of another version is told its last words, and nothing else from here.
    pub(in super::super) fn leave_to_last_words(&mut self) {
        if self.head_written > 0 {
            let rest = self.waiting.front().map_or(0, LedgerEntry::frame_size) - self.head_written;
            self.advance(rest);
        }
        self.is_stop_written = true;
    }

    /// The number of the youngest task; 0 if there is none.
    pub(in super::super) fn last_task(&self) -> u64 {
        let waiting = self.waiting.iter().map(|entry| entry.id);
        waiting.chain(self.given.keys().copied()).max().unwrap_or(0)
    }

    /// The size of the largest payload.
    pub(in super::super) fn payload_max(&self) -> usize {
        let waiting = self.waiting.iter().map(|entry| entry.payload.len());
        let given = self.given.values().map(Bytes::len);
        waiting.chain(given).max().unwrap_or(0)
    }

    /// Counts what the link to the process counts as unfinished: tasks, and bytes of all.
    pub(in super::super) fn unfinished(&self) -> (usize, usize) {
        let waiting = || {
            self.waiting
                .iter()
                .filter(|entry| entry.kind != PipeKind::Stop)
        };
        let tasks = waiting()
            .filter(|entry| entry.kind == PipeKind::Task)
            .count();
        let given = self
            .given
            .values()
            .map(|payload| super::ENTRY_SIZE + payload.len());
        let bytes = waiting().map(LedgerEntry::weight).chain(given).sum();
        (tasks + self.given.len(), bytes)
    }
}

fn read_entry(record: &mut RecordReader<'_>) -> Result<LedgerEntry, HandoverError> {
    let kind = record.u8()?;
    let kind = PipeKind::from_byte(kind)
        .filter(|kind| matches!(kind, PipeKind::Message | PipeKind::Task | PipeKind::Stop));
    Ok(LedgerEntry {
        kind: kind.ok_or_else(|| record.refuse("an entry is of no kind"))?,
        id: record.u64()?,
        payload: Bytes::copy_from_slice(record.bytes()?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::pipe::{HEADER_SIZE, PipeDecoder};
    use super::super::WriteOutcome;
    use super::super::tests::{ALL_BYTES, frames, ledger, pipe};
    use super::*;
    use crate::handover::{Section, SectionWriter};

    fn hand_over(ledger: &Ledger) -> SectionWriter {
        let mut section = SectionWriter::new();
        section.record(|record| ledger.hand_over(record));
        section
    }

    fn take_over(section: &SectionWriter) -> Result<Ledger, HandoverError> {
        let section = Section::of("processes", 1, section.as_bytes());
        Ledger::take_over(&mut section.records().needed()?)
    }

    #[test]
    fn one_that_is_handed_over_at_any_byte_goes_on_there() {
        for cut in 0..=ALL_BYTES {
            let (mut ledger, mut pipe) = (ledger(), pipe(cut));
            let _ = ledger.write(&mut pipe).unwrap();
            ledger.take_released();
            let unfinished = ledger.unfinished();
            let section = hand_over(&ledger);
            let mut next = take_over(&section).unwrap();
            assert_eq!(hand_over(&next), section, "cut at {cut}");
            assert_eq!((next.unfinished(), next.last_task()), (unfinished, 3));
            pipe.room = usize::MAX;
            ledger.write(&mut pipe).unwrap();
            let expected = pipe.bytes.split_off(cut);
            let mut rest = super::super::tests::pipe(usize::MAX);
            assert_eq!(next.write(&mut rest).unwrap(), WriteOutcome::All);
            assert_eq!(rest.bytes, expected, "cut at {cut}");
            assert_eq!(next.given, ledger.given);
        }
    }

    #[test]
    fn last_words_at_any_byte_end_the_frame_under_way_and_then_the_process() {
        for cut in 0..=ALL_BYTES {
            let (mut ledger, mut pipe) = (ledger(), pipe(cut));
            let _ = ledger.write(&mut pipe).unwrap();
            let words = ledger.last_words();
            ledger.leave_to_last_words();
            assert!(!ledger.is_waiting());
            assert!(ledger.last_words().is_empty(), "they are said once");
            let told = [&pipe.bytes[..], &words[..]].concat();
            let mut decoder = PipeDecoder::new(100);
            decoder.receive(&told);
            let mut told = frames(&told);
            assert_eq!(told.pop(), Some((PipeKind::Stop, 0)), "cut at {cut}");
            assert!(told.len() * HEADER_SIZE <= cut + HEADER_SIZE);
            // Whatever it was given is given to the next one.
            ledger.give_again();
            let mut next = super::super::tests::pipe(usize::MAX);
            ledger.write(&mut next).unwrap();
            let again = frames(&next.bytes);
            let tasks = again.iter().filter(|(kind, _)| *kind == PipeKind::Task);
            assert!(tasks.map(|(_, id)| *id).eq(1..=3), "cut at {cut}");
            let all = told.iter().chain(&again);
            let messages = all.filter(|(kind, _)| *kind == PipeKind::Message);
            assert_eq!(messages.count(), 1, "cut at {cut}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let entry = |kind, id| LedgerEntry {
            kind,
            id,
            payload: Bytes::from("x"),
        };
        let of = |entries: &[(PipeKind, u64)], head_written| {
            let waiting = entries.iter().map(|(kind, id)| entry(*kind, *id)).collect();
            hand_over(&Ledger {
                waiting,
                head_written,
                given: [(7, Bytes::new())].into(),
                ..Ledger::default()
            })
        };
        use PipeKind::{Finish, Message, Task};
        assert!(take_over(&of(&[(Task, 8), (Message, 0), (Task, 9)], HEADER_SIZE)).is_ok());
        for (entries, head_written) in [
            (&[(Task, 8)][..], HEADER_SIZE + 1),
            (&[], 1),
            (&[(Task, 8), (Task, 8)], 0),
            (&[(Task, 7)], 0),
            (&[(Task, 6)], 0),
            (&[(Finish, 8)], 0),
        ] {
            let refused = take_over(&of(entries, head_written));
            assert!(refused.is_err(), "{entries:?} {head_written}");
        }
    }
}
