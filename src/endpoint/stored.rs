//! The translation of the store's terms into the chat's.

use std::sync::Arc;

use crate::base::Tick;
use crate::chat::{Chat, Delivered, Epoch, Position, Restored, StoredIndex};
use crate::store::{ChannelState, Reader, StateRecord, StoredMessage};

/// The index of the store, as the chat asks for it.
pub(super) struct ReaderIndex(pub(super) Arc<dyn Reader>);

impl StoredIndex for ReaderIndex {
    fn floor(&self, channel: &str) -> Option<u64> {
        self.0.channel(channel).map(|state| state.floor)
    }

    fn epoch(&self, channel: &str) -> Option<Epoch> {
        self.0.channel(channel).map(|state| state.epoch)
    }

    fn forgotten(&self) -> u64 {
        self.0.forgotten()
    }
}

/// Brings into the chat what a start finds: on disk, or in the log of a cluster, of the channels that this
/// node hears from its start on.
pub(super) fn bring_in(chat: &Chat, known: StateRecord<'_>) {
    match (known, restored(known)) {
        (StateRecord::Channel(channel, state), Restored::Channel(_, newest))
            if chat.is_in_cluster() =>
        {
            chat.attach(Tick(0), channel, newest, state.floor);
        }
        (_, known) => chat.restore(known),
    }
}

/// Translates what a start finds on disk.
pub(super) fn restored(known: StateRecord<'_>) -> Restored<'_> {
    match known {
        StateRecord::Channel(name, ChannelState { epoch, newest, .. }) => {
            let newest = Position {
                epoch,
                offset: newest,
            };
            Restored::Channel(name, newest)
        }
        StateRecord::Ack {
            channel,
            reader,
            offset,
        } => Restored::Ack {
            channel,
            uid: reader,
            offset,
        },
        StateRecord::Opener { channel, user } => Restored::Opener { channel, uid: user },
        StateRecord::Member { room, user } => Restored::Member { room, uid: user },
    }
}

/// Translates a message of a channel.
pub(super) fn delivered<'a>(channel: &'a str, message: &'a StoredMessage) -> Delivered<'a> {
    Delivered {
        channel: Some(channel),
        position: Some(message.position),
        body: message.body.as_deref(),
        deflated: None,
    }
}
