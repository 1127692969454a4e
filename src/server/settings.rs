//! Bounds and times of a whole server.

use super::process::ProcessSettings;
use crate::base::pressure::Watermarks;
use crate::net::limits::ReactorLimits;

/// See [`ServerSettings::thaw_ms_max`]; also that of an image which said nothing of it.
pub(super) const THAW_MS_MAX: u64 = 10_000;

/// Bounds and times of a whole server; every one has a default.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Bounds of reactors and connections.
    pub reactor: ReactorLimits,
    /// Levels of one worker's queue at which the reactors stop and start again to read from its
    /// connections. Default: they stop above 16,384 events or 16 MiB, round numbers that bound the
    /// memory of a worker that is stuck; they start at a quarter, so that the reactors aren't woken
    /// for a few events.
    pub worker_queue: Watermarks,
    /// Levels of one reactor's mailbox at which all reactors stop and start again to read. Default:
    /// they stop above 16,384 batches or 64 MiB, four times the bytes of a worker's queue, since
    /// all workers feed each mailbox; they start at a quarter.
    pub mailbox: Watermarks,
    /// Bytes that may wait for slow readers over all connections; above this number the connections
    /// with the most go: WebSockets are closed with 4008, HTTP connections are cut. Default 1 GiB: a
    /// round number, 1,024 outboxes of the default `outbox_bytes_max`.
    pub outbox_bytes_total_max: usize,
    /// Bytes of all requests and messages that have arrived in part; above this number the largest
    /// are refused with 503 or 1013. Default 64 MiB: 64 of the largest bodies at once.
    pub unfinished_bytes_max: usize,
    /// Connections from one address (IPv6: one /64) of peers who have shown neither a token nor a
    /// key; one more is answered 503. 0, the default, is no bound: behind a proxy all peers have
    /// the proxy's address.
    pub connections_per_address_max: usize,
    /// Time between the word that a stop begins and the stop itself, in milliseconds:
    /// [`Handle::is_stopping`](super::Handle::is_stopping) says it, `on_stopping` was called, and new
    /// connections and requests are still taken, so that a balancer can see it before they are
    /// refused. Default 0: whoever stops a server by hand doesn't want to wait.
    pub stop_delay_ms: u64,
    /// Bytes of a message from which it is compressed for those who have agreed on that; see
    /// [`Limits::deflate`](super::Limits). Default 512: what is shorter gains next to nothing, since it
    /// goes in one packet either way.
    pub deflate_size_min: usize,
    /// Time that a stop may take before the remaining connections are cut, in milliseconds. Default
    /// 30,000: ten seconds of farewells, and twenty for the answers and close handshakes.
    pub stop_ms_max: u64,
    /// Time in which a worker has to come to its renewal, in milliseconds; one that is stuck in a callback
    /// for longer keeps its old callbacks. Default 30,000: as long as a stop would wait for it.
    pub renew_ms_max: u64,
    /// Time in which all has to come to a stand in a freeze, in milliseconds; then it is taken back.
    /// Default 2,000: a round number that clients hardly notice, far above what a callback may take.
    pub freeze_ms_max: u64,
    /// Longest stand that an upgrade is dared for, in milliseconds: if it took longer in the trial, the
    /// upgrade is refused. Default 2,000: a round number far below the times after which clients give up.
    pub pause_ms_max: u64,
    /// Time in which the next image of the program has to go on with what this one has handed over, in
    /// milliseconds; then this one goes on. Default 10,000: a hundred times of what 10,000 connections take.
    pub thaw_ms_max: u64,
    /// Bounds and times of the processes.
    pub process: ProcessSettings,
}

impl ServerSettings {
    /// Bytes of its own answers that a connection gets in a turn of a thread that runs callbacks: twice
    /// that and one answer stay below the bound of an outbox.
    pub(super) fn answers_bytes_max(&self) -> usize {
        self.reactor.outbox_pause_bytes / 2
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            reactor: ReactorLimits::default(),
            worker_queue: marks(16_384, 16 << 20),
            mailbox: marks(16_384, 64 << 20),
            outbox_bytes_total_max: 1 << 30,
            unfinished_bytes_max: 64 << 20,
            connections_per_address_max: 0,
            stop_delay_ms: 0,
            deflate_size_min: 512,
            stop_ms_max: 30_000,
            renew_ms_max: 30_000,
            freeze_ms_max: 2_000,
            pause_ms_max: 2_000,
            thaw_ms_max: THAW_MS_MAX,
            process: ProcessSettings::default(),
        }
    }
}

fn marks(items_high: usize, bytes_high: usize) -> Watermarks {
    Watermarks {
        items_high,
        items_low: items_high / 4,
        bytes_high,
        bytes_low: bytes_high / 4,
    }
}
