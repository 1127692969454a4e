//! The numbers of an endpoint, and the description of the API.

use super::HttpApi;
use super::call::ApiCall;
use super::reply::ApiReply;
use crate::api::metrics::{MetricRow, MetricSet, pressure_metrics, queue_rows, quoted};
use crate::api::refusal::Refusal;
use crate::base::Metric;
use crate::server::{Response, Stats, WorkerHandle};
use crate::store::Condition;

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
        let host = (self.host_metrics)().into_iter();
        let host = host.fold(MetricSet::default(), MetricSet::single);
        let groups = self.host_groups.get().into_iter().flatten();
        let host = groups.fold(host, |set, (name, numbers)| set.group(name, numbers()));
        // What `bindings.store` names is `bindings`, wherever it is.
        let own = match (&services.bindings, &services.tables) {
            (Some(rows), Some(tables)) => host
                .group("presence", rows.described())
                .group("bindings", tables.described()),
            (Some(feed), None) | (None, Some(feed)) => host.group("bindings", feed.described()),
            (None, None) => host,
        };
        let own = match &services.cluster {
            Some(cluster) => own
                .group("lookups", cluster.lookups.stats().described())
                .group("holds", cluster.holds.stats().described()),
            None => own,
        };
        own.totals(stats.totals.described())
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
            .group("store", services.reader.totals().described())
            .group("disk", [&disk[..], &[taking]].concat())
            .group("replays", services.replays.stats().described())
            .group("links", self.links.numbers().described())
            .group("turns", of_turns(&stats))
            .group("deflate", of_deflate(&stats))
            .table(("workers", "worker"), queue_rows(&stats.workers))
            .table(("mailboxes", "mailbox"), queue_rows(&stats.mailboxes))
            .table(("reactors", "reactor"), reactors)
            .table(
                ("processes", "process"),
                stats.processes.iter().map(MetricRow::process),
            )
            .fact("sync", quoted(&services.words.load().sync))
    }
}

/// Describes what was compressed, once for all who understand it.
fn of_deflate(stats: &Stats) -> [Metric; 4] {
    let done = stats.deflate;
    [
        Metric::counter("messages", "Messages that were compressed.", done.messages),
        Metric::counter("bytes_before", "Bytes of them before.", done.bytes_before),
        Metric::counter("bytes_after", "Bytes of them afterwards.", done.bytes_after),
        Metric::gauge(
            "idle",
            "Compressors that wait for a message, each of some 250 KiB.",
            done.idle as u64,
        ),
    ]
}

/// Describes what waits since its connections have asked for much.
fn of_turns(stats: &Stats) -> [Metric; 6] {
    let waiting = &stats.postponed;
    [
        Metric::gauge(
            "events",
            "Messages and requests that wait for their connections' turns.",
            waiting.items as u64,
        ),
        Metric::gauge("bytes", "Bytes of them.", waiting.bytes as u64),
        Metric::gauge(
            "events_peak",
            "The most of them that ever waited.",
            waiting.items_peak as u64,
        ),
        Metric::gauge(
            "bytes_peak",
            "The most bytes of them that ever waited.",
            waiting.bytes_peak as u64,
        ),
        Metric::counter(
            "refused",
            "Connections closed since most of too much of that was their own.",
            stats.postponed_refused,
        ),
        Metric::gauge(
            "paused",
            "Connections that wait for something else than their turn: they are paused.",
            stats.user_pauses as u64,
        ),
    ]
}
