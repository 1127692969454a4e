//! What the tests of this module share.

use crate::base::{Epoch, Position};
use crate::store::{
    Appended, Channel, LogPage, MessageBody, MessageRecord, PageRange, Reader, Record, Store,
    StoreError, StoreSettings,
};

/// A moment; every test begins here.
pub(super) const NOW: u64 = 1_700_000_000_000;

pub(super) const ALL: PageRange = PageRange {
    after: None,
    before: None,
    limit: usize::MAX,
    bytes_max: usize::MAX,
};

/// Settings for a small store on a disk that is nearly full.
pub(super) fn settings(directory: &std::path::Path) -> StoreSettings {
    StoreSettings {
        free_bytes_min: 0,
        ..StoreSettings::new(directory)
    }
}

pub(super) fn message<'a>(channel: &'a str, id: &'a str, data: &'a str) -> MessageRecord<'a> {
    MessageRecord {
        channel: Channel::stored(channel, epoch(7)),
        second: None,
        body: MessageBody {
            id,
            from: Some("ann"),
            to: None,
            ts: NOW,
            data,
        },
        idempotency_key: None,
        id_owner: 0,
        opens: false,
        mark: None,
        except: &[],
    }
}

pub(super) fn say(store: &mut dyn Store, channel: &str, data: &str) -> Appended {
    let message = message(channel, "id", data);
    store.append(NOW, &Record::Message(message)).unwrap()
}

/// Appends one thing and commits it.
pub(super) fn put(store: &mut dyn Store, record: Record<'_>) -> Result<Appended, StoreError> {
    let appended = store.append(NOW, &record);
    store.commit()?;
    appended
}

pub(super) fn at(epoch: u32, offset: u64) -> Position {
    let epoch = self::epoch(epoch);
    Position { epoch, offset }
}

/// The epoch with these bits.
pub(super) const fn epoch(bits: u32) -> Epoch {
    Epoch::from_bits(bits)
}

/// The data of all messages of a channel.
pub(super) fn heard(reader: &dyn Reader, channel: &str) -> Vec<String> {
    data(&reader.page(channel, ALL).unwrap())
}

pub(super) fn data(page: &LogPage) -> Vec<String> {
    let messages = page.messages.iter();
    messages
        .map(|message| message.body.data.to_string())
        .collect()
}
