//! What stands in a store, whatever the engine.

use std::collections::{BTreeMap, BTreeSet};

/// The rows that count: those of generations that stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub standing: Option<Standing>,
    /// Connections, with their users and their session data.
    pub connections: BTreeMap<u64, (String, String)>,
    /// Rooms and users, with the users' connections there.
    pub rooms: BTreeMap<(String, String), usize>,
    /// Rooms and their lasting members.
    pub members: BTreeSet<(String, String)>,
}

/// The generation of the server, and its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub generation: u64,
    pub beat: u64,
}
