//! The counters of a gateway, and the list of its numbers for `/v1/stats` and `/metrics`.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

use super::outbox::{DEAD, OUTBOX, Outbox, OutboxCounters};
use super::push::PUSH_PROCESS;
use super::push::pipe::LinkReport;
use crate::api::json::Json;
use crate::api::metrics::{MetricRow, MetricSet, pressure_metrics, quoted};
use crate::base::Metric;
use crate::base::clock::unix_ms;
use crate::base::sync::lock;
use crate::link::LinkState;
use crate::server::WorkerHandle;
use crate::server::process::ProcessStats;
use crate::store::PageRange;

/// The counters of the outbox and of each upstream.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pub(super) counters: Arc<OutboxCounters>,
    upstreams: Mutex<Vec<UpstreamNumbers>>,
}

/// What the links to an upstream have counted, by name.
pub(super) type LinkCounts = [(&'static str, u64); 4];

/// The numbers of one upstream.
#[derive(Debug, Clone)]
struct UpstreamNumbers {
    /// Its number, as in the reports.
    number: usize,
    url: Arc<str>,
    /// The newest number that the upstream has acknowledged.
    acked: u64,
    /// The counters of the push process that runs now.
    report: LinkReport,
    /// The counters of the push processes before it, added up.
    before: LinkReport,
}

impl Numbers {
    /// Counters for these upstreams, whose numbers count from 0, starting from the offsets they have
    /// acknowledged.
    pub(super) fn of(upstreams: impl IntoIterator<Item = (Arc<str>, u64)>) -> Self {
        let upstreams = upstreams.into_iter().enumerate();
        Self {
            upstreams: Mutex::new(upstreams.map(UpstreamNumbers::new).collect()),
            ..Self::default()
        }
    }

    /// Goes on with these upstreams, by their numbers; those that stay go on counting.
    pub(super) fn set_upstreams(&self, next: Vec<(usize, (Arc<str>, u64))>) {
        let mut upstreams = self.upstreams();
        let kept = |(number, upstream)| {
            let before = upstreams.iter().find(|one| one.number == number);
            before.map_or_else(|| UpstreamNumbers::new((number, upstream)), Clone::clone)
        };
        *upstreams = next.into_iter().map(kept).collect();
    }

    /// Begins to count for a new push process.
    pub(super) fn begun(&self) {
        for upstream in self.upstreams().iter_mut() {
            upstream.before = upstream.total();
            upstream.report = LinkReport::default();
        }
    }

    /// Takes the counters of a link.
    pub(super) fn reported(&self, report: LinkReport) {
        let mut upstreams = self.upstreams();
        if let Some(upstream) = of_number(&mut upstreams, report.upstream) {
            upstream.report = report;
        }
    }

    /// Takes the acknowledgement of everything up to `n`.
    pub(super) fn acked(&self, upstream: usize, n: u64) {
        let mut upstreams = self.upstreams();
        if let Some(upstream) = of_number(&mut upstreams, upstream) {
            upstream.acked = upstream.acked.max(n);
        }
    }

    /// Counts the messages up to `newest` that each upstream hasn't acknowledged.
    pub(super) fn left(&self, newest: u64) -> Vec<(Arc<str>, u64)> {
        self.upstreams()
            .iter()
            .map(|one| (Arc::clone(&one.url), newest.saturating_sub(one.acked)))
            .collect()
    }

    /// Lists what the links to each upstream have counted, by its URL.
    pub(super) fn links(&self) -> Vec<(Arc<str>, LinkCounts)> {
        let upstreams = self.upstreams();
        let counts = |one: &UpstreamNumbers| {
            let total = one.total();
            let counts = [
                ("opened", total.opened),
                ("lost", total.lost),
                ("resent", total.resent),
                ("jumped", total.jumped),
            ];
            (Arc::clone(&one.url), counts)
        };
        upstreams.iter().map(counts).collect()
    }

    /// Counts on from what the links to an upstream had counted in an earlier image.
    pub(super) fn count_link_on(&self, url: &str, name: &str, from: u64) {
        let mut upstreams = self.upstreams();
        let Some(upstream) = upstreams.iter_mut().find(|one| *one.url == *url) else {
            return;
        };
        let before = &mut upstream.before;
        let count = match name {
            "opened" => &mut before.opened,
            "lost" => &mut before.lost,
            "resent" => &mut before.resent,
            "jumped" => &mut before.jumped,
            _ => return,
        };
        *count += from;
    }

    fn upstreams(&self) -> MutexGuard<'_, Vec<UpstreamNumbers>> {
        // Each change is one assignment: nothing is half done after a panic.
        lock(&self.upstreams)
    }

    /// Adds everything that the stats and the metrics show, beside what is in `set` already.
    pub(super) fn add_to(
        &self,
        set: MetricSet,
        server: &WorkerHandle,
        outbox: &Outbox,
    ) -> MetricSet {
        let stats = server.stats();
        let newest = outbox.kept().1;
        let upstreams = self.upstreams().clone();
        set.single(Metric::gauge(
            "uptime_ms",
            "Milliseconds since the start.",
            stats.uptime_ms,
        ))
        .group("outbox", self.of_outbox(outbox))
        .group("disk", pressure_metrics(outbox.disk.pressure()))
        .table(
            ("upstreams", "upstream"),
            upstreams.iter().map(|upstream| upstream.row(newest)),
        )
        .table(
            ("processes", "process"),
            stats.processes.iter().map(MetricRow::process),
        )
        .fact("push_process", push_process(&stats.processes))
    }

    fn of_outbox(&self, outbox: &Outbox) -> [Metric; 9] {
        let (first, newest) = outbox.kept();
        [
            Metric::gauge(
                "messages",
                "Messages that not all upstreams have settled.",
                newest + 1 - first,
            ),
            Metric::gauge("newest", "Number of the newest message.", newest),
            Metric::gauge("bytes", "Bytes of the outbox on disk.", outbox.bytes()),
            Metric::gauge(
                "oldest_age_ms",
                "Age of the oldest message in the outbox.",
                oldest_age_ms(outbox, first),
            ),
            Metric::gauge(
                "dead_letters",
                "Messages that are kept since an upstream refused them for good.",
                dead_letters(outbox),
            ),
            Metric::counter(
                "taken",
                "Messages taken.",
                self.counters.taken.load(Relaxed),
            ),
            Metric::counter(
                "repeats",
                "Messages that were known by their id.",
                self.counters.repeats.load(Relaxed),
            ),
            Metric::counter(
                "refused",
                "Messages refused for want of room.",
                self.counters.refused.load(Relaxed),
            ),
            Metric::counter(
                "dead_letters_stored",
                "Messages that an upstream refused for good.",
                self.counters.dead.load(Relaxed),
            ),
        ]
    }
}

/// The process that holds the links; `pid` is `null` while none runs. Its numbers are those of the
/// row `push` among the processes.
fn push_process(processes: &[ProcessStats]) -> String {
    let push = processes
        .iter()
        .find(|process| &*process.name == PUSH_PROCESS);
    let pid = push.and_then(|push| push.pid);
    let pid = pid.map_or("null".into(), |pid| pid.to_string());
    Json::object().raw("pid", &pid).end()
}

/// Returns the age of the oldest message that is kept, from this number on.
fn oldest_age_ms(outbox: &Outbox, first: u64) -> u64 {
    let oldest = PageRange {
        after: Some(first - 1),
        before: None,
        limit: 1,
        bytes_max: 0,
    };
    let oldest = outbox.reader.page(OUTBOX, oldest).unwrap_or_default();
    let oldest = oldest.messages.first();
    oldest.map_or(0, |message| unix_ms().saturating_sub(message.body.ts))
}

fn dead_letters(outbox: &Outbox) -> u64 {
    let dead = outbox.reader.channel(DEAD);
    dead.map_or(0, |dead| dead.newest - dead.floor)
}

fn of_number(upstreams: &mut [UpstreamNumbers], number: usize) -> Option<&mut UpstreamNumbers> {
    upstreams.iter_mut().find(|one| one.number == number)
}

impl UpstreamNumbers {
    fn new((number, (url, acked)): (usize, (Arc<str>, u64))) -> Self {
        Self {
            number,
            url,
            acked,
            report: LinkReport::default(),
            before: LinkReport::default(),
        }
    }

    fn total(&self) -> LinkReport {
        let (now, before) = (&self.report, &self.before);
        LinkReport {
            opened: now.opened + before.opened,
            lost: now.lost + before.lost,
            resent: now.resent + before.resent,
            jumped: now.jumped + before.jumped,
            ..*now
        }
    }

    /// Describes the upstream, where `newest` is the newest message of the outbox.
    fn row(&self, newest: u64) -> MetricRow {
        let total = self.total();
        MetricRow {
            // A URL has neither quotes nor backslashes, which would need escapes.
            label: self.url.to_string(),
            facts: vec![
                ("url", quoted(&self.url)),
                ("state", quoted(total.state.word())),
            ],
            metrics: vec![
                Metric::flag(
                    "open",
                    "1 while the link is open.",
                    total.state == LinkState::Open,
                ),
                Metric::gauge(
                    "settled",
                    "Number up to which the upstream has settled everything.",
                    self.acked,
                ),
                Metric::gauge(
                    "waiting",
                    "Messages that the upstream hasn't settled.",
                    newest.saturating_sub(self.acked),
                ),
                Metric::counter("opened", "Times that the link was opened.", total.opened),
                Metric::counter(
                    "lost",
                    "Times that the link was lost, or couldn't be made.",
                    total.lost,
                ),
                Metric::counter(
                    "resent",
                    "Messages that went out more than once.",
                    total.resent,
                ),
                Metric::counter(
                    "jumped",
                    "Times that the upstream had lost its mark.",
                    total.jumped,
                ),
            ],
        }
    }
}
