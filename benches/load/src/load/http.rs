//! `bench http`: requests over kept connections, so many unanswered at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::client::http::{Exchange, Question};
use crate::client::opener::open_all;
use crate::client::opening::Hello;
use crate::client::target::{Sources, Target};
use crate::load::driver::{Window, drive};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report};
use crate::wire::repeat::Repeat;

/// Prepared requests for one write, in bytes.
const WRITE_SIZE: usize = 256 << 10;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server.
    pub(crate) target: Target,
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Unanswered requests a connection; more than one is pipelining.
    pub(crate) in_flight: usize,
    /// GET, POST, …
    pub(crate) method: String,
    /// Further header fields, each `Name: value`.
    pub(crate) fields: Vec<String>,
    /// The body of each request; `None` sends no `Content-Length` either.
    pub(crate) body: Option<String>,
    /// Warm-up and measured time.
    pub(crate) window: Window,
    /// Threads of the generator.
    pub(crate) threads: usize,
    /// The server's process.
    pub(crate) pid: Option<u32>,
    /// Local addresses; `None` for as many as needed.
    pub(crate) sources: Option<usize>,
}

/// Runs it.
///
/// # Errors
///
/// Nothing could be measured: no connection came about, or the process can't be read. Failures of
/// single connections are counted and reported instead; so are status codes, whatever they say.
pub(crate) fn run(settings: &Settings) -> Result<(Report, Failures), Failure> {
    reserve_descriptors(settings.connections)?;
    let mut progress = Progress::new();
    let target = &settings.target;
    let sources = Sources::new(target, settings.sources, settings.connections);
    let hello = Arc::new(Hello::Nothing);
    let opened = open_all(
        target,
        |_| Arc::clone(&hello),
        sources,
        settings.connections,
        &mut progress,
    )?;
    let question = Arc::new(settings.question());
    let exchanges: Vec<_> = opened
        .connections
        .into_iter()
        .enumerate()
        .map(|(index, open)| {
            let source = sources.source_of(index);
            Exchange::new(open, Arc::clone(&question), source, settings.in_flight)
        })
        .collect();
    let (mut measured, exchanges) = drive(
        exchanges,
        settings.threads,
        settings.window,
        settings.pid,
        &mut progress,
    )?;
    measured.failures.merge(opened.failures);
    let mut report = Report::new("http", settings.title());
    report.json("connections", settings.connections.into());
    report.json("in_flight", settings.in_flight.into());
    report.add("requests", "requests", Figure::Count(measured.answers));
    report.add(
        "requests_per_second",
        "requests/s",
        Figure::Rate(measured.rate()),
    );
    if let Some(ns) = measured.server_ns {
        let us = Figure::Micros(measured.per_answer_us(ns));
        report.add("cpu_us_per_request", "CPU µs/request, server", us);
    }
    let us = Figure::Micros(measured.per_answer_us(measured.generator_ns));
    report.add(
        "generator_cpu_us_per_request",
        "CPU µs/request, generator",
        us,
    );
    report.latency(&measured.latency);
    statuses(&mut report, &exchanges);
    report.failures(&measured.failures);
    Ok((report, measured.failures))
}

fn statuses(report: &mut Report, exchanges: &[Exchange]) {
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    for (status, count) in exchanges.iter().flat_map(Exchange::statuses) {
        *statuses.entry(*status).or_default() += count;
    }
    for (status, count) in &statuses {
        report.note(&format!("status {status}"), &[&count.to_string()]);
    }
    report.json("statuses", json!(statuses));
    let reconnects = exchanges.iter().map(Exchange::reconnects).sum();
    report.add(
        "reconnects",
        "connections made anew",
        Figure::Count(reconnects),
    );
}

impl Settings {
    fn question(&self) -> Question {
        let request = self.request();
        Question {
            requests: Repeat::new(&request, self.in_flight.min(WRITE_SIZE / request.len())),
            bodiless: self.method == "HEAD",
            address: self.target.address,
        }
    }

    fn request(&self) -> Vec<u8> {
        let (method, target) = (&self.method, &self.target);
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\n",
            target.path, target.host
        );
        for field in &self.fields {
            request += &format!("{field}\r\n");
        }
        if let Some(body) = &self.body {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += self.body.as_deref().unwrap_or_default();
        request.into()
    }

    fn title(&self) -> String {
        format!(
            "http {} {}{}: {} connections, {} in flight, {} s",
            self.method,
            self.target.address,
            self.target.path,
            self.connections,
            self.in_flight,
            self.window.measured.as_secs_f64()
        )
    }
}
