//! `bench fanout`: what a few say, many hear; who missed what, how long it took, what it cost.
//!
//! With a floor, `raw --fanout` runs as a child of this process and is measured in turns with the
//! server; always by WebSocket, since the floor speaks nothing else.

use crate::client::dialect::{By, Shape};
use crate::floor::process::{FloorProcess, middle, middle_ratio};
use crate::load::delivery_audit::Faults;
use crate::load::room::{Floor, Pace, Round, Settings, measure};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, quantiles};

/// Runs all rounds.
///
/// # Errors
///
/// Nothing could be measured: nobody came in, the floor didn't start, the process can't be read.
/// Failures of single connections, and messages that went astray, are counted instead.
pub(crate) fn run(settings: &Settings) -> Result<(Report, Failures), Failure> {
    reserve_descriptors(settings.members + settings.streams())?;
    let floor = match settings.floor {
        Floor::Without => None,
        Floor::InTurns => Some(FloorProcess::start(&["--fanout"])?),
    };
    let mut progress = Progress::new();
    let (mut of_floor, mut of_server) = (Vec::new(), Vec::new());
    for round in 0..settings.rounds {
        if let Some(floor) = &floor {
            of_floor.push(measure(&settings.for_floor(floor), round, &mut progress)?);
        }
        of_server.push(measure(settings, round, &mut progress)?);
    }
    let mut failures = Failures::default();
    for round in of_server.iter_mut().chain(&mut of_floor) {
        failures.merge(std::mem::take(&mut round.failures));
    }
    let server = Summary::of(&of_server);
    let mut report = begin(settings, &server);
    match floor {
        None => alone(&mut report, &server),
        Some(_) => beside(&mut report, &Summary::of(&of_floor), &server),
    }
    report.failures(&failures);
    Ok((report, failures))
}

impl Settings {
    fn for_floor(&self, floor: &FloorProcess) -> Self {
        Self {
            target: floor.target().clone(),
            shape: Shape::raw(),
            fields: Vec::new(),
            pid: self.pid.map(|_| floor.pid()),
            ..self.clone()
        }
    }

    fn title(&self) -> String {
        let Self {
            target,
            members,
            publishers,
            size,
            rounds,
            ..
        } = self;
        let by = by_name(self.shape.publish.by());
        let pace = match self.pace {
            Pace::Window(count) => format!("{count} in flight"),
            Pace::Rate(rate) => format!("{rate}/s"),
        };
        let seconds = self.window.measured.as_secs_f64();
        format!(
            "fanout {}: {members} members, {publishers} publisher(s) by {by}, {pace}, {size} bytes, {rounds} round(s) of {seconds} s",
            target.address
        )
    }
}

/// The name of a way to publish.
pub(crate) fn by_name(by: By) -> &'static str {
    match by {
        By::WebSocket => "websocket",
        By::Http => "http",
    }
}

/// What the rounds showed, by round; latencies and faults of all rounds together.
#[derive(Default)]
struct Summary {
    rates: Vec<f64>,
    publish_rates: Vec<f64>,
    server_us: Option<Vec<f64>>,
    generator_us: Vec<f64>,
    busy: Vec<f64>,
    each: Latency,
    last: Latency,
    acks: Latency,
    deliveries: u64,
    publishes: u64,
    faults: Faults,
}

impl Summary {
    fn of(rounds: &[Round]) -> Self {
        let a_second = |count: u64, round: &Round| count as f64 / round.seconds.max(1e-9);
        let us = |ns: u64, round: &Round| ns as f64 / 1e3 / round.tally.deliveries.max(1) as f64;
        let server_us = |round: &Round| Some(us(round.server_ns?, round));
        let mut summary = Self {
            server_us: rounds.iter().map(server_us).collect(),
            ..Self::default()
        };
        for round in rounds {
            let tally = &round.tally;
            summary.rates.push(a_second(tally.deliveries, round));
            summary.publish_rates.push(a_second(tally.publishes, round));
            summary.generator_us.push(us(round.generator_ns, round));
            summary.busy.push(a_second(round.generator_ns, round) / 1e7);
            summary.each.merge(&tally.each);
            summary.last.merge(&tally.last);
            summary.acks.merge(&tally.acks);
            summary.deliveries += tally.deliveries;
            summary.publishes += tally.publishes;
            summary.faults.add(round.faults);
        }
        summary
    }
}

