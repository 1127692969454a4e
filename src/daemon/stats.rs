//! The numbers of a server as JSON.

use serde_json::{Map, Value, json};

use tidings::server::{QueueStats, Stats};

/// All of it, with the names that the library has.
pub(super) fn to_json(stats: &Stats) -> Value {
    let totals: Map<String, Value> = stats
        .totals
        .named()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let processes: Vec<Value> = stats
        .processes
        .iter()
        .map(|process| {
            json!({
                "name": *process.name,
                "pid": process.pid,
                "restarts": process.restarts,
                "tasks_finished": process.tasks_finished,
                "tasks_unfinished": process.tasks_unfinished,
                "bytes_queued": process.bytes_queued,
            })
        })
        .collect();
    json!({
        "uptime_ms": stats.uptime_ms,
        "totals": totals,
        "workers": stats.workers.iter().map(queue).collect::<Vec<_>>(),
        "mailboxes": stats.mailboxes.iter().map(queue).collect::<Vec<_>>(),
        "wakes": stats.wakes,
        "outbox_bytes": stats.outbox_bytes,
        "user_timers": stats.user_timers,
        "processes": processes,
    })
}

fn queue(queue: &QueueStats) -> Value {
    json!({
        "items": queue.items,
        "bytes": queue.bytes,
        "items_peak": queue.items_peak,
        "bytes_peak": queue.bytes_peak,
        "is_pressed": queue.is_pressed,
    })
}
