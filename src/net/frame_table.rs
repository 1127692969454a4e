//! The frames that many outboxes share, in a handover: each once, however many need it.
//!
//! While outboxes are written down, [`FrameTable`] gives each of their frames a number; the table itself
//! becomes a section of its own, behind those of all reactors. [`HandedFrames`] are the frames that
//! another image makes of it, counted once in the budget for as long as an outbox needs one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::budget::ByteBudget;
use crate::base::sync::lock;
use crate::handover::{HandoverError, RecordReader, Section, SectionFormat, SectionWriter};

/// The section of the frames.
pub const FRAMES: SectionFormat = SectionFormat {
    name: "frames",
    version: 1,
    oldest_reader: 1,
};

/// Numbers for the frames that outboxes share; all reactors write into one table.
#[derive(Debug, Default)]
pub struct FrameTable(Mutex<NumberedFrames>);

#[derive(Debug, Default)]
struct NumberedFrames {
    /// By address and size: what is equal in both is the same frame, since the table keeps it.
    numbers: HashMap<(usize, usize), u32>,
    frames: Vec<Bytes>,
}

impl FrameTable {
    /// Returns the number of a frame, which it gets with the first outbox.
    pub(super) fn number_of(&self, frame: &Bytes) -> u32 {
        let NumberedFrames { numbers, frames } = &mut *lock(&self.0);
        let place = (frame.as_ptr() as usize, frame.len());
        *numbers.entry(place).or_insert_with(|| {
            frames.push(frame.clone());
            u32::try_from(frames.len() - 1).expect("frames are bounded far below 2^32")
        })
    }

    /// Writes down all frames that have a number. Parts of one piece of memory, such as a message with
    /// and without what stands in the place of older ones, become parts of one again.
    pub fn hand_over(&self, section: &mut SectionWriter) {
        let frames = &lock(&self.0).frames;
        let mut in_order: Vec<u32> = (0..frames.len() as u32).collect();
        in_order.sort_by_key(|number| {
            let frame = &frames[*number as usize];
            (frame.as_ptr() as usize, frame.len())
        });
        let mut rest = &in_order[..];
        while let [first, ..] = rest {
            let (memory, parts) = joined(frames, *first, rest);
            rest = &rest[parts.len()..];
            section.record(|record| {
                record.bytes(&memory);
                record.list(
                    parts,
                    |record,
                     FramePart {
                         number,
                         start,
                         size,
                     }| {
                        record.u64(number.into());
                        record.size(start);
                        record.size(size);
                    },
                );
            });
        }
    }
}

/// A frame as a part of a piece of memory.
#[derive(Debug, Clone, Copy)]
struct FramePart {
    number: u32,
    start: usize,
    size: usize,
}

/// Joins the frames that overlap with the first of `in_order`, one after the other.
fn joined(frames: &[Bytes], first: u32, in_order: &[u32]) -> (Vec<u8>, Vec<FramePart>) {
    let begin = frames[first as usize].as_ptr() as usize;
    let (mut memory, mut parts) = (Vec::new(), Vec::new());
    for number in in_order {
        let frame = &frames[*number as usize];
        let start = frame.as_ptr() as usize - begin;
        if !memory.is_empty() && start >= memory.len() {
            break;
        }
        if start + frame.len() > memory.len() {
            memory.extend_from_slice(&frame[memory.len() - start..]);
        }
        parts.push(FramePart {
            number: *number,
            start,
            size: frame.len(),
        });
    }
    (memory, parts)
}

/// The frames of a handover, by their numbers.
#[derive(Debug)]
pub struct HandedFrames(Vec<Bytes>);

impl HandedFrames {
    /// Makes the frames, which `budget` counts from now on.
    ///
    /// # Errors
    ///
    /// The section isn't one of frames.
    pub fn read(section: Section<'_>, budget: &Arc<ByteBudget>) -> Result<Self, HandoverError> {
        section.check(FRAMES.version)?;
        let mut numbered = Vec::new();
        for record in section.records() {
            let mut record = record?;
            let memory = budget.shared(record.bytes()?.to_vec());
            let parts = record.list(|record| {
                let (number, start) = (record.u32()?, record.size()?);
                let (size, refused) = (record.size()?, || record.refuse("a frame is cut short"));
                let end = start.checked_add(size).ok_or_else(refused)?;
                if start >= end || end > memory.len() {
                    return Err(refused());
                }
                Ok((number, memory.slice(start..end)))
            })?;
            numbered.extend(parts);
        }
        numbered.sort_by_key(|(number, _)| *number);
        let mut expected = (0_u32..).zip(&numbered);
        if !expected.all(|(at, (number, _))| at == *number) {
            let missing = section.records().needed()?;
            return Err(missing.refuse("a frame has no number, or that of another one"));
        }
        Ok(Self(numbered.into_iter().map(|(_, frame)| frame).collect()))
    }

