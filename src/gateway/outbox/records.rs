//! The store of an outbox: its channels, its settings, and the form of its records.

use std::sync::Arc;

use crate::base::Epoch;
use crate::store::{Channel, MessageBody, MessageRecord, Retention, StoreSettings, WhenFull};

/// The channel of the messages that were posted.
pub const OUTBOX: &str = "outbox";

/// The channel of the messages that an upstream refused for good.
pub const DEAD: &str = "dead";

/// Dead letters that are kept, in bytes and in number; older ones go. Nobody may look at them for
/// weeks, and they must not fill the disk meanwhile.
const DEAD_BYTES_MAX: u64 = 64 << 20;
const DEAD_MESSAGES_MAX: u64 = 100_000;

/// Room for what has to be written when the outbox is full, above all dead letters: a message that
/// was refused for good must not keep those behind it from being acknowledged. Twice what is kept of
/// them, since room comes back by whole segments.
const RESERVE_BYTES: u64 = 2 * DEAD_BYTES_MAX;

/// An epoch tells apart the lives of a channel of one name; these channels have one life each.
const EPOCH: Epoch = Epoch::from_bits(1);

/// Sets what an outbox needs of its store: that nothing goes before it is acknowledged.
#[must_use]
pub fn store_settings(settings: StoreSettings, outbox_bytes_max: u64) -> StoreSettings {
    let dead = Retention {
        messages_max: DEAD_MESSAGES_MAX,
        bytes_max: DEAD_BYTES_MAX,
        ..Retention::UNBOUNDED
    };
    StoreSettings {
        retention: Arc::new(move |channel| match channel {
            DEAD => dead,
            _ => Retention::UNBOUNDED,
        }),
        bytes_max: outbox_bytes_max + RESERVE_BYTES,
        when_full: WhenFull::Refuse,
        // A small outbox needs smaller segments: room comes back by whole ones.
        segment_bytes_max: (outbox_bytes_max / 16).clamp(64 << 10, settings.segment_bytes_max),
        ..settings
    }
}

/// Makes a record of a message in one of the two channels, without a key that repeats have.
pub(in crate::gateway) fn message<'a>(
    channel: &'a str,
    id: &'a str,
    ts: u64,
    data: &'a str,
) -> MessageRecord<'a> {
    MessageRecord {
        channel: Channel::stored(channel, EPOCH),
        second: None,
        body: MessageBody {
            id,
            from: None,
            to: None,
            ts,
            data,
        },
        idempotency_key: None,
        id_owner: 0,
        opens: false,
        mark: None,
        except: &[],
    }
}
