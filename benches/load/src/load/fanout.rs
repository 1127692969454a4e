//! `bench fanout`: a few publish, many receive; what went astray, how long it took, what it cost.
//!
//! With a floor, `raw --fanout` runs as a child of this process and is measured in turns with the
//! server; always by WebSocket, since the floor speaks nothing else.

use clap::Args;

use crate::client::dialect::Dialect;
use crate::client::server::Server;
use crate::client::target::Scheme;
use crate::flags::ServerFlags;
use crate::floor::process::{FloorProcess, Side, in_turns};
use crate::load::delivery_audit::Faults;
use crate::load::fanout_round::FanoutRound;
use crate::load::room::measure;
use crate::load::room_flags::{Pace, RoomFlags};
use crate::measure::failure::{Failures, reserve_descriptors};
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report};
use crate::measure::row::{Row, add_alone, add_beside};

/// A room in which a few publish and all others hear: latency, order, CPU time a delivery.
#[derive(Debug, Args)]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    #[command(flatten)]
    room: RoomFlags,
    /// Measures `bench raw --fanout` in turns with the server, and reports both and the ratio.
    #[arg(long)]
    floor: bool,
}

impl Fanout {
    /// Runs all rounds.
    ///
    /// # Errors
    ///
    /// The flags can't be used, or nothing could be measured: nobody came in, the floor didn't
    /// start, the process can't be read. Failures of single connections, and messages that went
    /// astray, are counted instead.
    pub(crate) fn run(&self) -> anyhow::Result<(Report, Failures)> {
        let room = &self.room;
        let server = self.server.server(Scheme::WebSocket)?;
        let (dialect, raw) = (room.dialect(&server)?, Dialect::raw());
        reserve_descriptors(
            usize::from(room.talkers.beside)
                + room.members
                + room.streams(dialect.publish.transport()),
        )?;
        let start = || FloorProcess::start(&["--fanout"]);
        let floor = self.floor.then(start).transpose()?;
        let mut progress = Progress::new();
        let mut rounds = in_turns(
            room.rounds.into(),
            floor.as_ref(),
            &server,
            |server, side, round| {
                let (dialect, talkers) = match side {
                    // The floor echoes nothing.
                    Side::Floor => (&raw, (Vec::new(), Failures::default())),
                    Side::Server => (&dialect, room.talkers.open(server, &mut progress)?),
                };
                let (talkers, failed) = talkers;
                let mut round = measure(room, server, dialect, round, talkers, &mut progress)?;
                round.failures.merge(failed);
                Ok(round)
            },
        )?;
        let mut failures = Failures::default();
        for round in rounds.iter_mut() {
            failures.merge(std::mem::take(&mut round.failures));
        }
        let mut report = self.begin(&server, &dialect);
        add_by_round(&mut report, "", &rounds.server);
        add_counts(&mut report, &rounds.server);
        if floor.is_none() {
            add_alone(&mut report, &rows(&rounds.server));
        } else {
            add_by_round(&mut report, "floor_", &rounds.floor);
            add_beside(&mut report, &rows(&rounds.floor), &rows(&rounds.server));
        }
        report.failures(&failures);
        Ok((report, failures))
    }

    fn begin(&self, server: &Server, dialect: &Dialect) -> Report {
        let room = &self.room;
        let by = dialect.publish.transport().name();
        let pace = match room.pace() {
            Pace::Window(count) => format!("{count} in flight"),
            Pace::Rate(rate) => format!("{rate}/s"),
        };
        let title = format!(
            "fanout {}: {} members, {} publisher(s) by {by}, {pace}, {} bytes, {} round(s) of {} s",
            server.target.address,
            room.members,
            room.publishers,
            room.size,
            room.rounds,
            room.seconds.as_secs_f64()
        );
        let mut report = Report::new("fanout", title);
        report.json("members", room.members.into());
        report.json("publishers", room.publishers.into());
        report.json("by", by.into());
        match room.pace() {
            Pace::Window(count) => report.json("in_flight", count.into()),
            Pace::Rate(rate) => report.json("rate", rate.into()),
        }
        report.json("size", room.size.into());
        report.json("rounds", room.rounds.into());
        report
    }
}

