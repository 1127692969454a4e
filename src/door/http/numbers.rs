//! The numbers of the server: as JSON for people, as text for Prometheus.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::chat::ChatStats;
use crate::door::door::Door;
use crate::server::{QueueStats, Response, Stats, WorkerHandle};

/// What Prometheus asks for by (text format 0.0.4).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Door {
    /// `GET /v1/stats`
    pub(super) fn stats(&self, server: &WorkerHandle) -> Response {
        let mut all = of_server(&server.stats());
        all["chat"] = of_chat(&self.chat.stats()).into();
        Response::json(all.to_string())
    }

    /// `GET /metrics`
    pub(super) fn metrics(&self, server: &WorkerHandle) -> Response {
        let stats = server.stats();
        let mut text = String::new();
        for (name, value) in stats.totals.named() {
            put(&mut text, name, value);
        }
        put(&mut text, "outbox_bytes", stats.outbox_bytes as u64);
        put(&mut text, "uptime_ms", stats.uptime_ms);
        for (name, queues) in [("worker", &stats.workers), ("mailbox", &stats.mailboxes)] {
            put(
                &mut text,
                &format!("{name}_items"),
                queues.iter().map(|queue| queue.items as u64).sum(),
            );
            put(
                &mut text,
                &format!("{name}_bytes"),
                queues.iter().map(|queue| queue.bytes as u64).sum(),
            );
        }
        for (name, value) in self.chat.stats().named() {
            put(&mut text, &format!("chat_{name}"), value);
        }
        Response::new(200)
            .field("Content-Type", TEXT_FORMAT)
            .body(text)
    }
}

fn put(text: &mut String, name: &str, value: u64) {
    writeln!(
        text,
        "# TYPE tidings_{name} untyped\ntidings_{name} {value}"
    )
    .expect("a String takes every byte");
}

fn of_chat(stats: &ChatStats) -> Map<String, Value> {
    stats
        .named()
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn of_server(stats: &Stats) -> Value {
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
