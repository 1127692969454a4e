//! The bounds of a reactor.

use std::sync::Arc;

use super::gathering::GatherBounds;
use super::proxies::ProxyRules;
use super::topics::TopicBounds;
use crate::proto::connection::Limits;

/// Bounds of a reactor and of what it keeps for slow peers.
#[derive(Debug, Clone)]
pub struct ReactorLimits {
    /// Bounds and deadlines of each connection.
    pub connection: Limits,
    /// Connections a reactor owns at most; one more is answered 503. Default 1,000,000: a round
    /// number above what one process usually has descriptors for.
    pub connections_max: usize,
    /// Bytes read from one connection a turn. Default 65,536: about one message of the largest
    /// default size, so that one fast sender doesn't hold up the others.
    pub read_bytes_max: usize,
    /// Bytes that may wait for one peer; above this number the WebSocket is closed with 4008. One
    /// message may exceed it when nothing else waited, and messages that the next one of their topic
    /// replaces don't count. Default 1 MiB: sixteen messages of the largest default size.
    pub outbox_bytes_max: usize,
    /// Bytes waiting for a peer above which the reactor stops reading from this peer; its messages
    /// that aren't handled yet count too. Default 256 KiB.
    ///
    /// Below a third of `outbox_bytes_max`, so that a peer isn't closed because its own messages
    /// are answered in their own length.
    pub outbox_pause_bytes: usize,
    /// Time for which a peer may read nothing although bytes wait for it, in milliseconds; then
    /// the WebSocket is closed with 4008. Default 10,000: a round number that forgives a short
    /// loss of the network.
    pub stall_ms_max: u64,
    /// Time for which a leaving peer may take its last bytes and close, in milliseconds; then the
    /// socket is closed. Default 5,000, as long as it may take to answer our Close frame.
    pub linger_ms_max: u64,
    /// Bytes waiting for one peer at which they are written before the turn's end. Default 64 KiB:
    /// much for one system call, and little beside `outbox_bytes_max`.
    pub flush_bytes: usize,
    /// Writes of large deliveries a turn, where no connection has anything else for the reactor;
    /// otherwise half as many. The rest goes on after the next look at the sockets. Default 48:
    /// others wait about 0.1 ms for half of that, and a look costs a hundredth of the writes.
    pub turn_writes_max: usize,
    /// Topics of a reactor and of one connection; a subscription above either bound is refused and
    /// counted. Default 1,000,000, one for each connection, and 1,000, which bounds the search
    /// through one connection's topics.
    pub topics: TopicBounds,
    /// The proxies that are believed. Default none: what a request tells of its client is anybody's word.
    pub proxies: Arc<ProxyRules>,
    /// Deliveries that wait for more of their topic; what reaches a bound goes out at once, and is
    /// counted.
    pub gather: GatherBounds,
}

impl Default for ReactorLimits {
    fn default() -> Self {
        Self {
            connection: Limits::default(),
            connections_max: 1_000_000,
            read_bytes_max: 64 * 1024,
            outbox_bytes_max: 1024 * 1024,
            outbox_pause_bytes: 256 * 1024,
            stall_ms_max: 10_000,
            linger_ms_max: 5_000,
            flush_bytes: 64 * 1024,
            turn_writes_max: 48,
            topics: TopicBounds {
                topics_max: 1_000_000,
                topics_per_connection_max: 1_000,
            },
            proxies: Arc::default(),
            gather: GatherBounds::default(),
        }
    }
}
