//! The index of a journal in a handover: the files stay where they are, and the next image of the
//! program goes on without reading them.
//!
//! Left out is what follows from the rest, and work that was begun: a segment half made, a compaction.
//! Nobody knows of that yet, so it is begun anew.

use std::collections::{BTreeMap, BTreeSet};

use super::dedup::Dedup;
use super::epoch_masks::EpochMasks;
use super::files::FileStamp;
use super::journal::{Health, Journal};
use super::names;
use super::segment::{SealedSegment, SealedSegments, SegmentEnds};
use super::segment_head::SegmentHead;
use super::settings::StoreSettings;
use super::state::StoreState;
use crate::handover::{
    HandoverError, RecordReader, RecordWriter, Section, SectionFormat, SectionWriter,
};

/// The section of a journal.
pub const JOURNAL_FORMAT: SectionFormat = SectionFormat {
    name: "journal",
    version: 1,
    oldest_reader: 1,
};

/// A journal as it was written down, before its files are looked at.
#[derive(Debug)]
pub(super) struct TakenJournal {
    pub(super) head: JournalHead,
    pub(super) state: StoreState,
    pub(super) dedup: Dedup,
}

/// The segments of a journal, and how far it has come with them.
#[derive(Debug)]
pub(super) struct JournalHead {
    pub(super) clock_ms: u64,
    pub(super) active: HandedSegment,
    pub(super) sealed: BTreeMap<u32, (SealedSegment, FileStamp)>,
    pub(super) epoch_masks: EpochMasks,
    /// Segments whose compaction found damage.
    pub(super) damaged: BTreeSet<u32>,
    /// The channel that expires next.
    pub(super) next_channel: usize,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct HandedSegment {
    pub(super) head: SegmentHead,
    pub(super) stamp: FileStamp,
    pub(super) durable: u64,
    pub(super) confirmed: u64,
    pub(super) begun_at: u64,
    pub(super) repeatable_ms: Option<u64>,
}

impl Journal {
    /// Writes the journal down, which has come to rest; nothing if its files aren't as they should be,
    /// so that the next image reads them.
    pub(super) fn write_down(&mut self) -> Option<SectionWriter> {
        self.relocate(usize::MAX);
        let head = self.head()?;
        let mut section = SectionWriter::new();
        write(&head, &self.view.state(), &self.dedup, &mut section);
        Some(section)
    }

    fn head(&self) -> Option<JournalHead> {
        let active = &self.active;
        let is_at_rest = matches!(self.health, Health::Good)
            && self.leftovers.is_none()
            && self.batch.is_empty()
            && active.confirmed == active.end;
        let stamp = active.file.stamp().ok()?;
        if !is_at_rest || stamp.size != active.end {
            return None;
        }
        let sealed = self.sealed.iter().map(|(number, segment)| {
            let path = self.settings.directory.join(names::segment(*number));
            let stamp = self.files.stamp(&path).ok()?;
            (stamp.size >= segment.size).then_some((*number, (*segment, stamp)))
        });
        Some(JournalHead {
            clock_ms: self.clock_ms,
            active: HandedSegment {
                head: active.head,
                stamp,
                durable: active.durable,
                confirmed: active.confirmed,
                begun_at: active.begun_at,
                repeatable_ms: active.repeatable_ms,
            },
            sealed: sealed.collect::<Option<_>>()?,
            epoch_masks: self.view.epoch_masks().clone(),
            damaged: self.maintenance.damaged.clone(),
            next_channel: (self.view.state()).channels_before(self.maintenance.next_channel),
        })
    }
}

fn write(head: &JournalHead, state: &StoreState, dedup: &Dedup, section: &mut SectionWriter) {
    section.record(|record| head.write(record));
    state.hand_over(section);
    dedup.hand_over(section);
}

impl TakenJournal {
    /// Reads what was written down; nothing of the files is looked at.
    pub(super) fn read(
        section: &Section<'_>,
        settings: &StoreSettings,
    ) -> Result<Self, HandoverError> {
        section.check(JOURNAL_FORMAT.version)?;
        let mut records = section.records();
        let head = JournalHead::read(&mut records.needed()?)?;
        let ends = head.sealed.iter();
        let ends = ends.map(|(number, (_, stamp))| (*number, stamp.size));
        let active = (head.active.head.number, head.active.stamp.size);
        let mut ends = SegmentEnds::new(ends.chain([active]));
        let size = section.as_bytes().len();
        let state = StoreState::take_over(&mut records, settings, &mut ends, size)?;
        let dedup = Dedup::take_over(&mut records, settings.dedup_entries_max)?;
        match records.next() {
            None => Ok(Self { head, state, dedup }),
            Some(record) => Err(record?.refuse("nothing should stand here")),
        }
    }

