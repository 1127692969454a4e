//! A message of a batch whose channels were there before it. It is applied by their places, without
//! being read again out of what was written, or looked up by their names.

use super::record::Position;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Located {
    /// The channel's place in the committed state, and the message's in the channel.
    pub(super) first: (usize, Position),
    /// The same of its second channel.
    pub(super) second: Option<(usize, Position)>,
    pub(super) ts: u64,
    pub(super) sameness: Option<u128>,
}

impl Located {
    /// The places that it has.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, Position)> {
        [Some(self.first), self.second].into_iter().flatten()
    }

    /// What a repeat has in common with it, and where it stands.
    pub(super) fn repeatable(&self) -> Option<(u128, Position)> {
        Some((self.sameness?, self.first.1))
    }
}
