//! What the gateway counts, and how it is told: as JSON for people, as text for Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::link::LinkState;
use super::outbox::{DEAD, OUTBOX, Outbox, unix_ms};
use super::pipe::Report;
use crate::server::{Response, WorkerHandle};
use crate::store::PageRange;

/// What Prometheus asks for by (text format 0.0.4).
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Postings that were taken, known as repeats, and refused since there was no room.
    pub(super) taken: AtomicU64,
    pub(super) repeats: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Dead letters that were kept, by this process.
    pub(super) dead: AtomicU64,
    upstreams: Mutex<Vec<Upstream>>,
}

/// One upstream.
#[derive(Debug, Clone)]
struct Upstream {
    url: Arc<str>,
    settled: u64,
    /// Of the push process that lives now.
    report: Report,
    /// Of those before it, added up.
    before: Report,
}

impl Numbers {
    /// Numbers of these upstreams, which have settled so much.
    pub(super) fn of(upstreams: impl IntoIterator<Item = (Arc<str>, u64)>) -> Self {
        let upstreams = upstreams.into_iter().map(|(url, settled)| Upstream {
            url,
            settled,
            report: Report::default(),
            before: Report::default(),
        });
        Self {
            upstreams: Mutex::new(upstreams.collect()),
            ..Self::default()
        }
    }

    /// A push process begins.
    pub(super) fn begun(&self) {
        for upstream in self.upstreams().iter_mut() {
            upstream.before = upstream.total();
            upstream.report = Report::default();
        }
    }

    pub(super) fn reported(&self, report: Report) {
        if let Some(upstream) = self.upstreams().get_mut(report.upstream) {
            upstream.report = report;
        }
    }

    pub(super) fn settled(&self, upstream: usize, n: u64) {
        if let Some(upstream) = self.upstreams().get_mut(upstream) {
            upstream.settled = upstream.settled.max(n);
        }
    }

    /// What each upstream hasn't settled of everything up to `newest`.
    pub(super) fn left(&self, newest: u64) -> Vec<(Arc<str>, u64)> {
        self.upstreams()
            .iter()
            .map(|one| (Arc::clone(&one.url), newest.saturating_sub(one.settled)))
            .collect()
    }

    fn upstreams(&self) -> MutexGuard<'_, Vec<Upstream>> {
        // Each change is one assignment: nothing is half done after a panic.
        self.upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// `GET /v1/stats`
    pub(super) fn stats(&self, server: &WorkerHandle, outbox: &Outbox) -> Response {
        let all = Snapshot::of(self, server, outbox);
        let upstreams: Vec<Value> = all
            .upstreams
            .iter()
            .map(|one| {
                let total = one.total();
                json!({
                    "url": *one.url,
                    "state": total.state.word(),
                    "settled": one.settled,
                    "waiting": all.newest.saturating_sub(one.settled),
                    "opened": total.opened,
                    "lost": total.lost,
                    "resent": total.resent,
                    "jumped": total.jumped,
                })
            })
            .collect();
        let disk = outbox.disk.pressure();
        let disk = json!({
            "items": disk.items(),
            "items_peak": disk.items_peak(),
            "bytes": disk.bytes(),
            "pressed": disk.is_high(),
        });
        let outbox = json!({
            "messages": all.messages,
            "newest": all.newest,
            "bytes": all.bytes,
            "oldest_age_ms": all.oldest_age_ms,
            "taken": self.taken.load(Relaxed),
            "repeats": self.repeats.load(Relaxed),
            "refused": self.refused.load(Relaxed),
            "dead_letters": all.dead_letters,
        });
        let push = json!({ "pid": all.push_pid, "restarts": all.push_restarts });
        let body = json!({
            "uptime_ms": all.uptime_ms,
            "outbox": outbox,
            "disk": disk,
            "upstreams": upstreams,
            "push_process": push,
        });
        Response::json(body.to_string())
    }

