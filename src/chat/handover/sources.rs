//! Where ids, epochs and hashes come from, and the numbers that only grow.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::kind::RecordKind;
use super::writer::ChatWriter;
use crate::chat::Chat;
use crate::chat::id_source::IdSource;
use crate::chat::recent_ids::RecentIds;
use crate::chat::settings::ChatSettings;
use crate::chat::stored_index::StoredIndex;
use crate::handover::{HandoverError, RecordReader};

/// The first record.
#[derive(Debug)]
pub(super) struct Sources {
    /// The seed of the source of ids that goes on where the last one was.
    ids: u64,
    hash_keys: [u64; 2],
    /// The seed by which names are divided among shards.
    shards_seed: u64,
    /// The part with which the next look at what is due begins.
    expires_from: usize,
    /// The number of the next channel that somebody opens.
    pub(super) next_opened: u64,
    /// The parts of the table of remembered ids.
    pub(super) recent_id_parts: usize,
    /// What was kept, and for how long: times are planned by that.
    channel_ttl_ms: u64,
    kept_ms_max: u64,
    kept_messages_max: usize,
    kept_channel_bytes_max: usize,
    kept_bytes_max: usize,
}

/// Writes the first record, and one for each number that only grows.
pub(super) fn write(writer: &mut ChatWriter<'_>, chat: &Chat) {
    let common = &chat.common;
    writer.record(RecordKind::Sources, |record| {
        record.u64(common.ids.rest());
        let [first, second] = common.hasher.keys();
        record.u64(first);
        record.u64(second);
        record.u64(chat.rooms.seed());
        record.size(chat.expires_from.load(Relaxed));
        record.u64(common.openers.next_number());
        record.size(chat.recent_ids.parts());
        record.u64(common.settings.channel_ttl_ms());
        record.u64(common.settings.kept_ms_max());
        record.size(common.settings.kept_messages_max());
        record.size(common.settings.kept_channel_bytes_max());
        record.size(common.settings.kept_bytes_max());
    });
    for (name, counter) in common.totals.counters() {
        writer.record(RecordKind::Counter, |record| {
            record.text(name);
            record.u64(counter.now());
        });
    }
}

/// Takes a number that only grows; one that this program doesn't have is passed over.
pub(super) fn take_counter(
    record: &mut RecordReader<'_>,
    chat: &Chat,
) -> Result<(), HandoverError> {
    let (name, value) = (record.text()?, record.u64()?);
    let mut counters = chat.common.totals.counters();
    if let Some((_, counter)) = counters.find(|(known, _)| *known == name) {
        counter.add(value);
    }
    Ok(())
}

impl Sources {
    pub(super) fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        if RecordKind::read(record)? != RecordKind::Sources {
            return Err(record.refuse("the sources have to come first"));
        }
        Ok(Self {
            ids: record.u64()?,
            hash_keys: [record.u64()?, record.u64()?],
            shards_seed: record.u64()?,
            expires_from: record.size()?,
            next_opened: record.u64()?,
            recent_id_parts: record.size()?,
            channel_ttl_ms: record.u64()?,
            kept_ms_max: record.u64()?,
            kept_messages_max: record.size()?,
            kept_channel_bytes_max: record.size()?,
            kept_bytes_max: record.size()?,
        })
    }

    /// Makes an empty chat with these sources, which keeps what it kept before; the settings are put into
    /// force once everything is there.
    pub(super) fn begin(&self, settings: ChatSettings, stored: Arc<dyn StoredIndex>) -> Chat {
        let keys = self.hash_keys;
        let settings = ChatSettings {
            channel_ttl_ms: self.channel_ttl_ms,
            kept_ms_max: self.kept_ms_max,
            kept_messages_max: self.kept_messages_max,
            kept_channel_bytes_max: self.kept_channel_bytes_max,
            kept_bytes_max: self.kept_bytes_max,
            ..settings
        };
        let entries_max = settings.dedup_entries_max;
        let mut chat = Chat::with_stored_index(settings, self.shards_seed, stored, keys);
        chat.common.ids = IdSource::new(self.ids);
        chat.recent_ids = RecentIds::in_parts(self.recent_id_parts, entries_max);
        let parts = chat.rooms.len() + chat.inboxes.len();
        *chat.expires_from.get_mut() = self.expires_from % parts;
        chat
    }
}
