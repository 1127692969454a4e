//! `bench publish`: messages that the server takes, whether or not somebody receives them; what is
//! counted is acknowledgements.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::client::acked_publisher::{AckedPublisher, PublishWindow};
use crate::client::dialect::{Dialect, Transport};
use crate::client::opener::open_all;
use crate::client::opening::Handshake;
use crate::client::publisher::Publisher;
use crate::client::server::Server;
use crate::client::target::Scheme;
use crate::client::template::Blanks;
use crate::flags::{IN_FLIGHT_BYTES_MAX, LoadFlags, ServerFlags};
use crate::load::dialect_flags::{ByteFlags, PublishFlags, size};
use crate::load::driver::{AnswerNames, drive};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report};

/// Messages that the server takes: rate, latency, CPU time a message.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    #[command(flatten)]
    load: LoadFlags,
    /// Unanswered messages (or batches) a connection; by HTTP more than one is pipelining.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Messages a request, by POST /v1/messages/batch; implies `--by http`.
    #[arg(long, conflicts_with_all = ["by", "publish_frame", "publish_request"],
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: Option<u16>,
    /// A message's data, in bytes.
    #[arg(long, default_value_t = 64, value_parser = size)]
    size: usize,
    #[command(flatten)]
    publish: PublishFlags,
    #[command(flatten)]
    bytes: ByteFlags,
}

impl Publish {
    /// Runs it.
    ///
    /// # Errors
    ///
    /// The flags can't be used, or nothing could be measured: no connection came about, or the
    /// process can't be read. Failures of single connections, and messages that the server refuses,
    /// are counted instead.
    pub(crate) fn run(&self) -> anyhow::Result<(Report, Failures)> {
        let server = self.server.server(Scheme::WebSocket)?;
        let dialect = self.dialect(&server)?;
        reserve_descriptors(self.load.connections)?;
        let mut progress = Progress::new();
        let (publishers, failures) = self.open(&server, &dialect, &mut progress)?;
        let (mut measured, publishers) = drive(publishers, &self.load, server.pid, &mut progress)?;
        measured.failures.merge(failures);
        let refused = count_refused(&publishers, &mut measured.failures);
        let mut report = self.begin(&server, dialect.publish.transport());
        measured.add_to(
            &mut report,
            AnswerNames {
                key: "acks",
                label: "acknowledged",
                cost_key: "publish",
                cost_label: "message",
            },
        );
        report.json("refused_by_code", json!(refused));
        let reconnects = publishers.iter().map(AckedPublisher::reconnects).sum();
        report.add(
            "reconnects",
            "connections made anew",
            Figure::Count(reconnects),
        );
        report.failures(&measured.failures);
        Ok((report, measured.failures))
    }

    fn window(&self) -> PublishWindow {
        PublishWindow {
            in_flight: self.in_flight as usize,
            batch: self.batch.map(usize::from),
            size: self.size,
        }
    }

    /// Checks the flags that say how one talks to the server.
    fn dialect(&self, server: &Server) -> anyhow::Result<Dialect> {
        let PublishWindow {
            in_flight, batch, ..
        } = self.window();
        let bytes = in_flight * batch.unwrap_or(1) * self.size;
        anyhow::ensure!(
            bytes <= IN_FLIGHT_BYTES_MAX,
            "--in-flight times --batch times --size is over {IN_FLIGHT_BYTES_MAX} bytes a connection"
        );
        let dialect = match (self.bytes.template()?, self.batch) {
            (Some(publish), _) => Dialect {
                publish,
                ..Dialect::raw()
            },
            (None, Some(_)) => self.publish.batches(server),
            (None, None) => self.publish.dialect(server)?,
        };
        anyhow::ensure!(
            dialect.publish.is_answered(),
            "--publish-frame needs --ack-marker: acknowledgements are what is counted"
        );
        Ok(dialect)
    }

    fn open(
        &self,
        server: &Server,
        dialect: &Dialect,
        progress: &mut Progress,
    ) -> Result<(Vec<AckedPublisher>, Failures), Failure> {
        let sources = server.sources(self.load.connections);
        let handshake_of = |number: usize| {
            let blanks = Blanks {
                member: number as u64,
                publisher: number as u64,
                ..Blanks::default()
            };
            Arc::new(match dialect.publish.transport() {
                Transport::Http | Transport::Tcp => Handshake::Nothing,
                Transport::WebSocket => server.handshake(&dialect.publisher_path.filled(&blanks)),
            })
        };
        let opened = open_all(
            &server.target,
            handshake_of,
            sources,
            self.load.connections,
            progress,
        )?;
        let publish = Arc::new(dialect.publish.clone());
        let publishers = opened.connections.into_iter().map(|open| {
            let (number, source) = (open.number, sources.source_of(open.number));
            let place = server.target.place();
            let publisher = Publisher::new(open, Arc::clone(&publish), place, source)?;
            let publish = Arc::clone(&publish);
            Ok(AckedPublisher::new(
                publisher,
                publish,
                number as u64,
                self.window(),
            ))
        });
        Ok((publishers.collect::<Result<_, Failure>>()?, opened.failures))
    }

    fn begin(&self, server: &Server, transport: Transport) -> Report {
        let what = match self.batch {
            Some(count) => format!("batches of {count}"),
            None => "messages".into(),
        };
        let title = format!(
            "publish {} by {}: {} connections, {} {what} in flight, {} bytes, {} s",
            server.target.address,
            transport.name(),
            self.load.connections,
            self.in_flight,
            self.size,
            self.load.seconds.as_secs_f64()
        );
        let mut report = Report::new("publish", title);
        report.json("connections", self.load.connections.into());
        report.json("in_flight", self.in_flight.into());
        report.json("batch", self.batch.into());
        report.json("by", transport.name().into());
        report.json("size", self.size.into());
        report
    }
}

/// Adds refusals and duplicates to the failures; gives the refusals by code.
fn count_refused<'a>(
    publishers: &'a [AckedPublisher],
    failures: &mut Failures,
) -> BTreeMap<&'a str, u64> {
    let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
    for publisher in publishers {
        for (code, count) in publisher.refused() {
            *refused.entry(code).or_default() += count;
        }
        let words = "the server took a new message for an old one";
        failures.add_many("duplicate", publisher.duplicates(), words);
    }
    for (code, &count) in &refused {
        let words = "the server did not take a message";
        failures.add_many(&format!("refused: {code}"), count, words);
    }
    refused
}
