//! `bench echo`: messages that a server sends back, a fixed number of them unanswered at any time.
//!
//! With a floor, `raw` runs as a child of this process and is measured in turns with the server.
//! Reported are the medians of the rounds.

use std::sync::Arc;

use clap::Args;

use crate::client::echo::{EchoClient, EchoScript};
use crate::client::opener::open_all;
use crate::client::server::Server;
use crate::client::target::Scheme;
use crate::flags::{IN_FLIGHT_BYTES_MAX, LoadFlags, ServerFlags};
use crate::floor::process::{FloorProcess, Side, in_turns};
use crate::load::driver::{Measured, drive};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report};
use crate::measure::row::{Row, add_alone, add_beside};
use crate::wire::frame::{BINARY, TEXT};

/// Messages that the server sends back: rate, latency, CPU time a message.
#[derive(Debug, Args)]
pub(crate) struct Echo {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    #[command(flatten)]
    load: LoadFlags,
    /// Unanswered messages a connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    in_flight: u32,
    /// Payload of a message, in bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=16 << 20))]
    size: u32,
    /// Sends text frames (the default).
    #[arg(long, conflicts_with = "binary")]
    text: bool,
    /// Sends binary frames.
    #[arg(long)]
    binary: bool,
    /// What the server answers each message with, when that isn't the message itself.
    #[arg(long, value_name = "TEXT")]
    answer: Option<String>,
    /// Rounds, each with new connections; the medians are reported.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Measures `bench raw` in turns with the server, and reports both and the ratio.
    #[arg(long)]
    floor: bool,
    /// Threads of that floor; as many as the server has reactors makes a fair comparison.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    floor_threads: u8,
}

impl Echo {
    /// Runs all rounds.
    ///
    /// # Errors
    ///
    /// The flags can't be used, or nothing could be measured: no connection came about, the floor
    /// didn't start, the process can't be read. Failures of single connections are counted and
    /// reported instead.
    pub(crate) fn run(&self) -> anyhow::Result<(Report, Failures)> {
        anyhow::ensure!(
            self.in_flight as usize * self.size as usize <= IN_FLIGHT_BYTES_MAX,
            "--in-flight times --size is over {IN_FLIGHT_BYTES_MAX} bytes a connection"
        );
        let server = self.server.server(Scheme::WebSocket)?;
        reserve_descriptors(self.load.connections)?;
        let threads = self.floor_threads.to_string();
        let start = || FloorProcess::start(&["--threads", &threads]);
        let floor = self.floor.then(start).transpose()?;
        let mut progress = Progress::new();
        let mut rounds = in_turns(
            self.rounds.into(),
            floor.as_ref(),
            &server,
            |server, side, _| self.measure(server, side, &mut progress),
        )?;
        let mut failures = Failures::default();
        for measured in rounds.iter_mut() {
            failures.merge(std::mem::take(&mut measured.failures));
        }
        let mut report = self.begin(&server, &rounds.server);
        if floor.is_none() {
            let messages = rounds.server.iter().map(|round| round.answers).sum();
            report.add("messages", "messages", Figure::Count(messages));
            add_alone(&mut report, &rows(&rounds.server));
        } else {
            add_by_round(&mut report, "floor_", &rounds.floor);
            add_beside(&mut report, &rows(&rounds.floor), &rows(&rounds.server));
        }
        report.failures(&failures);
        Ok((report, failures))
    }

    /// One round: connect, warm up, measure, leave.
    fn measure(
        &self,
        server: &Server,
        side: Side,
        progress: &mut Progress,
    ) -> Result<Measured, Failure> {
        let handshake = Arc::new(server.handshake(&server.target.path));
        let opened = open_all(
            &server.target,
            |_| Arc::clone(&handshake),
            server.sources(self.load.connections),
            self.load.connections,
            progress,
        )?;
        let script = Arc::new(self.script(side));
        let clients = opened
            .connections
            .into_iter()
            .map(|open| EchoClient::new(open, Arc::clone(&script), self.in_flight as usize))
            .collect();
        let (mut measured, _) = drive(clients, &self.load, server.pid, progress)?;
        measured.failures.merge(opened.failures);
        Ok(measured)
    }

    fn script(&self, side: Side) -> EchoScript {
        let size = self.size as usize;
        let message: Vec<u8> = (b'a'..=b'z').cycle().take(size).collect();
        let answer = match (side, &self.answer) {
            (Side::Server, Some(answer)) => answer.as_bytes(),
            _ => &message,
        };
        let opcode = if self.binary { BINARY } else { TEXT };
        EchoScript::new(opcode, &message, answer, self.in_flight as usize)
    }

    fn begin(&self, server: &Server, rounds: &[Measured]) -> Report {
        let title = format!(
            "echo {}: {} connections, {} in flight, {} bytes, {} round(s) of {} s",
            server.target.address,
            self.load.connections,
            self.in_flight,
            self.size,
            self.rounds,
            self.load.seconds.as_secs_f64()
        );
        let mut report = Report::new("echo", title);
        report.json("connections", self.load.connections.into());
        report.json("in_flight", self.in_flight.into());
        report.json("size", self.size.into());
        report.json("rounds", self.rounds.into());
        add_by_round(&mut report, "", rounds);
        report
    }
}

fn add_by_round(report: &mut Report, prefix: &str, rounds: &[Measured]) {
    let rates: Vec<f64> = rounds.iter().map(Measured::rate).collect();
    report.json(
        &format!("{prefix}messages_per_second_by_round"),
        rates.into(),
    );
    report.json(
        &format!("{prefix}cpu_us_per_message_by_round"),
        server_us(rounds).into(),
    );
}

/// The server's CPU time for a message, by round; `None` when its process is not known.
fn server_us(rounds: &[Measured]) -> Option<Vec<f64>> {
    let us = |round: &Measured| Some(round.per_answer_us(round.server_ns?));
    rounds.iter().map(us).collect()
}

fn rows(rounds: &[Measured]) -> Vec<Row> {
    let rates: Vec<f64> = rounds.iter().map(Measured::rate).collect();
    let server = server_us(rounds).unwrap_or_default();
    let us = |round: &Measured| round.per_answer_us(round.generator_ns);
    let generator: Vec<f64> = rounds.iter().map(us).collect();
    let mut latency = Latency::default();
    for round in rounds {
        latency.merge(&round.latency);
    }
    let label = "CPU µs/message, server";
    let mut rows = vec![
        Row::new("messages_per_second", "messages/s", Figure::Rate, &rates),
        Row::new("cpu_us_per_message", label, Figure::Micros, &server),
        Row::new(
            "generator_cpu_us_per_message",
            "CPU µs/message, generator",
            Figure::Micros,
            &generator,
        ),
    ];
    rows.extend(Row::quantiles("", "", &latency));
    rows
}
