//! Where a connection begins to hear a channel.

use crate::base::{Epoch, Position};

/// From where a client wants to hear a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// From now on.
    Now,
    /// What came after this position; offset 0: all that is kept.
    After(Position),
    /// What came after this user's last acknowledgement; all that is kept if there is none.
    Acked,
}

/// Where a subscription begins, decided at the answer and kept until the subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubscriptionStart {
    pub(super) recovered: bool,
    pub(super) epoch: Epoch,
    pub(super) after: u64,
    /// Whether something before is missing that the receiver has to be told of.
    pub(super) gap: bool,
}
