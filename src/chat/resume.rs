//! The place from which a connection hears a channel.

use crate::base::{Epoch, Position};

/// The place from which a client wants to hear a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The client wants only what is new.
    Now,
    /// The client wants what came after this position; offset 0 asks for all that is kept.
    After(Position),
    /// The client wants what came after the user's last acknowledgement; all that is kept if there
    /// is none.
    Acked,
}

/// The place from which a subscription begins, decided for the answer and kept until the
/// subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SubscriptionStart {
    pub(super) recovered: bool,
    pub(super) epoch: Epoch,
    pub(super) after: u64,
    /// Whether messages before this place are missing, which the receiver has to be told.
    pub(super) gap: bool,
}