fn add_by_round(report: &mut Report, prefix: &str, rounds: &[FanoutRound]) {
    let rates = by_round(rounds, |round| round.a_second(round.tally.deliveries));
    report.json(
        &format!("{prefix}deliveries_per_second_by_round"),
        rates.into(),
    );
    report.json(
        &format!("{prefix}cpu_us_per_delivery_by_round"),
        server_us(rounds).into(),
    );
}

/// Adds the messages and deliveries of all rounds, and what went astray.
fn add_counts(report: &mut Report, rounds: &[FanoutRound]) {
    let publishes = rounds.iter().map(|round| round.tally.publishes).sum();
    report.add("publishes", "messages published", Figure::Count(publishes));
    let deliveries = rounds.iter().map(|round| round.tally.deliveries).sum();
    report.add("deliveries", "deliveries", Figure::Count(deliveries));
    let mut faults = Faults::default();
    for round in rounds {
        faults.add(round.faults);
    }
    for (name, count) in [
        ("lost", faults.lost),
        ("repeated", faults.repeated),
        ("misordered", faults.misordered),
        ("stray", faults.stray),
    ] {
        report.add(name, name, Figure::Count(count));
    }
}

fn by_round(rounds: &[FanoutRound], figure: impl Fn(&FanoutRound) -> f64) -> Vec<f64> {
    rounds.iter().map(figure).collect()
}

/// The server's CPU time for a delivery, by round; `None` when its process is not known.
fn server_us(rounds: &[FanoutRound]) -> Option<Vec<f64>> {
    let us = |round: &FanoutRound| Some(round.per_delivery_us(round.server_ns?));
    rounds.iter().map(us).collect()
}

fn rows(rounds: &[FanoutRound]) -> Vec<Row> {
    let publishes = by_round(rounds, |round| round.a_second(round.tally.publishes));
    let deliveries = by_round(rounds, |round| round.a_second(round.tally.deliveries));
    let server = server_us(rounds).unwrap_or_default();
    let generator = by_round(rounds, |round| round.per_delivery_us(round.generator_ns));
    let busy = by_round(rounds, |round| round.a_second(round.generator_ns) / 1e7);
    let (rate, us) = (
        Figure::Rate as fn(f64) -> Figure,
        Figure::Micros as fn(f64) -> Figure,
    );
    let mut rows: Vec<Row> = [
        ("publishes_per_second", "messages/s", rate, publishes),
        ("deliveries_per_second", "deliveries/s", rate, deliveries),
        ("cpu_us_per_delivery", "CPU µs/delivery, server", us, server),
        (
            "generator_cpu_us_per_delivery",
            "CPU µs/delivery, generator",
            us,
            generator,
        ),
        (
            "generator_busy_percent",
            "generator busy",
            Figure::Percent,
            busy,
        ),
    ]
    .into_iter()
    .map(|(key, label, unit, by_round)| Row::new(key, label, unit, &by_round))
    .collect();
    let (mut each, mut last, mut acks) = <(Latency, Latency, Latency)>::default();
    let mut beside = Latency::default();
    for round in rounds {
        let tally = &round.tally;
        each.merge(&tally.each);
        last.merge(&tally.last);
        acks.merge(&tally.acks);
        beside.merge(&round.beside);
    }
    for (prefix, name, latency) in [
        ("", "each member, ", &each),
        ("last_", "last member, ", &last),
        ("ack_", "acknowledged, ", &acks),
        ("beside_", "small talk beside, ", &beside),
    ] {
        if latency.count() > 0 {
            rows.extend(Row::quantiles(prefix, name, latency));
        }
    }
    rows
}
