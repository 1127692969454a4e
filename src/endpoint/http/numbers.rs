//! The numbers of the server: as JSON for people, as text for Prometheus.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::durable;
use crate::base::{Metric, MetricKind};
use crate::chat::ChatStats;
use crate::endpoint::endpoint::Endpoint;
use crate::server::{QueueStats, Response, Stats, WorkerHandle};

/// What Prometheus asks for by (text format 0.0.4).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Endpoint {
    /// `GET /v1/stats`
    pub(super) fn stats(&self, server: &WorkerHandle) -> Response {
        let mut all = of_server(&server.stats());
        all["chat"] = of_chat(&self.services.chat.stats()).into();
        let limits = self.limits.described();
        let limits = limits.map(|number| (number.name.to_owned(), number.value.into()));
        all["limits"] = Map::from_iter(limits).into();
        all["durable"] = durable::numbers(&self.services)
            .iter()
            .map(|number| (number.name.to_owned(), Value::from(number.value)))
            .collect::<Map<_, _>>()
            .into();
        let links = self.links.numbers().described();
        let links = links.map(|number| (number.name.to_owned(), number.value.into()));
        all["links"] = Map::from_iter(links).into();
        all["sync"] = self.settings.sync.as_str().into();
        Response::json(all.to_string())
    }

    /// `GET /metrics`
    pub(super) fn metrics(&self, server: &WorkerHandle) -> Response {
        let stats = server.stats();
        let mut text = Exposition::default();
        for number in stats.totals.described() {
            text.described("", &number);
        }
        for number in self.services.chat.stats().described() {
            text.described("chat_", &number);
        }
        for number in self.limits.described() {
            text.described("limits_", &number);
        }
        for number in durable::numbers(&self.services) {
            text.described("", &number);
        }
        for number in self.links.numbers().described() {
            text.described("", &number);
        }
        let outbox_bytes = [("", stats.outbox_bytes as u64)];
        text.family(
            "outbox_bytes",
            "What waits for slow readers.",
            &outbox_bytes,
        );
        let uptime = [("", stats.uptime_ms / 1_000)];
        text.family("uptime_seconds", "Time since the start.", &uptime);
        text.queues("worker", &stats.workers);
        text.queues("mailbox", &stats.mailboxes);
        Response::new(200)
            .field("Content-Type", TEXT_FORMAT)
            .body(text.text)
    }
}

/// Text for Prometheus in the making; each family of numbers comes once, with help and kind.
#[derive(Default)]
struct Exposition {
    text: String,
}

impl Exposition {
    /// A number that says of itself what it is.
    fn described(&mut self, prefix: &str, number: &Metric) {
        let (kind, suffix) = match number.kind {
            MetricKind::Gauge => ("gauge", ""),
            MetricKind::Counter => ("counter", "_total"),
        };
        let name = format!("{prefix}{}{suffix}", number.name);
        self.head(&name, kind, number.help);
        self.sample(&name, "", number.value);
    }

    /// What goes up and down, with a label for each value.
    fn family<T: AsRef<str>>(&mut self, name: &str, help: &str, samples: &[(T, u64)]) {
        self.head(name, "gauge", help);
        for (labels, value) in samples {
            self.sample(name, labels.as_ref(), *value);
        }
    }

    /// How full each queue of a kind is; one label a queue.
    fn queues(&mut self, what: &str, queues: &[QueueStats]) {
        let mut of_each = |unit: &str, help: &str, value: fn(&QueueStats) -> u64| {
            let samples: Vec<(String, u64)> = queues
                .iter()
                .enumerate()
                .map(|(index, queue)| (format!("{{{what}=\"{index}\"}}"), value(queue)))
                .collect();
            self.family(&format!("{what}_{unit}"), help, &samples);
        };
        of_each("items", "Items that wait now.", |queue| queue.items as u64);
        of_each("bytes", "Bytes that wait now.", |queue| queue.bytes as u64);
        of_each("items_peak", "The most items that ever waited.", |queue| {
            queue.items_peak as u64
        });
        of_each("bytes_peak", "The most bytes that ever waited.", |queue| {
            queue.bytes_peak as u64
        });
        of_each(
            "pressed",
            "1 while nothing is read that would fill it.",
            |queue| u64::from(queue.is_high),
        );
    }

    /// Help is written as it is: none of ours has a backslash or a line feed, which need escapes.
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        debug_assert!(!help.contains(['\\', '\n']), "{help}");
        writeln!(
            self.text,
            "# HELP tidings_{name} {help}\n# TYPE tidings_{name} {kind}"
        )
        .expect("a String takes every byte");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        writeln!(self.text, "tidings_{name}{labels} {value}").expect("a String takes every byte");
    }
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
        "is_pressed": queue.is_high,
    })
}
