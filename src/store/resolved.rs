//! Messages whose channels existed before their batch. They are applied by the indexes of those
//! channels, so that nothing is decoded again out of the written bytes or looked up by name.

use super::dedup::Repeatable;
use super::dedup_shares::SenderTag;
use crate::base::Position;

/// A message with the indexes of its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResolvedMessage {
    /// The index of the channel in the committed state, and the position in its log.
    pub(super) first: (usize, Position),
    /// The index and the position of the message in its second channel, if it has one.
    pub(super) second: Option<(usize, Position)>,
    pub(super) ts: u64,
    pub(super) idempotency_key: Option<u128>,
    pub(super) sender: SenderTag,
}

impl ResolvedMessage {
    /// Lists the places of the message, one or two.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, Position)> {
        [Some(self.first), self.second].into_iter().flatten()
    }

    /// The message that a repeat is compared with, if it has a key.
    pub(super) fn repeatable(&self) -> Option<Repeatable> {
        Some(Repeatable {
            idempotency_key: self.idempotency_key?,
            position: self.first.1,
            sender: self.sender,
        })
    }
}
