//! `bench echo`: messages that a server sends back, so many unanswered at any time.
//!
//! With a floor, `raw` runs as a child of this process and is measured in turns with the server, so
//! that both meet the same machine in the same minute. Reported are the medians; a ratio is the
//! median of the rounds' own ratios, since a shared machine drifts from round to round by more
//! than two servers differ.

use std::sync::Arc;

use crate::client::echo::{Conversation, Script};
use crate::client::opener::open_all;
use crate::client::opening::Hello;
use crate::client::target::{Sources, Target};
use crate::floor::process::{FloorProcess, middle, middle_ratio};
use crate::load::driver::{Measured, Window, drive};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, quantiles};
use crate::wire::frame::{BINARY, TEXT};

const SERVER_CPU: &str = "CPU µs/message, server";
const GENERATOR_CPU: &str = "CPU µs/message, generator";

/// What kind of messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text frames.
    Text,
    /// Binary frames.
    Binary,
}

/// Whether the floor is measured too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// The server alone.
    Without,
    /// In turns with `raw`, which runs on so many threads.
    Threads(usize),
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server.
    pub(crate) target: Target,
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Unanswered messages a connection.
    pub(crate) in_flight: usize,
    /// Payload of a message, in bytes.
    pub(crate) size: usize,
    /// Text or binary.
    pub(crate) kind: Kind,
    /// What the server answers, when that isn't the message itself.
    pub(crate) answer: Option<String>,
    /// Further fields of the handshake, each `Name: value`.
    pub(crate) fields: Vec<String>,
    /// Warm-up and measured time of each round.
    pub(crate) window: Window,
    /// Rounds, each with connections of its own.
    pub(crate) rounds: usize,
    /// Threads of the generator.
    pub(crate) threads: usize,
    /// The server's process.
    pub(crate) pid: Option<u32>,
    /// Local addresses; `None` for as many as needed.
    pub(crate) sources: Option<usize>,
    /// Whether to compare.
    pub(crate) floor: Floor,
}

/// Runs all rounds.
///
/// # Errors
///
/// Nothing could be measured: no connection came about, the floor didn't start, the process
/// can't be read. Failures of single connections are counted and reported instead.
pub(crate) fn run(settings: &Settings) -> Result<(Report, Failures), Failure> {
    reserve_descriptors(settings.connections)?;
    let floor = match settings.floor {
        Floor::Without => None,
        Floor::Threads(threads) => Some(FloorProcess::start(&["--threads", &threads.to_string()])?),
    };
    let mut progress = Progress::new();
    let (mut of_floor, mut of_server) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        if let Some(floor) = &floor {
            of_floor.push(measure(&settings.for_floor(floor), &mut progress)?);
        }
        of_server.push(measure(settings, &mut progress)?);
    }
    let mut failures = Failures::default();
    for measured in of_server.iter_mut().chain(&mut of_floor) {
        failures.merge(std::mem::take(&mut measured.failures));
    }
    let report = match floor {
        None => alone(settings, &Summary::of(&of_server), &failures),
        Some(_) => beside(
            settings,
            &Summary::of(&of_floor),
            &Summary::of(&of_server),
            &failures,
        ),
    };
    Ok((report, failures))
}

/// One round: connect, warm up, measure, leave.
fn measure(settings: &Settings, progress: &mut Progress) -> Result<Measured, Failure> {
    let hello = Arc::new(Hello::upgrade(&settings.target, &settings.fields));
    let sources = Sources::new(&settings.target, settings.sources, settings.connections);
    let opened = open_all(
        &settings.target,
        |_| Arc::clone(&hello),
        sources,
        settings.connections,
        progress,
    )?;
    let script = Arc::new(settings.script());
    let talks: Vec<_> = opened
        .connections
        .into_iter()
        .map(|open| Conversation::new(open, Arc::clone(&script), settings.in_flight))
        .collect();
    let (mut measured, _) = drive(
        talks,
        settings.threads,
        settings.window,
        settings.pid,
        progress,
    )?;
    measured.failures.merge(opened.failures);
    Ok(measured)
}

impl Settings {
    fn script(&self) -> Script {
        let message: Vec<u8> = (b'a'..=b'z').cycle().take(self.size).collect();
        let opcode = match self.kind {
            Kind::Text => TEXT,
            Kind::Binary => BINARY,
        };
        let answer = self.answer.as_ref().map_or(&message[..], String::as_bytes);
        Script::new(opcode, &message, answer, self.in_flight)
    }