    /// Reads the number of a frame, and gives the frame.
    pub(super) fn take(&self, record: &mut RecordReader<'_>) -> Result<Bytes, HandoverError> {
        let number = record.u32()?;
        let frame = self.0.get(number as usize).cloned();
        frame.ok_or_else(|| record.refuse("an outbox has a frame that isn't there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_over(table: &FrameTable, budget: &Arc<ByteBudget>) -> (usize, HandedFrames) {
        let mut section = SectionWriter::new();
        table.hand_over(&mut section);
        let written = Section::of("frames", 1, section.as_bytes());
        let frames = HandedFrames::read(written, budget).expect("it was just written");
        (section.size(), frames)
    }

    #[test]
    fn a_frame_of_many_is_written_once_and_counted_until_the_last_of_them_lets_it_go() {
        let (table, budget) = (FrameTable::default(), ByteBudget::new(0));
        let (frame, other) = (Bytes::from(vec![7; 1_000]), Bytes::from(vec![7; 1_000]));
        for _ in 0..100 {
            assert_eq!(table.number_of(&frame.clone()), 0);
        }
        assert_eq!(
            table.number_of(&other),
            1,
            "equal bytes aren't the same frame"
        );
        let (size, frames) = handed_over(&table, &budget);
        assert!((2_000..2_050).contains(&size), "{size}");
        assert_eq!((&frames.0[0], &frames.0[1]), (&frame, &other));
        assert_eq!(budget.bytes(), 2_000);
        let kept = frames.0[0].clone();
        drop(frames);
        assert_eq!(budget.bytes(), 1_000);
        drop(kept);
        assert_eq!(budget.bytes(), 0);
    }

    #[test]
    fn parts_of_one_memory_are_parts_of_one_again() {
        let (table, budget) = (FrameTable::default(), ByteBudget::new(0));
        let whole = Bytes::from((0..100).collect::<Vec<u8>>());
        let parts = [
            whole.slice(30..),
            whole.slice(..40),
            whole.clone(),
            whole.slice(35..36),
        ];
        let numbers: Vec<u32> = parts.iter().map(|part| table.number_of(part)).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        let (_, frames) = handed_over(&table, &budget);
        assert_eq!(frames.0, parts);
        assert_eq!(budget.bytes(), 100, "the memory counts once");
        // Two that overlap and have no whole around them.
        let table = FrameTable::default();
        assert_eq!(table.number_of(&parts[1]), 0);
        assert_eq!(table.number_of(&parts[0]), 1);
        let (_, frames) = handed_over(&table, &budget);
        assert_eq!(frames.0, [parts[1].clone(), parts[0].clone()]);
    }

    #[test]
    fn frames_with_wrong_numbers_or_places_are_refused() {
        let refused = |parts: &[(u64, usize, usize)]| {
            let mut section = SectionWriter::new();
            section.record(|record| {
                record.bytes(b"abc");
                record.list(parts, |record, (number, start, size)| {
                    record.u64(*number);
                    record.size(*start);
                    record.size(*size);
                });
            });
            let written = Section::of("frames", 1, section.as_bytes());
            HandedFrames::read(written, &ByteBudget::new(0)).is_err()
        };
        assert!(!refused(&[(0, 0, 3), (1, 2, 1)]));
        for wrong in [
            (1, 0, 3),
            (0, 0, 4),
            (0, 3, 1),
            (0, 1, usize::MAX),
            (0, 1, 0),
        ] {
            assert!(refused(&[wrong]), "{wrong:?}");
        }
        assert!(refused(&[(0, 0, 3), (0, 0, 3)]));
        assert!(refused(&[(0, 0, 3), (2, 0, 3)]));
    }
}