    /// `GET /metrics`
    pub(super) fn metrics(&self, server: &WorkerHandle, outbox: &Outbox) -> Response {
        let all = Snapshot::of(self, server, outbox);
        let disk = outbox.disk.pressure();
        let mut text = String::new();
        for (name, kind, help, value) in [
            (
                "outbox_messages",
                "gauge",
                "Messages that not all upstreams have settled.",
                all.messages,
            ),
            (
                "outbox_bytes",
                "gauge",
                "Bytes of the outbox on disk.",
                all.bytes,
            ),
            (
                "outbox_oldest_age_ms",
                "gauge",
                "Age of the oldest message in it.",
                all.oldest_age_ms,
            ),
            (
                "outbox_dead_letters",
                "gauge",
                "Messages that are kept since an upstream refused them for good.",
                all.dead_letters,
            ),
            (
                "outbox_taken_total",
                "counter",
                "Messages taken.",
                self.taken.load(Relaxed),
            ),
            (
                "outbox_repeats_total",
                "counter",
                "Messages that were known by their id.",
                self.repeats.load(Relaxed),
            ),
            (
                "outbox_refused_total",
                "counter",
                "Messages refused for want of room.",
                self.refused.load(Relaxed),
            ),
            (
                "dead_letters_total",
                "counter",
                "Messages that an upstream refused for good.",
                self.dead.load(Relaxed),
            ),
            (
                "disk_items",
                "gauge",
                "Records that wait for the disk.",
                disk.items() as u64,
            ),
            (
                "disk_items_peak",
                "gauge",
                "The most records that ever waited.",
                disk.items_peak() as u64,
            ),
            (
                "disk_bytes",
                "gauge",
                "What waits for the disk, in bytes.",
                disk.bytes() as u64,
            ),
            (
                "disk_pressed",
                "gauge",
                "1 while nothing is read since too much waits for the disk.",
                disk.is_high().into(),
            ),
            (
                "push_restarts_total",
                "counter",
                "Times that the push process was started again.",
                all.push_restarts,
            ),
        ] {
            head(&mut text, name, kind, help);
            sample(&mut text, name, "", value);
        }
        type Value = fn(&Upstream, u64) -> u64;
        let of_each: [(&str, &str, &str, Value); 6] = [
            (
                "link_open",
                "gauge",
                "1 while the link is open.",
                |one, _| u64::from(one.report.state == LinkState::Open),
            ),
            (
                "link_waiting_messages",
                "gauge",
                "Messages that the upstream hasn't settled.",
                |one, newest| newest.saturating_sub(one.settled),
            ),
            (
                "link_opened_total",
                "counter",
                "Times that the link was opened.",
                |one, _| one.total().opened,
            ),
            (
                "link_lost_total",
                "counter",
                "Times that the link was lost, or couldn't be made.",
                |one, _| one.total().lost,
            ),
            (
                "link_resent_total",
                "counter",
                "Messages that went out more than once.",
                |one, _| one.total().resent,
            ),
            (
                "link_jumped_total",
                "counter",
                "Times that the upstream had lost its mark.",
                |one, _| one.total().jumped,
            ),
        ];
        for (name, kind, help, value) in of_each {
            head(&mut text, name, kind, help);
            for one in &all.upstreams {
                // A URL has neither quotes nor backslashes, which would need escapes.
                let label = format!("{{upstream=\"{}\"}}", one.url);
                sample(&mut text, name, &label, value(one, all.newest));
            }
        }
        Response::new(200)
            .field("Content-Type", TEXT_FORMAT)
            .body(text)
    }
}

impl Upstream {
    fn total(&self) -> Report {
        let (now, before) = (&self.report, &self.before);
        Report {
            opened: now.opened + before.opened,
            lost: now.lost + before.lost,
            resent: now.resent + before.resent,
            jumped: now.jumped + before.jumped,
            ..*now
        }
    }
}

/// The numbers of one moment that stand elsewhere.
struct Snapshot {
    uptime_ms: u64,
    messages: u64,
    newest: u64,
    bytes: u64,
    oldest_age_ms: u64,
    dead_letters: u64,
    push_pid: Option<u32>,
    push_restarts: u64,
    upstreams: Vec<Upstream>,
}

impl Snapshot {
    fn of(numbers: &Numbers, server: &WorkerHandle, outbox: &Outbox) -> Self {
        let (first, newest) = outbox.kept();
        let oldest = PageRange {
            after: Some(first - 1),
            before: None,
            limit: 1,
            bytes_max: 0,
        };
        let oldest = outbox.reader.page(OUTBOX, oldest).unwrap_or_default();
        let oldest_age_ms = oldest
            .messages
            .first()
            .map_or(0, |message| unix_ms().saturating_sub(message.body.ts));
        let dead = outbox.reader.channel(DEAD);
        let stats = server.stats();
        let push = stats.processes.first();
        Self {
            uptime_ms: stats.uptime_ms,
            messages: newest + 1 - first,
            newest,
            bytes: outbox.bytes(),
            oldest_age_ms,
            dead_letters: dead.map_or(0, |dead| dead.newest - dead.floor),
            push_pid: push.and_then(|push| push.pid),
            push_restarts: push.map_or(0, |push| push.restarts),
            upstreams: numbers.upstreams().clone(),
        }
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(
        text,
        "# HELP tidings_gateway_{name} {help}\n# TYPE tidings_gateway_{name} {kind}"
    )
    .expect("a String takes every byte");
}

fn sample(text: &mut String, name: &str, labels: &str, value: u64) {
    writeln!(text, "tidings_gateway_{name}{labels} {value}").expect("a String takes every byte");
}
