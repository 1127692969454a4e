//! The numbers of an endpoint, and the description of the API.

use super::HttpApi;
use super::call::ApiCall;
use super::reply::ApiReply;
use crate::api::metrics::{MetricRow, MetricSet, pressure_metrics, queue_rows, quoted};
use crate::api::refusal::Refusal;
use crate::base::Metric;
use crate::endpoint::replays::ReplayStats;
use crate::server::{Response, WorkerHandle};
use crate::store::{Condition, StoreTotals};

/// The description of the API.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

impl HttpApi {
    /// `GET /v1/stats`
    pub(super) fn stats(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        Ok(ApiReply::Response(self.numbers(call.server).stats()))
    }

    /// `GET /metrics`
    pub(super) fn metrics(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let response = self.numbers(call.server).exposition("tidings_");
        Ok(ApiReply::Response(response))
    }

    /// `GET /openapi.json`
    pub(super) fn openapi(&self, _: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        Ok(ApiReply::Response(Response::json(OPENAPI)))
    }

    fn numbers(&self, server: &WorkerHandle) -> MetricSet {
        let stats = server.stats();
        let services = &self.services;
        let disk = pressure_metrics(services.disk.pressure());
        let taking = Metric::flag(
            "taking",
            "1 while messages can be stored.",
            services.disk.condition() == Condition::Good,
        );
        let reactors = stats.wakes.iter().enumerate();
        let reactors = reactors.map(|(place, wakes)| MetricRow {
            label: place.to_string(),
            facts: Vec::new(),
            metrics: vec![Metric::counter("wakes", "Wake-ups really made.", *wakes)],
        });
        (self.host_metrics)()
            .into_iter()
            .fold(MetricSet::default(), MetricSet::single)
            .totals(stats.totals.described())
            .single(Metric::gauge(
                "uptime_ms",
                "Milliseconds since the start.",
                stats.uptime_ms,
            ))
            .single(Metric::gauge(
                "outbox_bytes",
                "What waits for slow readers.",
                stats.outbox_bytes as u64,
            ))
            .single(Metric::gauge(
                "user_timers",
                "Timers of the server's user.",
                stats.user_timers as u64,
            ))
            .group("chat", services.chat.stats().described())
            .group("refusals", self.sessions.refusals.described())
            .group("limits", self.sessions.limit_metrics())
            .group("store", of_store(&services.reader.totals()))
            .group("disk", [&disk[..], &[taking]].concat())
            .group("replays", of_replays(&services.replays.stats()))
            .group("links", self.links.numbers().described())
            .table(("workers", "worker"), queue_rows(&stats.workers))
            .table(("mailboxes", "mailbox"), queue_rows(&stats.mailboxes))
            .table(("reactors", "reactor"), reactors)
            .table(
                ("processes", "process"),
                stats.processes.iter().map(MetricRow::process),
            )
            .fact("sync", quoted(&self.sync))
    }
}

/// Describes what is on disk, and what writing it took.
fn of_store(totals: &StoreTotals) -> [Metric; 15] {
    [
        Metric::gauge("channels", "Channels on disk.", totals.channels),
        Metric::gauge(
            "messages",
            "Messages on disk; one in two channels counts twice.",
            totals.messages,
        ),
        Metric::gauge("segments", "Files of the journal.", totals.segments),
        Metric::gauge("bytes", "Bytes of the files.", totals.bytes),
        Metric::gauge(
            "index_bytes",
            "Bytes of the index in memory.",
            totals.index_bytes,
        ),
        Metric::counter("commits", "Batches that were made durable.", totals.commits),
        Metric::counter("records", "Records in them.", totals.records),
        Metric::gauge(
            "sync_us_last",
            "Microseconds of the last sync.",
            totals.sync_us_last,
        ),
        Metric::counter("sync_us", "Microseconds of all syncs.", totals.sync_us_sum),
        Metric::counter("syncs", "Syncs.", totals.syncs),
        Metric::counter("failures", "Writes and syncs that failed.", totals.failures),
        Metric::counter(
            "torn_bytes",
            "Bytes of torn tails that were cut off.",
            totals.torn_bytes,
        ),
        Metric::counter(
            "trimmed",
            "Messages that were let go for age, number or size.",
            totals.trimmed,
        ),
        Metric::counter(
            "moved",
            "Messages that were moved on out of nearly dead files.",
            totals.moved,
        ),
        Metric::counter("repeats", "Repeats that were known.", totals.repeats),
    ]
}

/// Describes the connections that catch up from the disk.
fn of_replays(stats: &ReplayStats) -> [Metric; 4] {
    [
        Metric::gauge(
            "under_way",
            "Channels of connections that catch up.",
            stats.under_way,
        ),
        Metric::counter("pages", "Pages that were read for them.", stats.pages),
        Metric::counter("finished", "Those that ended.", stats.finished),
        Metric::counter(
            "refused",
            "Those that were refused since there were too many.",
            stats.refused,
        ),
    ]
}