    /// Writes it down once more.
    pub(super) fn write_again(&self) -> SectionWriter {
        let mut section = SectionWriter::new();
        write(&self.head, &self.state, &self.dedup, &mut section);
        section
    }
}

impl JournalHead {
    /// The sealed segments.
    pub(super) fn sealed_segments(&self) -> SealedSegments {
        let sealed = self.sealed.iter();
        sealed
            .map(|(number, (segment, _))| (*number, *segment))
            .collect()
    }

    fn write(&self, record: &mut RecordWriter<'_>) {
        record.u64(self.clock_ms);
        record.record(|record| self.active.write(record));
        record.list(self.sealed.iter(), |record, (number, (segment, stamp))| {
            record.record(|record| {
                record.u64((*number).into());
                record.u64(segment.size);
                record.optional(segment.repeatable_ms, RecordWriter::u64);
                stamp.write(record);
            });
        });
        record.list(self.epoch_masks.iter(), |record, (segment, mask)| {
            record.u64(segment.into());
            record.u64(mask.into());
        });
        record.list(self.damaged.iter(), |record, number| {
            record.u64((*number).into());
        });
        record.size(self.next_channel);
    }

    fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let clock_ms = record.u64()?;
        let active = HandedSegment::read(&mut record.record()?)?;
        let sealed = record.list(|record| {
            let record = &mut record.record()?;
            let (number, size) = (record.u32()?, record.u64()?);
            let repeatable_ms = record.optional(RecordReader::u64)?;
            let segment = SealedSegment {
                size,
                repeatable_ms,
            };
            Ok((number, (segment, FileStamp::read(record)?)))
        })?;
        let masks = record.list(|record| Ok((record.u32()?, record.u32()?)))?;
        let damaged = record.list(RecordReader::u32)?;
        let next_channel = record.size()?;
        let is_older = |number: &u32| (1..active.head.number).contains(number);
        let fits = |(number, (segment, stamp)): &(u32, (SealedSegment, FileStamp))| {
            is_older(number) && segment.size <= stamp.size && u32::try_from(stamp.size).is_ok()
        };
        let is_right = sealed.is_sorted_by(|(one, _), (next, _)| one < next)
            && sealed.iter().all(fits)
            && masks.is_sorted_by(|(one, _), (next, _)| one < next)
            && damaged.is_sorted_by(|one, next| one < next);
        match is_right {
            true => Ok(Self {
                clock_ms,
                active,
                sealed: sealed.into_iter().collect(),
                epoch_masks: EpochMasks::of_list(masks),
                damaged: damaged.into_iter().collect(),
                next_channel,
            }),
            false => Err(record.refuse("its segments contradict each other")),
        }
    }
}

impl HandedSegment {
    fn write(&self, record: &mut RecordWriter<'_>) {
        record.u64(self.head.number.into());
        record.u64(self.head.key[0]);
        record.u64(self.head.key[1]);
        record.u64(self.head.checkpoint_end);
        record.u64(self.head.epoch_mask.into());
        self.stamp.write(record);
        record.u64(self.durable);
        record.u64(self.confirmed);
        record.u64(self.begun_at);
        record.optional(self.repeatable_ms, RecordWriter::u64);
    }

    fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let read = Self {
            head: SegmentHead {
                number: record.u32()?,
                key: [record.u64()?, record.u64()?],
                checkpoint_end: record.u64()?,
                epoch_mask: record.u32()?,
            },
            stamp: FileStamp::read(record)?,
            durable: record.u64()?,
            confirmed: record.u64()?,
            begun_at: record.u64()?,
            repeatable_ms: record.optional(RecordReader::u64)?,
        };
        let end = read.stamp.size;
        let inside = [
            read.durable,
            read.confirmed,
            read.begun_at,
            read.head.checkpoint_end,
        ];
        let is_right = (1..u32::MAX).contains(&read.head.number)
            && u32::try_from(end).is_ok()
            && inside.iter().all(|place| *place <= end);
        match is_right {
            true => Ok(read),
            false => Err(record.refuse("no segment is like that")),
        }
    }
}

impl FileStamp {
    fn write(&self, record: &mut RecordWriter<'_>) {
        record.u64(self.size);
        record.u64(self.identity[0]);
        record.u64(self.identity[1]);
        record.u64(self.changed.0);
        record.u64(self.changed.1);
    }

    fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        Ok(Self {
            size: record.u64()?,
            identity: [record.u64()?, record.u64()?],
            changed: (record.u64()?, record.u64()?),
        })
    }
}
