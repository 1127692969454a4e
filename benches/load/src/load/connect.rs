//! `bench connect`: comes and goes, as fast as asked; each connection a whole handshake.

use std::time::{Duration, Instant};

use slab::Slab;

use crate::client::idle::{Guest, Leave, Presence};
use crate::client::opening::{Hello, Opening};
use crate::client::target::{Sources, Target};
use crate::measure::cpu::{Scope, Usage};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, median};
use crate::wire::poll::Poll;

/// Pause between two looks for connections that wait too long.
const EXPIRE_EVERY: Duration = Duration::from_millis(250);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server.
    pub(crate) target: Target,
    /// Connections in all, each round.
    pub(crate) count: usize,
    /// Connections that are coming or going at the same time.
    pub(crate) in_flight: usize,
    /// New connections a second at most; `None` for as fast as it goes.
    pub(crate) rate: Option<f64>,
    /// No new connection is begun after this time, each round.
    pub(crate) time_max: Duration,
    /// How often to do it.
    pub(crate) rounds: usize,
    /// How to go.
    pub(crate) leave: Leave,
    /// Further fields of the handshake, each `Name: value`.
    pub(crate) fields: Vec<String>,
    /// The server's process.
    pub(crate) pid: Option<u32>,
    /// Local addresses; `None` for as many as needed.
    pub(crate) sources: Option<usize>,
}

/// Runs all rounds.
///
/// # Errors
///
/// Nobody listens, or the process can't be read. Failures of single connections are counted and
/// reported instead.
pub(crate) fn run(settings: &Settings) -> Result<(Report, Failures), Failure> {
    reserve_descriptors(settings.in_flight)?;
    let mut progress = Progress::new();
    let mut tallies = Vec::new();
    for round in 0..settings.rounds {
        tallies.push(Rush::new(settings, round)?.run(&mut progress)?);
    }
    let mut failures = Failures::default();
    for tally in &mut tallies {
        failures.merge(std::mem::take(&mut tally.failures));
    }
    Ok((report(settings, &tallies, &failures), failures))
}

fn report(settings: &Settings, tallies: &[Tally], failures: &Failures) -> Report {
    let mut latency = Latency::default();
    tallies
        .iter()
        .for_each(|tally| latency.merge(&tally.latency));
    let rates: Vec<f64> = tallies
        .iter()
        .map(|tally| tally.per_second(tally.latency.count()))
        .collect();
    let mut report = Report::new("connect", settings.title());
    report.add("handshakes", "handshakes", Figure::Count(latency.count()));
    report.add(
        "handshakes_per_second",
        "handshakes/s",
        Figure::Rate(median(rates.iter().copied())),
    );
    report.json("handshakes_per_second_by_round", rates.into());
    report.add(
        "left",
        "left as meant",
        Figure::Count(tallies.iter().map(|tally| tally.left).sum()),
    );
    let server_ns: Option<u64> = tallies.iter().map(|tally| tally.server_ns).sum();
    if let Some(ns) = server_ns.filter(|_| latency.count() > 0) {
        let us = Figure::Micros(ns as f64 / 1e3 / latency.count() as f64);
        report.add("cpu_us_per_connection", "CPU µs/connection, server", us);
    }
    report.latency(&latency);
    report.failures(failures);
    report
}

impl Settings {
    fn title(&self) -> String {
        let pace = self
            .rate
            .map_or("no pause".into(), |rate| format!("at most {rate}/s"));
        let leave = match self.leave {
            Leave::Clean => "clean",
            Leave::Abrupt => "abrupt",
        };
        let Self {
            target,
            count,
            in_flight,
            rounds,
            ..
        } = self;
        format!(
            "connect {}: {count} connections, {in_flight} at once, {pace}, {leave} close, {rounds} round(s)",
            target.address
        )
    }
}

/// What one round brought.
#[derive(Debug, Default)]
struct Tally {
    /// From the first step to the handshake's answer.
    latency: Latency,
    left: u64,
    seconds: f64,
    server_ns: Option<u64>,
    failures: Failures,
}

impl Tally {
    fn per_second(&self, count: u64) -> f64 {
        if self.seconds > 0.0 {
            count as f64 / self.seconds
        } else {
            0.0
        }
    }
}

/// One connection's whole life.
#[derive(Debug)]
enum Visit {
    Coming(Opening),
    Going(Guest),
    Gone,
}

impl Visit {
    /// Goes as far as the socket allows.
    fn go_on(&mut self, means: &mut Means) -> Result<Presence, Failure> {
        match self {
            Self::Coming(opening) => match opening.advance(&means.hello)? {
                true => self.turn_round(means),
                false => Ok(Presence::Here),
            },
            Self::Going(guest) => guest.ready(&mut means.bytes),
            Self::Gone => Ok(Presence::Gone),
        }
    }

