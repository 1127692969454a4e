//! The numbers of a server at one moment.

use super::process::ProcessStats;
use super::shared::ServerShared;
use crate::base::pressure::Pressure;
use crate::net::counters::CounterValues;

/// The numbers of a server at one moment; each is right by itself, not all at the same instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Since the start, in milliseconds.
    pub uptime_ms: u64,
    /// All reactors together.
    pub totals: CounterValues,
    /// Each reactor.
    pub reactors: Vec<CounterValues>,
    /// Queues of the workers, each.
    pub workers: Vec<QueueStats>,
    /// Mailboxes of the reactors, each.
    pub mailboxes: Vec<QueueStats>,
    /// Wake-ups of each reactor that were really made.
    pub wakes: Vec<u64>,
    /// What waits for slow readers, in bytes.
    pub outbox_bytes: usize,
    /// Timers of the server's user.
    pub user_timers: usize,
    /// The processes.
    pub processes: Vec<ProcessStats>,
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStats {
    /// Items now.
    pub items: usize,
    /// Bytes now.
    pub bytes: usize,
    /// The most items there ever were.
    pub items_peak: usize,
    /// The most bytes there ever were.
    pub bytes_peak: usize,
    /// Whether the reactors read nothing that would fill it.
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
            mailboxes: pressures.map(|pressure| QueueStats::of(pressure)).collect(),
            wakes: shared
                .mailboxes
                .iter()
                .map(|mailbox| mailbox.wakes_total())
                .collect(),
            outbox_bytes: shared.budget.bytes(),
            user_timers,
            processes: shared.processes.values().map(|link| link.stats()).collect(),
        }
    }
}