    fn for_floor(&self, floor: &FloorProcess) -> Self {
        Self {
            target: floor.target().clone(),
            pid: self.pid.map(|_| floor.pid()),
            answer: None,
            fields: Vec::new(),
            ..self.clone()
        }
    }

    fn title(&self) -> String {
        format!(
            "echo {}: {} connections, {} in flight, {} bytes, {} round(s) of {} s",
            self.target.address,
            self.connections,
            self.in_flight,
            self.size,
            self.rounds,
            self.window.measured.as_secs_f64()
        )
    }
}

/// What the rounds showed, by round; latencies of all rounds together.
struct Summary {
    rates: Vec<f64>,
    server_us: Option<Vec<f64>>,
    generator_us: Vec<f64>,
    latency: Latency,
    answers: u64,
}

impl Summary {
    fn of(rounds: &[Measured]) -> Self {
        let mut latency = Latency::default();
        rounds
            .iter()
            .for_each(|round| latency.merge(&round.latency));
        let server_us = |round: &Measured| Some(round.per_answer_us(round.server_ns?));
        let generator_us = |round: &Measured| round.per_answer_us(round.generator_ns);
        Self {
            rates: rounds.iter().map(Measured::rate).collect(),
            server_us: rounds.iter().map(server_us).collect(),
            generator_us: rounds.iter().map(generator_us).collect(),
            latency,
            answers: rounds.iter().map(|round| round.answers).sum(),
        }
    }
}

fn alone(settings: &Settings, server: &Summary, failures: &Failures) -> Report {
    let mut report = begin(settings, server);
    report.add("messages", "messages", Figure::Count(server.answers));
    report.add(
        "messages_per_second",
        "messages/s",
        Figure::Rate(middle(&server.rates)),
    );
    if let Some(us) = &server.server_us {
        report.add("cpu_us_per_message", SERVER_CPU, Figure::Micros(middle(us)));
    }
    let generator = Figure::Micros(middle(&server.generator_us));
    report.add("generator_cpu_us_per_message", GENERATOR_CPU, generator);
    report.latency(&server.latency);
    report.failures(failures);
    report
}

fn beside(settings: &Settings, floor: &Summary, server: &Summary, failures: &Failures) -> Report {
    let mut report = begin(settings, server);
    report.json(
        "floor_messages_per_second_by_round",
        floor.rates.clone().into(),
    );
    report.json(
        "floor_cpu_us_per_message_by_round",
        floor.server_us.clone().into(),
    );
    report.note("", &["floor", "server", "server/floor"]);
    let mut row = |key, label, unit: fn(f64) -> Figure, floor: &[f64], server: &[f64]| {
        let ratio = middle_ratio(floor, server);
        report.compare(key, label, unit(middle(floor)), unit(middle(server)), ratio);
    };
    row(
        "messages_per_second",
        "messages/s",
        Figure::Rate,
        &floor.rates,
        &server.rates,
    );
    if let (Some(floor), Some(server)) = (&floor.server_us, &server.server_us) {
        row(
            "cpu_us_per_message",
            SERVER_CPU,
            Figure::Micros,
            floor,
            server,
        );
    }
    let (of_floor, of_server) = (&floor.generator_us, &server.generator_us);
    row(
        "generator_cpu_us_per_message",
        GENERATOR_CPU,
        Figure::Micros,
        of_floor,
        of_server,
    );
    for (floor, server) in quantiles(&floor.latency)
        .into_iter()
        .zip(quantiles(&server.latency))
    {
        let (key, label, us) = server;
        row(key, label, Figure::Micros, &[floor.2], &[us]);
    }
    report.failures(failures);
    report
}

fn begin(settings: &Settings, server: &Summary) -> Report {
    let mut report = Report::new("echo", settings.title());
    report.json("connections", settings.connections.into());
    report.json("in_flight", settings.in_flight.into());
    report.json("size", settings.size.into());
    report.json("rounds", settings.rounds.into());
    report.json("messages_per_second_by_round", server.rates.clone().into());
    report.json(
        "cpu_us_per_message_by_round",
        server.server_us.clone().into(),
    );
    report
}
