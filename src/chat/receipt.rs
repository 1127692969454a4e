//! The receipt that the sender of a message gets.

use std::borrow::Cow;
use std::sync::Arc;

use crate::base::Position;

/// The answer to a message that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// The channel of the message; `None` if it went to one connection.
    pub channel: Option<Arc<str>>,
    /// The message's place in the channel's log; `None` if it isn't kept.
    pub position: Option<Position>,
    /// The message's id.
    pub id: Cow<'a, str>,
    /// Whether the message is a repeat; then `position` is that of the first one.
    pub duplicate: bool,
    /// Connections that were subscribed at that moment; no proof of delivery. A repeat has none.
    pub receivers: usize,
}

impl<'a> Receipt<'a> {
    /// Makes the receipt of a message that was said just now.
    pub(super) fn new(
        channel: Option<Arc<str>>,
        id: impl Into<Cow<'a, str>>,
        position: Option<Position>,
        receivers: usize,
    ) -> Self {
        Self {
            channel,
            position,
            id: id.into(),
            duplicate: false,
            receivers,
        }
    }

    /// Copies the id, where it is borrowed.
    #[must_use]
    pub fn into_owned(self) -> Receipt<'static> {
        Receipt {
            id: Cow::Owned(self.id.into_owned()),
            ..self
        }
    }

    /// Makes the receipt of a repeat of a message that stands at `first`.
    pub(super) fn repeat(
        channel: Arc<str>,
        id: impl Into<Cow<'a, str>>,
        first: Option<Position>,
    ) -> Self {
        Self {
            duplicate: true,
            ..Self::new(Some(channel), id, first, 0)
        }
    }
}