    /// The connection is open: leaves at once.
    fn turn_round(&mut self, means: &mut Means) -> Result<Presence, Failure> {
        let Self::Coming(opening) = std::mem::replace(self, Self::Gone) else {
            return Ok(Presence::Gone);
        };
        let Some(open) = opening.into_open() else {
            return Ok(Presence::Gone);
        };
        means.latency.record_one(open.took);
        let mut guest = Guest::new(open.socket, &open.rest);
        guest.hear()?;
        let presence = guest.leave(means.leave)?;
        *self = Self::Going(guest);
        Ok(presence)
    }

    /// What it waits for since too long.
    fn overdue(&self, now: Instant) -> Option<Failure> {
        match self {
            Self::Coming(opening) => opening.is_late(now).then(|| opening.timeout()),
            Self::Going(guest) => guest.is_late(now).then_some(Failure::Timeout("closing")),
            Self::Gone => None,
        }
    }
}

/// What all visits of a round share.
struct Means {
    hello: Hello,
    leave: Leave,
    bytes: Vec<u8>,
    latency: Latency,
}

/// One round.
struct Rush<'a> {
    settings: &'a Settings,
    means: Means,
    sources: Sources,
    poll: Poll,
    visits: Slab<Visit>,
    begun: usize,
    /// Connections of the rounds before, so that source addresses go on in turn.
    before: usize,
    expired: Instant,
    tally: Tally,
}

impl<'a> Rush<'a> {
    fn new(settings: &'a Settings, round: usize) -> Result<Self, Failure> {
        let in_all = settings.count * settings.rounds;
        Ok(Self {
            settings,
            means: Means {
                hello: Hello::upgrade(&settings.target, &settings.fields),
                leave: settings.leave,
                bytes: vec![0; 4096],
                latency: Latency::default(),
            },
            sources: Sources::new(&settings.target, settings.sources, in_all),
            poll: Poll::new()?,
            visits: Slab::with_capacity(settings.in_flight),
            begun: 0,
            before: round * settings.count,
            expired: Instant::now(),
            tally: Tally::default(),
        })
    }

    fn run(mut self, progress: &mut Progress) -> Result<Tally, Failure> {
        let cpu = |pid| Usage::sample(pid, Scope::Tree);
        let cpu_begin = self.settings.pid.map(cpu).transpose()?;
        let started = Instant::now();
        let pause = Duration::from_millis(if self.settings.rate.is_some() { 1 } else { 100 });
        loop {
            let elapsed = started.elapsed();
            let due = self.due(elapsed);
            while self.begun < due && self.visits.len() < self.settings.in_flight {
                self.begin()?;
            }
            if self.visits.is_empty()
                && (self.begun >= self.settings.count || self.is_over(elapsed))
            {
                break;
            }
            for index in 0..self.poll.wait(pause)? {
                let key = self.poll.ready(index).key;
                self.go_on(key)?;
            }
            let now = Instant::now();
            if now > self.expired + EXPIRE_EVERY {
                self.expire(now);
            }
            progress.tick(|| {
                format!(
                    "connect: {} of {}",
                    self.means.latency.count(),
                    self.settings.count
                )
            });
        }
        self.tally.latency = self.means.latency;
        self.tally.seconds = started.elapsed().as_secs_f64();
        if let (Some(pid), Some(begin)) = (self.settings.pid, cpu_begin) {
            self.tally.server_ns = Some(cpu(pid)?.since(&begin));
        }
        Ok(self.tally)
    }

    fn is_over(&self, elapsed: Duration) -> bool {
        elapsed >= self.settings.time_max
    }

    /// How many connections may have been begun by now.
    fn due(&self, elapsed: Duration) -> usize {
        match self.settings.rate {
            _ if self.is_over(elapsed) => self.begun,
            Some(rate) => self
                .settings
                .count
                .min((rate * elapsed.as_secs_f64()) as usize + 1),
            None => self.settings.count,
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let source = self.sources.source_of(self.before + self.begun);
        self.begun += 1;
        match Opening::start(self.settings.target.address, source, self.begun) {
            Ok(opening) => {
                let place = self.visits.vacant_entry();
                self.poll.add(opening.socket(), place.key())?;
                place.insert(Visit::Coming(opening));
                Ok(())
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn go_on(&mut self, key: usize) -> Result<(), Failure> {
        let Some(visit) = self.visits.get_mut(key) else {
            return Ok(());
        };
        match visit.go_on(&mut self.means) {
            Ok(Presence::Here) => Ok(()),
            Ok(Presence::Gone) => {
                self.visits.remove(key);
                self.tally.left += 1;
                Ok(())
            }
            Err(failure) => {
                self.visits.remove(key);
                self.failed(failure)
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        self.expired = now;
        self.visits.retain(|_, visit| match visit.overdue(now) {
            Some(failure) => {
                self.tally.failures.add(&failure);
                false
            }
            None => true,
        });
    }

    /// Nobody there at the very first attempt ends the run; later it is a figure.
    fn failed(&mut self, failure: Failure) -> Result<(), Failure> {
        if failure.is_final() && self.means.latency.count() == 0 {
            return Err(failure);
        }
        self.tally.failures.add(&failure);
        Ok(())
    }
}
