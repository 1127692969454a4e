//! The statistics of a server at one moment.

use super::deflaters::DeflateStats;
use super::process::ProcessStats;
use super::shared::ServerShared;
use crate::base::pressure::Pressure;
use crate::net::counters::CounterValues;

/// The statistics of a server; each number is exact, but they are read one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Time since the start, in milliseconds.
    pub uptime_ms: u64,
    /// The counters of all reactors, added up.
    pub totals: CounterValues,
    /// The counters of each reactor.
    pub reactors: Vec<CounterValues>,
    /// The queue of each worker.
    pub workers: Vec<QueueStats>,
    /// Events that wait for their connections' turns, on all threads that run callbacks.
    pub postponed: QueueStats,
    /// Connections closed since the most of `postponed` was their own, and too much of it.
    pub postponed_refused: u64,
    /// Connections that the server's user has paused.
    pub user_pauses: usize,
    /// The mailbox of each reactor.
    pub mailboxes: Vec<QueueStats>,
    /// Wake-ups of each reactor: system calls, not those that were merged into another.
    pub wakes: Vec<u64>,
    /// Bytes that wait for slow readers.
    pub outbox_bytes: usize,
    /// What was compressed.
    pub deflate: DeflateStats,
    /// Timers that the server's user has set.
    pub user_timers: usize,
    /// Each process of the server.
    pub processes: Vec<ProcessStats>,
}

/// The level of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Items in the queue now.
    pub items: usize,
    /// Bytes in the queue now.
    pub bytes: usize,
    /// Largest number of items at one time since the start.
    pub items_peak: usize,
    /// Largest number of bytes at one time since the start.
    pub bytes_peak: usize,
    /// Whether the pressure is high: the reactors don't read from the connections that feed the
    /// queue.
    pub is_high: bool,
}

impl QueueStats {
    fn of(pressure: &Pressure) -> Self {
        Self {
            items: pressure.items(),
            bytes: pressure.bytes(),
            items_peak: pressure.items_peak(),
            bytes_peak: pressure.bytes_peak(),
            is_high: pressure.is_high(),
        }
    }
}

impl Stats {
    pub(super) fn of(shared: &ServerShared, user_timers: usize) -> Self {
        let mut totals = CounterValues::default();
        let mut reactors = Vec::new();
        for counters in &shared.counters {
            counters.add_to(&mut totals);
            let mut values = CounterValues::default();
            counters.add_to(&mut values);
            reactors.push(values);
        }
        let pressures = shared
            .mailboxes
            .iter()
            .filter_map(|mailbox| mailbox.pressure());
        Self {
            uptime_ms: shared.started.elapsed().as_millis() as u64,
            totals,
            reactors,
            workers: shared
                .workers
                .iter()
                .map(|queue| QueueStats::of(&queue.pressure))
                .collect(),
            postponed: QueueStats::of(shared.postponed.level()),
            postponed_refused: shared.postponed.refused(),
            user_pauses: shared.pauses.len(),
            mailboxes: pressures.map(|pressure| QueueStats::of(pressure)).collect(),
            wakes: shared
                .mailboxes
                .iter()
                .map(|mailbox| mailbox.wakes_total())
                .collect(),
            outbox_bytes: shared.budget.bytes(),
            deflate: shared.deflaters.stats(),
            user_timers,
            processes: shared.processes.values().map(|link| link.stats()).collect(),
        }
    }
}
