//! The committed state in a handover: channels with the locations of their messages, in the order of
//! their indexes, then memberships and marks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slab::Slab;

use super::{CHANNEL_SIZE, MARK_MAX, NUMBER_MAX, StoreState, StoredChannel, Strictness};
use crate::handover::{HandoverError, RecordReader, RecordWriter, Records, SectionWriter};
use crate::store::channel_log::ChannelLog;
use crate::store::channel_names::ChannelNames;
use crate::store::segment::SegmentEnds;
use crate::store::settings::StoreSettings;
use crate::store::usage::LogUsage;

/// Bytes of a channel in a handover at the least.
const CHANNEL_SIZE_MIN: usize = 8;

impl StoreState {
    /// Writes the state down.
    pub(in crate::store) fn hand_over(&self, section: &mut SectionWriter) {
        section.record(|record| {
            record.size(self.channels.len());
            record.size(self.members.len());
            record.u64(self.serials_below);
            record.u64(self.forgotten);
            record.u64(self.usage.trimmed);
            record.list(self.marks.iter(), |record, (producer, mark)| {
                record.text(producer);
                record.u64(*mark);
            });
        });
        let bytes = &mut Vec::new();
        for channel in self.channels() {
            section.record(|record| {
                record.text(&channel.name);
                record.optional(channel.opener.as_deref(), RecordWriter::text);
                record.list(channel.acks.iter(), |record, (reader, offset)| {
                    record.text(reader);
                    record.u64(*offset);
                });
                channel.log.hand_over(record, bytes);
            });
            channel.log.hand_over_rest(section, bytes);
        }
        for (room, users) in &self.members {
            section.record(|record| {
                record.text(room);
                record.list(users.iter(), |record, user| record.text(user));
            });
        }
    }

    /// Makes the state that was written down, whose messages are in these segments.
    pub(in crate::store) fn take_over(
        records: &mut Records<'_>,
        settings: &StoreSettings,
        ends: &mut SegmentEnds,
        size: usize,
    ) -> Result<Self, HandoverError> {
        let mut state = Self::new(Arc::clone(&settings.retention));
        state.bound_messages(settings.bytes_max);
        let record = &mut records.needed()?;
        let (channels, rooms) = (record.size()?, record.size()?);
        if channels > size / CHANNEL_SIZE_MIN {
            return Err(record.refuse("it has fewer bytes than channels"));
        }
        state.serials_below = number(record, NUMBER_MAX)?;
        state.forgotten = record.u64()?;
        state.usage.trimmed = number(record, NUMBER_MAX)?;
        let marks = record.list(|record| Ok((record.text()?.into(), number(record, MARK_MAX)?)))?;
        state.marks = ascending(record, marks)?;
        state.channels = Slab::with_capacity(channels);
        state.names = ChannelNames::with_room(channels);
        for _ in 0..channels {
            let record = &mut records.needed()?;
            state.take_channel(record, records, ends)?;
        }
        for _ in 0..rooms {
            let record = &mut records.needed()?;
            let room: Box<str> = record.text()?.into();
            let users = record.list(|record| Ok((Box::from(record.text()?), ())))?;
            let users: BTreeSet<Box<str>> = ascending(record, users)?.into_keys().collect();
            let last = state.members.last_key_value();
            let is_in_place = last.is_none_or(|(last, _)| *last < room);
            if users.is_empty() || !is_in_place {
                return Err(record.refuse("it has no members, or stands in a wrong place"));
            }
            state.members_count += users.len();
            state.members.insert(room, users);
        }
        debug_assert_eq!(state.strictness, Strictness::Strict);
        Ok(state)
    }

    fn take_channel(
        &mut self,
        record: &mut RecordReader<'_>,
        further: &mut Records<'_>,
        ends: &mut SegmentEnds,
    ) -> Result<(), HandoverError> {
        let name = record.text()?;
        if self.names.find(name).is_some() {
            return Err(record.refuse("two channels have one name"));
        }
        let opener = record.optional(|record| Ok(record.text()?.into()))?;
        let acks =
            record.list(|record| Ok((record.text()?.into(), number(record, NUMBER_MAX)?)))?;
        let acks = ascending(record, acks)?;
        let retention = (self.retention)(name);
        let usage: &mut LogUsage = &mut self.usage;
        let log = ChannelLog::take_over(record, further, retention, (ends, usage))?;
        if log.newest() > NUMBER_MAX {
            return Err(record.refuse("its offsets are larger than any that was given"));
        }
        self.usage.index_bytes += CHANNEL_SIZE + name.len();
        let name: Arc<str> = name.into();
        let index = self.channels.insert(StoredChannel {
            name: Arc::clone(&name),
            log,
            acks,
            opener,
        });
        self.names.insert(name, index);
        Ok(())
    }

    /// Counts the channels in front of this index.
    pub(in crate::store) fn channels_before(&self, index: usize) -> usize {
        let before = |(at, _): &(usize, _)| *at < index;
        self.channels.iter().take_while(before).count()
    }
}

fn number(record: &mut RecordReader<'_>, max: u64) -> Result<u64, HandoverError> {
    let number = record.u64()?;
    match number <= max {
        true => Ok(number),
        false => Err(record.refuse("a number is larger than any that was given")),
    }
}

/// Makes a map of a list that has to be in order: so there is one way to write it down.
fn ascending<V>(
    record: &RecordReader<'_>,
    list: Vec<(Box<str>, V)>,
) -> Result<BTreeMap<Box<str>, V>, HandoverError> {
    match list.is_sorted_by(|(one, _), (next, _)| one < next) {
        true => Ok(list.into_iter().collect()),
        false => Err(record.refuse("a list in it is out of order")),
    }
}
