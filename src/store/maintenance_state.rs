//! The state that maintenance keeps from one call to the next.

use std::collections::BTreeSet;

use super::compaction::Compaction;
use super::piece::Committed;

/// The things that each piece of the work has to know of the piece before.
#[derive(Debug, Default)]
pub(super) struct MaintenanceState {
    /// The channel that expires next, the time by which it does, and the pieces that are left.
    pub(super) next_channel: usize,
    pub(super) expires_ms: u64,
    pub(super) expire_pieces: usize,
    /// The channel that goes by another retention next, if there is one, and the pieces that are left.
    pub(super) retains_from: Option<usize>,
    pub(super) retain_pieces: usize,
    pub(super) committed: Committed,
    pub(super) synced_ms: u64,
    pub(super) reclaimed_ms: u64,
    /// The time of the next try to recover, and the pause after that.
    pub(super) retry_ms: u64,
    pub(super) pause_ms: u64,
    pub(super) compaction: Option<Compaction>,
    /// Bytes that the compaction may read before the next call of maintenance.
    pub(super) compaction_bytes: u64,
    /// Segments whose compaction found damage.
    pub(super) damaged: BTreeSet<u32>,
}
