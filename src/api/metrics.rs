//! The numbers of a front under one name each: as JSON at `/v1/stats`, as Prometheus' text at `/metrics`.
//!
//! Both are written from one [`MetricSet`], so no number can be called one thing here and another
//! there: the path to it in the JSON, joined with `_`, is its name in the text. A counter gets
//! `_total` there, as Prometheus asks for. A table such as `workers` becomes `worker_…` with a label.

use std::fmt::Write;

use super::json::Json;
use crate::base::pressure::Pressure;
use crate::base::{Metric, MetricKind};
use crate::server::process::ProcessStats;
use crate::server::{QueueStats, Response};

/// The content type that Prometheus asks for (text format 0.0.4).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All numbers of one moment, in the order in which they are shown.
#[derive(Debug, Default)]
pub(crate) struct MetricSet {
    parts: Vec<MetricPart>,
}

#[derive(Debug)]
enum MetricPart {
    /// A number at the top.
    Single(Metric),
    /// An object of numbers; `prefix` stands before their names in the text.
    Group {
        name: &'static str,
        prefix: String,
        metrics: Vec<Metric>,
    },
    /// An array of objects that have the same numbers.
    Table {
        name: &'static str,
        /// The name of one row: the label in the text, and the beginning of the names there.
        row: &'static str,
        rows: Vec<MetricRow>,
    },
    /// JSON that is no number, for `/v1/stats` alone.
    Fact { name: &'static str, json: String },
}

/// One row of a table.
#[derive(Debug)]
pub(crate) struct MetricRow {
    /// The text that tells the row from others; has no character that a label would have to escape.
    pub(crate) label: String,
    /// Fields that are no numbers, for `/v1/stats` alone, as JSON.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Its numbers; each row of a table has the same ones in the same order.
    pub(crate) metrics: Vec<Metric>,
}

impl MetricSet {
    /// Adds a number at the top.
    pub(crate) fn single(mut self, metric: Metric) -> Self {
        self.parts.push(MetricPart::Single(metric));
        self
    }

    /// Adds an object of numbers.
    pub(crate) fn group(self, name: &'static str, metrics: impl Into<Vec<Metric>>) -> Self {
        self.group_with_prefix(name, format!("{name}_"), metrics.into())
    }

    /// Adds the sums over all reactors, whose names are whole by themselves.
    pub(crate) fn totals(self, metrics: impl Into<Vec<Metric>>) -> Self {
        self.group_with_prefix("totals", String::new(), metrics.into())
    }

    fn group_with_prefix(
        mut self,
        name: &'static str,
        prefix: String,
        metrics: Vec<Metric>,
    ) -> Self {
        self.parts.push(MetricPart::Group {
            name,
            prefix,
            metrics,
        });
        self
    }

    /// Adds an array of objects with the same numbers; `row` is what one of them is called.
    pub(crate) fn table(
        mut self,
        (name, row): (&'static str, &'static str),
        rows: impl IntoIterator<Item = MetricRow>,
    ) -> Self {
        let rows = rows.into_iter().collect();
        self.parts.push(MetricPart::Table { name, row, rows });
        self
    }

    /// Adds JSON that is no number.
    pub(crate) fn fact(mut self, name: &'static str, json: String) -> Self {
        self.parts.push(MetricPart::Fact { name, json });
        self
    }

    /// Writes the answer of `/v1/stats`.
    pub(crate) fn stats(&self) -> Response {
        let json = self
            .parts
            .iter()
            .fold(Json::of_size(4_096), |json, part| match part {
                MetricPart::Single(metric) => number(json, metric),
                MetricPart::Group { name, metrics, .. } => json.raw(name, &object(&[], metrics)),
                MetricPart::Table { name, rows, .. } => json.array(
                    name,
                    rows.iter().map(|row| object(&row.facts, &row.metrics)),
                ),
                MetricPart::Fact { name, json: fact } => json.raw(name, fact),
            });
        Response::json(json.end())
    }

    /// Writes the answer of `/metrics`; every name begins with `prefix`.
    pub(crate) fn exposition(&self, prefix: &'static str) -> Response {
        let mut text = Exposition {
            prefix,
            text: String::with_capacity(16_384),
        };
        for part in &self.parts {
            match part {
                MetricPart::Single(metric) => text.single("", metric),
                MetricPart::Group {
                    prefix, metrics, ..
                } => metrics
                    .iter()
                    .for_each(|metric| text.single(prefix, metric)),
                MetricPart::Table { row, rows, .. } => text.table(row, rows),
                MetricPart::Fact { .. } => {}
            }
        }
        Response::new(200)
            .field("Content-Type", TEXT_FORMAT)
            .body(text.text)
    }
}

impl MetricRow {
    /// Describes how full a queue is; queues are told apart by their place.
    fn queue(place: usize, queue: &QueueStats) -> Self {
        let metrics = queue_metrics(queue);
        Self {
            label: place.to_string(),
            facts: Vec::new(),
            metrics: metrics.into(),
        }
    }

