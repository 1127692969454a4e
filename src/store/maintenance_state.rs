//! The state that maintenance keeps from one call to the next.

use std::collections::BTreeSet;

use super::compaction::Compaction;

/// The things that each piece of the work has to know of the piece before.
#[derive(Debug, Default)]
pub(super) struct MaintenanceState {
    /// The channel that expires next.
    pub(super) next_channel: usize,
    pub(super) synced_ms: u64,
    pub(super) reclaimed_ms: u64,
    /// The time of the next try to recover, and the pause after that.
    pub(super) retry_ms: u64,
    pub(super) pause_ms: u64,
    pub(super) compaction: Option<Compaction>,
    /// Segments whose compaction found damage.
    pub(super) damaged: BTreeSet<u32>,
}
