//! Pages of a channel's history.

use std::sync::Arc;

use super::message::KeptMessage;
use crate::base::Position;

/// The messages of a channel that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRange {
    /// Offsets greater than this; `None` begins with the oldest.
    pub after: Option<u64>,
    /// Offsets smaller than this; `None` ends with the newest. Alone, the newest come first.
    pub before: Option<u64>,
    /// The most messages that the page may have.
    pub limit: usize,
}

/// A part of a channel's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The newest message of the channel; `None` where nothing is kept.
    pub position: Option<Position>,
    /// Offsets and messages, in the order of [`HistoryRange`].
    pub messages: Vec<(u64, Arc<KeptMessage>)>,
    /// Whether the range has more.
    pub more: bool,
}