    /// Describes a process.
    pub(crate) fn process(process: &ProcessStats) -> Self {
        let pid = process.pid.map_or("null".into(), |pid| pid.to_string());
        Self {
            label: process.name.to_string(),
            facts: vec![("name", quoted(&process.name)), ("pid", pid)],
            metrics: vec![
                Metric::counter(
                    "restarts",
                    "Times that the process was started again.",
                    process.restarts,
                ),
                Metric::counter(
                    "tasks_finished",
                    "Tasks finished, whatever their outcome.",
                    process.tasks_finished,
                ),
                Metric::gauge(
                    "tasks_unfinished",
                    "Tasks accepted and not finished.",
                    process.tasks_unfinished as u64,
                ),
                Metric::gauge(
                    "bytes_queued",
                    "Bytes of unfinished tasks and unwritten messages.",
                    process.bytes_queued as u64,
                ),
            ],
        }
    }
}

/// Describes several queues of one kind.
pub(crate) fn queue_rows(queues: &[QueueStats]) -> impl Iterator<Item = MetricRow> {
    let places = queues.iter().enumerate();
    places.map(|(place, queue)| MetricRow::queue(place, queue))
}

/// Describes how full a queue is.
pub(crate) fn pressure_metrics(pressure: &Pressure) -> [Metric; 5] {
    queue_metrics(&QueueStats {
        items: pressure.items(),
        bytes: pressure.bytes(),
        items_peak: pressure.items_peak(),
        bytes_peak: pressure.bytes_peak(),
        is_high: pressure.is_high(),
    })
}

fn queue_metrics(queue: &QueueStats) -> [Metric; 5] {
    [
        Metric::gauge("items", "Items that wait now.", queue.items as u64),
        Metric::gauge("bytes", "Bytes that wait now.", queue.bytes as u64),
        Metric::gauge(
            "items_peak",
            "The most items that ever waited.",
            queue.items_peak as u64,
        ),
        Metric::gauge(
            "bytes_peak",
            "The most bytes that ever waited.",
            queue.bytes_peak as u64,
        ),
        Metric::flag(
            "pressure_high",
            "1 while nothing is read that would fill the queue.",
            queue.is_high,
        ),
    ]
}

/// Writes a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn object(facts: &[(&'static str, String)], metrics: &[Metric]) -> String {
    let json = Json::of_size(64 + 32 * metrics.len());
    let json = facts
        .iter()
        .fold(json, |json, (name, fact)| json.raw(name, fact));
    metrics.iter().fold(json, number).end()
}

fn number(json: Json, metric: &Metric) -> Json {
    match metric.kind {
        MetricKind::Gauge | MetricKind::Counter => json.number(metric.name, metric.value),
        MetricKind::Flag => json.flag(metric.name, metric.value != 0),
    }
}

/// Prometheus' text in the making; each family comes once, with help and kind.
struct Exposition {
    prefix: &'static str,
    text: String,
}

impl Exposition {
    fn single(&mut self, prefix: &str, metric: &Metric) {
        let name = self.family(prefix, metric);
        self.sample(&name, "", metric.value);
    }

    fn table(&mut self, row: &str, rows: &[MetricRow]) {
        let Some(first) = rows.first() else { return };
        for (place, metric) in first.metrics.iter().enumerate() {
            let name = self.family(&format!("{row}_"), metric);
            for MetricRow { label, metrics, .. } in rows {
                debug_assert_eq!(metrics[place].name, metric.name, "rows are alike");
                debug_assert!(!label.contains(['"', '\\', '\n']), "{label}");
                let labels = format!("{{{row}=\"{label}\"}}");
                self.sample(&name, &labels, metrics[place].value);
            }
        }
    }

    /// Writes the head of a family. The help is written as it is: none of ours has a backslash or a
    /// line feed, which would need escapes.
    fn family(&mut self, prefix: &str, metric: &Metric) -> String {
        let (kind, suffix) = match metric.kind {
            MetricKind::Gauge | MetricKind::Flag => ("gauge", ""),
            MetricKind::Counter => ("counter", "_total"),
        };
        let (first, help) = (self.prefix, metric.help);
        debug_assert!(!help.contains(['\\', '\n']), "{help}");
        let name = format!("{first}{prefix}{}{suffix}", metric.name);
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}")
            .expect("a String takes every byte");
        name
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        writeln!(self.text, "{name}{labels} {value}").expect("a String takes every byte");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> MetricSet {
        let row = |label: &str, value| MetricRow {
            label: label.into(),
            facts: vec![("url", quoted(label))],
            metrics: vec![Metric::flag("open", "Open.", value)],
        };
        MetricSet::default()
            .single(Metric::gauge("uptime_ms", "Time.", 7))
            .totals([Metric::counter("accepted", "Accepted.", 1)])
            .group("chat", [Metric::gauge("rooms", "Rooms.", 2)])
            .table(("links", "link"), [row("a", true), row("b", false)])
            .fact("sync", quoted("always"))
    }

    #[test]
    fn stats_are_json_with_numbers_and_facts() {
        let response = set().stats();
        let expected = r#"{"uptime_ms":7,"totals":{"accepted":1},"chat":{"rooms":2},"links":[{"url":"a","open":true},{"url":"b","open":false}],"sync":"always"}"#;
        assert_eq!(response.content(), expected.as_bytes());
    }

    #[test]
    fn the_same_numbers_are_families_with_help_and_kind() {
        let response = set().exposition("x_");
        let expected = "\
            # HELP x_uptime_ms Time.\n# TYPE x_uptime_ms gauge\nx_uptime_ms 7\n\
            # HELP x_accepted_total Accepted.\n# TYPE x_accepted_total counter\nx_accepted_total 1\n\
            # HELP x_chat_rooms Rooms.\n# TYPE x_chat_rooms gauge\nx_chat_rooms 2\n\
            # HELP x_link_open Open.\n# TYPE x_link_open gauge\n\
            x_link_open{link=\"a\"} 1\nx_link_open{link=\"b\"} 0\n";
        assert_eq!(std::str::from_utf8(response.content()).unwrap(), expected);
    }
}
