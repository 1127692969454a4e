//! The settings of the relay.

use crate::gateway::target::Target;
use crate::link::LinkSettings;

/// The outbox's name, its upstreams, and the times and bounds of their links.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct RelaySettings {
    /// The producer whose numbers the outbox has.
    pub(in crate::gateway) producer: String,
    /// The gateway's name, for people.
    pub(in crate::gateway) name: String,
    /// Times and bounds of the links.
    pub(in crate::gateway) link: LinkSettings,
    /// The level of the push process's log; empty leaves it.
    pub(in crate::gateway) log_level: String,
    /// Longest time that the push process may take at a stop, in milliseconds.
    pub(in crate::gateway) drain_ms_max: u64,
    /// Time in which acknowledgements gather before they are written down, in milliseconds.
    pub(in crate::gateway) ack_delay_ms: u64,
    /// The upstreams; each gets every message.
    pub(in crate::gateway) targets: Vec<Target>,
}
