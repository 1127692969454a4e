//! `bench connect`: comes and goes, as fast as asked; each connection a whole handshake.

use std::time::{Duration, Instant};

use clap::Args;
use slab::Slab;

use crate::client::idle::{IdleClient, Leave, Presence};
use crate::client::opening::{Handshake, Opening};
use crate::client::server::Server;
use crate::client::source_addresses::SourceAddresses;
use crate::client::target::Scheme;
use crate::flags::{ServerFlags, connections, rate, seconds};
use crate::measure::cpu::{Scope, Usage};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, median};
use crate::wire::poll::Poll;
use crate::wire::read::ReadBuffer;

/// Bytes that are read at once; a server that echoes has little to say to who leaves.
const READ_SIZE: usize = 4096;

/// Pause between two looks for connections that wait too long.
const EXPIRE_EVERY: Duration = Duration::from_millis(250);

/// Connections that come and go as fast as asked: handshakes a second, latency.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// Connections in all, each round.
    #[arg(long, default_value_t = 10_000, value_parser = connections)]
    count: usize,
    /// Connections that are coming or going at the same time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// New connections a second at most [default: as fast as it goes].
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Begins no new connection after this time, in seconds, each round.
    #[arg(long, default_value = "60", value_parser = seconds)]
    seconds: Duration,
    /// How often to do all of it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// Leaves by a reset, without a Close frame.
    #[arg(long)]
    abrupt: bool,
}

impl Connect {
    /// Runs all rounds.
    ///
    /// # Errors
    ///
    /// The flags can't be used, nobody listens, or the process can't be read. Failures of single
    /// connections are counted and reported instead.
    pub(crate) fn run(&self) -> anyhow::Result<(Report, Failures)> {
        let server = self.server.server(Scheme::WebSocket)?;
        reserve_descriptors(self.in_flight as usize)?;
        let mut progress = Progress::new();
        let mut tallies = Vec::new();
        for round in 0..self.rounds.into() {
            tallies.push(ConnectRound::new(self, &server, round)?.run(&mut progress)?);
        }
        let mut failures = Failures::default();
        for tally in &mut tallies {
            failures.merge(std::mem::take(&mut tally.failures));
        }
        let report = report(self.title(&server), &tallies, &failures);
        Ok((report, failures))
    }

    fn title(&self, server: &Server) -> String {
        let pace = self
            .rate
            .map_or("no pause".into(), |rate| format!("at most {rate}/s"));
        let leave = match self.abrupt {
            false => "clean",
            true => "abrupt",
        };
        format!(
            "connect {}: {} connections, {} at once, {pace}, {leave} close, {} round(s)",
            server.target.address, self.count, self.in_flight, self.rounds
        )
    }
}

fn report(title: String, tallies: &[ConnectTally], failures: &Failures) -> Report {
    let mut latency = Latency::default();
    tallies
        .iter()
        .for_each(|tally| latency.merge(&tally.latency));
    let rates: Vec<f64> = tallies
        .iter()
        .map(|tally| tally.per_second(tally.latency.count()))
        .collect();
    let mut report = Report::new("connect", title);
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

/// What one round brought.
#[derive(Debug, Default)]
struct ConnectTally {
    /// From the first step to the handshake's answer.
    latency: Latency,
    left: u64,
    seconds: f64,
    server_ns: Option<u64>,
    failures: Failures,
}

impl ConnectTally {
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
    Going(IdleClient),
    Gone,
}

impl Visit {
    /// Goes as far as the socket allows.
    fn advance(&mut self, context: &mut VisitContext) -> Result<Presence, Failure> {
        match self {
            Self::Coming(opening) => match opening.advance(&context.handshake)? {
                true => self.leave(context),
                false => Ok(Presence::Here),
            },
            Self::Going(client) => client.ready(&mut context.buffer),
            Self::Gone => Ok(Presence::Gone),
        }
    }

    /// The connection is open: leaves at once.
    fn leave(&mut self, context: &mut VisitContext) -> Result<Presence, Failure> {
        let Self::Coming(opening) = std::mem::replace(self, Self::Gone) else {
            return Ok(Presence::Gone);
        };
        let Some(open) = opening.into_open() else {
            return Ok(Presence::Gone);
        };
        context.latency.record_one(open.took);
        let mut client = IdleClient::new(open.socket, &open.rest);
        client.begin()?;
        let presence = client.leave(context.leave)?;
        *self = Self::Going(client);
        Ok(presence)
    }

    /// What it waits for since too long.
    fn overdue(&self, now: Instant) -> Option<Failure> {
        match self {
            Self::Coming(opening) => opening.is_late(now).then(|| opening.timeout()),
            Self::Going(client) => client.is_late(now).then_some(Failure::Timeout("closing")),
            Self::Gone => None,
        }
    }
}

/// What all visits of a round share.
struct VisitContext {
    handshake: Handshake,
    leave: Leave,
    buffer: ReadBuffer,
    latency: Latency,
}

/// One round.
struct ConnectRound<'a> {
    flags: &'a Connect,
    server: &'a Server,
    context: VisitContext,
    sources: SourceAddresses,
    poll: Poll,
    visits: Slab<Visit>,
    begun: usize,
    /// Connections of the rounds before, so that source addresses go on in turn.
    before: usize,
    expired: Instant,
    tally: ConnectTally,
}

