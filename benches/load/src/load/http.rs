//! `bench http`: requests over kept connections, a fixed number of them unanswered at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::client::http::{HttpClient, HttpRequest};
use crate::client::opener::open_all;
use crate::client::opening::Handshake;
use crate::client::server::Server;
use crate::client::target::Scheme;
use crate::flags::{LoadFlags, ServerFlags};
use crate::load::driver::{AnswerNames, drive};
use crate::measure::failure::{Failures, reserve_descriptors};
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report};
use crate::wire::repeat::Repeat;

/// Prepared requests for one write, in bytes: more than a socket's buffer takes at once.
const WRITE_SIZE: usize = 256 << 10;

/// HTTP requests over kept connections: rate, latency, status codes, CPU time a request.
#[derive(Debug, Args)]
pub(crate) struct Http {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    #[command(flatten)]
    load: LoadFlags,
    /// Unanswered requests a connection; more than one is pipelining.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Method of the requests.
    #[arg(long, default_value = "GET", value_parser = method)]
    method: String,
    /// Body of each request.
    #[arg(long)]
    body: Option<String>,
}

impl Http {
    /// Runs it.
    ///
    /// # Errors
    ///
    /// The flags can't be used, or nothing could be measured: no connection came about, or the
    /// process can't be read. Failures of single connections are counted and reported instead; so
    /// are status codes, whatever they say.
    pub(crate) fn run(&self) -> anyhow::Result<(Report, Failures)> {
        let server = self.server.server(Scheme::Http)?;
        reserve_descriptors(self.load.connections)?;
        let mut progress = Progress::new();
        let sources = server.sources(self.load.connections);
        let handshake = Arc::new(Handshake::Nothing);
        let opened = open_all(
            &server.target,
            |_| Arc::clone(&handshake),
            sources,
            self.load.connections,
            &mut progress,
        )?;
        let request = Arc::new(self.prepare(&server));
        let clients = opened
            .connections
            .into_iter()
            .enumerate()
            .map(|(index, open)| {
                let source = sources.source_of(index);
                HttpClient::new(open, Arc::clone(&request), source, self.in_flight as usize)
            })
            .collect();
        let (mut measured, clients) = drive(clients, &self.load, server.pid, &mut progress)?;
        measured.failures.merge(opened.failures);
        let mut report = Report::new("http", self.title(&server));
        report.json("connections", self.load.connections.into());
        report.json("in_flight", self.in_flight.into());
        measured.add_to(
            &mut report,
            AnswerNames {
                key: "requests",
                label: "requests",
                cost_key: "request",
                cost_label: "request",
            },
        );
        add_statuses(&mut report, &clients);
        report.failures(&measured.failures);
        Ok((report, measured.failures))
    }

    fn prepare(&self, server: &Server) -> HttpRequest {
        let request = self.request(server);
        let count = (self.in_flight as usize).min(WRITE_SIZE / request.len());
        HttpRequest {
            requests: Repeat::new(&request, count),
            bodiless: self.method == "HEAD",
            place: server.target.place(),
        }
    }

    fn request(&self, server: &Server) -> Vec<u8> {
        let (method, target) = (&self.method, &server.target);
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\n",
            target.path, target.host
        );
        for field in &server.fields {
            request += &format!("{field}\r\n");
        }
        if let Some(body) = &self.body {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += self.body.as_deref().unwrap_or_default();
        request.into()
    }

    fn title(&self, server: &Server) -> String {
        format!(
            "http {} {}{}: {} connections, {} in flight, {} s",
            self.method,
            server.target.address,
            server.target.path,
            self.load.connections,
            self.in_flight,
            self.load.seconds.as_secs_f64()
        )
    }
}

fn add_statuses(report: &mut Report, clients: &[HttpClient]) {
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    for (status, count) in clients.iter().flat_map(HttpClient::statuses) {
        *statuses.entry(*status).or_default() += count;
    }
    for (status, count) in &statuses {
        report.note(&format!("status {status}"), &[&count.to_string()]);
    }
    report.json("statuses", json!(statuses));
    let reconnects = clients.iter().map(HttpClient::reconnects).sum();
    report.add(
        "reconnects",
        "connections made anew",
        Figure::Count(reconnects),
    );
}

/// Reads a method's name (RFC 9110 §9.1): capital letters.
fn method(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        true => Ok(text.into()),
        false => Err("not a method in capital letters".into()),
    }
}
