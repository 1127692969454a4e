//! The numbers of what is on disk, of the queue before it, and of who catches up from it.

use crate::base::{Metric, MetricKind};
use crate::endpoint::services::Services;
use crate::store::Condition;

/// Each number with its kind and its meaning.
pub(super) fn numbers(services: &Services) -> Vec<Metric> {
    let mut numbers = of_store(services).to_vec();
    numbers.extend(of_disk(services));
    numbers.extend(of_replays(services));
    numbers
}

fn of_store(services: &Services) -> [Metric; 15] {
    let totals = services.reader.totals();
    [
        gauge("store_channels", "Channels on disk.", totals.channels),
        gauge(
            "store_messages",
            "Messages on disk; one in two channels counts twice.",
            totals.messages,
        ),
        gauge("store_segments", "Files of the journal.", totals.segments),
        gauge("store_bytes", "Bytes of the files.", totals.bytes),
        gauge(
            "store_index_bytes",
            "Bytes of the index in memory.",
            totals.index_bytes,
        ),
        counter(
            "store_commits",
            "Batches that were made durable.",
            totals.commits,
        ),
        counter("store_records", "Records in them.", totals.records),
        gauge(
            "store_sync_us_last",
            "Microseconds of the last sync.",
            totals.sync_us_last,
        ),
        counter(
            "store_sync_us",
            "Microseconds of all syncs.",
            totals.sync_us_sum,
        ),
        counter("store_syncs", "Syncs.", totals.syncs),
        counter(
            "store_failures",
            "Writes and syncs that failed.",
            totals.failures,
        ),
        counter(
            "store_torn_bytes",
            "Bytes of torn tails that were cut off.",
            totals.torn_bytes,
        ),
        counter(
            "store_trimmed",
            "Messages that were let go for age, number or size.",
            totals.trimmed,
        ),
        counter(
            "store_moved",
            "Messages that were moved on out of nearly dead files.",
            totals.moved,
        ),
        counter("store_repeats", "Repeats that were known.", totals.repeats),
    ]
}

fn of_disk(services: &Services) -> [Metric; 5] {
    let disk_pressure = services.disk.pressure();
    [
        gauge(
            "disk_items",
            "Records that wait for the disk.",
            disk_pressure.items() as u64,
        ),
        gauge(
            "disk_bytes",
            "The same in bytes.",
            disk_pressure.bytes() as u64,
        ),
        gauge(
            "disk_items_peak",
            "The most records that ever waited.",
            disk_pressure.items_peak() as u64,
        ),
        gauge(
            "disk_pressed",
            "1 while nothing is read since too much waits for the disk.",
            disk_pressure.is_high().into(),
        ),
        gauge(
            "disk_taking",
            "1 while messages can be stored.",
            (services.disk.condition() == Condition::Good).into(),
        ),
    ]
}

fn of_replays(services: &Services) -> [Metric; 4] {
    let stats = services.replays.stats();
    [
        gauge(
            "replays_under_way",
            "Channels of connections that catch up.",
            stats.under_way,
        ),
        counter(
            "replay_pages",
            "Pages that were read for them.",
            stats.pages,
        ),
        counter("replays_finished", "Those that ended.", stats.finished),
        counter(
            "replays_refused",
            "Those that were refused since there were too many.",
            stats.refused,
        ),
    ]
}

fn gauge(name: &'static str, help: &'static str, value: u64) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        help,
        value,
    }
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        help,
        value,
    }
}