impl<'a> ConnectRound<'a> {
    fn new(flags: &'a Connect, server: &'a Server, round: usize) -> Result<Self, Failure> {
        let in_all = flags.count * usize::from(flags.rounds);
        Ok(Self {
            flags,
            server,
            context: VisitContext {
                handshake: server.handshake(&server.target.path),
                leave: Leave::new(flags.abrupt),
                buffer: ReadBuffer::new(READ_SIZE),
                latency: Latency::default(),
            },
            sources: server.sources(in_all),
            poll: Poll::new()?,
            visits: Slab::with_capacity(flags.in_flight as usize),
            begun: 0,
            before: round * flags.count,
            expired: Instant::now(),
            tally: ConnectTally::default(),
        })
    }

    fn run(mut self, progress: &mut Progress) -> Result<ConnectTally, Failure> {
        let cpu = |pid| Usage::sample(pid, Scope::Tree);
        let cpu_begin = self.server.pid.map(cpu).transpose()?;
        let started = Instant::now();
        let pause = Duration::from_millis(if self.flags.rate.is_some() { 1 } else { 100 });
        loop {
            let elapsed = started.elapsed();
            let due = self.due(elapsed);
            while self.begun < due && self.visits.len() < self.flags.in_flight as usize {
                self.begin()?;
            }
            if self.visits.is_empty() && (self.begun >= self.flags.count || self.is_over(elapsed)) {
                break;
            }
            for index in 0..self.poll.wait(pause)? {
                let ready = self.poll.ready(index);
                self.context.buffer.hung_up = ready.hung_up;
                self.advance(ready.key)?;
            }
            let now = Instant::now();
            if now > self.expired + EXPIRE_EVERY {
                self.expire(now);
            }
            progress.tick(|| {
                format!(
                    "connect: {} of {}",
                    self.context.latency.count(),
                    self.flags.count
                )
            });
        }
        self.tally.latency = self.context.latency;
        self.tally.seconds = started.elapsed().as_secs_f64();
        if let (Some(pid), Some(begin)) = (self.server.pid, cpu_begin) {
            self.tally.server_ns = Some(cpu(pid)?.since(&begin));
        }
        Ok(self.tally)
    }

    fn is_over(&self, elapsed: Duration) -> bool {
        elapsed >= self.flags.seconds
    }

    /// How many connections may have been begun by now.
    fn due(&self, elapsed: Duration) -> usize {
        match self.flags.rate {
            _ if self.is_over(elapsed) => self.begun,
            Some(rate) => self
                .flags
                .count
                .min((rate * elapsed.as_secs_f64()) as usize + 1),
            None => self.flags.count,
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let source = self.sources.source_of(self.before + self.begun);
        self.begun += 1;
        match Opening::start(&self.server.target.place(), source, self.begun) {
            Ok(opening) => {
                let place = self.visits.vacant_entry();
                self.poll.add(opening.socket(), place.key())?;
                place.insert(Visit::Coming(opening));
                Ok(())
            }
            Err(failure) => self.failed(failure),
        }
    }

    fn advance(&mut self, key: usize) -> Result<(), Failure> {
        let Some(visit) = self.visits.get_mut(key) else {
            return Ok(());
        };
        match visit.advance(&mut self.context) {
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
        if failure.is_final() && self.context.latency.count() == 0 {
            return Err(failure);
        }
        self.tally.failures.add(&failure);
        Ok(())
    }
}