fn begin(settings: &Settings, server: &Summary) -> Report {
    let mut report = Report::new("fanout", settings.title());
    report.json("members", settings.members.into());
    report.json("publishers", settings.publishers.into());
    report.json("by", by_name(settings.shape.publish.by()).into());
    match settings.pace {
        Pace::Window(count) => report.json("in_flight", count.into()),
        Pace::Rate(rate) => report.json("rate", rate.into()),
    }
    report.json("size", settings.size.into());
    report.json("rounds", settings.rounds.into());
    report.json(
        "deliveries_per_second_by_round",
        server.rates.clone().into(),
    );
    report.json(
        "cpu_us_per_delivery_by_round",
        server.server_us.clone().into(),
    );
    report.add(
        "publishes",
        "messages published",
        Figure::Count(server.publishes),
    );
    report.add("deliveries", "deliveries", Figure::Count(server.deliveries));
    let Faults {
        lost,
        repeated,
        misordered,
        stray,
    } = server.faults;
    for (name, count) in [
        ("lost", lost),
        ("repeated", repeated),
        ("misordered", misordered),
        ("stray", stray),
    ] {
        report.add(name, name, Figure::Count(count));
    }
    report
}

/// One figure of all rounds; without any when it was not measured.
struct Row {
    key: String,
    label: String,
    unit: fn(f64) -> Figure,
    by_round: Vec<f64>,
}

impl Summary {
    fn rows(&self) -> Vec<Row> {
        let server_us = self.server_us.as_deref().unwrap_or_default();
        let mut rows: Vec<Row> = [
            (
                "publishes_per_second",
                "messages/s",
                Figure::Rate as fn(f64) -> Figure,
                &self.publish_rates[..],
            ),
            (
                "deliveries_per_second",
                "deliveries/s",
                Figure::Rate,
                &self.rates,
            ),
            (
                "cpu_us_per_delivery",
                "CPU µs/delivery, server",
                Figure::Micros,
                server_us,
            ),
            (
                "generator_cpu_us_per_delivery",
                "CPU µs/delivery, generator",
                Figure::Micros,
                &self.generator_us,
            ),
            (
                "generator_busy_percent",
                "generator busy",
                Figure::Percent,
                &self.busy,
            ),
        ]
        .into_iter()
        .map(|(key, label, unit, by_round)| Row {
            key: key.into(),
            label: label.into(),
            unit,
            by_round: by_round.into(),
        })
        .collect();
        for (prefix, name, latency) in [
            ("", "each member", &self.each),
            ("last_", "last member", &self.last),
            ("ack_", "acknowledged", &self.acks),
        ] {
            let measured = usize::from(latency.count() > 0);
            rows.extend(quantiles(latency).map(|(key, label, us)| Row {
                key: format!("{prefix}{key}"),
                label: format!("{name}, {label}"),
                unit: Figure::Micros,
                by_round: vec![us; measured],
            }));
        }
        rows
    }
}

fn alone(report: &mut Report, server: &Summary) {
    for row in server.rows() {
        if !row.by_round.is_empty() {
            report.add(&row.key, &row.label, (row.unit)(middle(&row.by_round)));
        }
    }
}

fn beside(report: &mut Report, floor: &Summary, server: &Summary) {
    report.json(
        "floor_deliveries_per_second_by_round",
        floor.rates.clone().into(),
    );
    report.json(
        "floor_cpu_us_per_delivery_by_round",
        floor.server_us.clone().into(),
    );
    report.note("", &["floor", "server", "server/floor"]);
    for (floor, server) in floor.rows().iter().zip(server.rows()) {
        if server.by_round.is_empty() {
            continue;
        }
        let figure = (server.unit)(middle(&server.by_round));
        if floor.by_round.is_empty() {
            report.json(&server.key, figure.json());
            report.note(&server.label, &["", &figure.shown()]);
            continue;
        }
        let ratio = middle_ratio(&floor.by_round, &server.by_round);
        let of_floor = (server.unit)(middle(&floor.by_round));
        report.compare(&server.key, &server.label, of_floor, figure, ratio);
    }
}
