//! `bench idle`: many connections that do nothing, and what they cost the server all the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use crate::client::idle::{IdleClient, LEAVING_MAX, Leave, Presence};
use crate::client::opener::{Opened, open_all};
use crate::client::server::Server;
use crate::client::target::Scheme;
use crate::client::template::{Blanks, Template};
use crate::flags::{ServerFlags, connections, seconds};
use crate::measure::cpu::{Scope, Usage};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::memory::Memory;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, grouped};
use crate::wire::poll::Poll;
use crate::wire::read::ReadBuffer;

/// Bytes that are read at once; what comes to who does nothing is pings.
const READ_SIZE: usize = 64 << 10;

/// Connections that do nothing: memory a connection, CPU time all the same. {member} in the URL
/// is each one's number, so that they can log in: ws://…/ws?uid=u{member}&room=r{member}.
#[derive(Debug, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// Connections at the same time.
    #[arg(long, default_value_t = 10_000, value_parser = connections)]
    connections: usize,
    /// How long they stay, in seconds, each round.
    #[arg(long, default_value = "30", value_parser = seconds)]
    seconds: Duration,
    /// Pause before the stay and after leaving, in seconds, so that the server comes to rest.
    #[arg(long, default_value = "1", value_parser = seconds)]
    settle: Duration,
    /// How often they come and go; memory is shown after each round.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    rounds: u8,
    /// They leave by a reset, without a Close frame.
    #[arg(long)]
    abrupt: bool,
}

impl Idle {
    /// Runs all rounds.
    ///
    /// # Errors
    ///
    /// The flags can't be used, no connection came about, or the process can't be read. Failures of
    /// single connections are counted and reported instead.
    pub(crate) fn run(&self) -> anyhow::Result<(Report, Failures)> {
        let server = self.server.server(Scheme::WebSocket)?;
        reserve_descriptors(self.connections)?;
        let mut progress = Progress::new();
        let mut failures = Failures::default();
        let mut rounds = Vec::new();
        let before = memory(&server)?;
        for round in 0..self.rounds.into() {
            rounds.push(self.stay(&server, round, &mut failures, &mut progress)?);
        }
        let title = format!(
            "idle {}: {} connections for {} s, {} round(s)",
            server.target.address,
            grouped(self.connections as f64, 0),
            self.seconds.as_secs_f64(),
            self.rounds
        );
        Ok((report(title, before, &rounds, &failures), failures))
    }

    /// One round: come, stay, go.
    fn stay(
        &self,
        server: &Server,
        round: usize,
        failures: &mut Failures,
        progress: &mut Progress,
    ) -> Result<IdleRound, Failure> {
        let empty = memory(server)?;
        let opened = self.open(server, round, progress)?;
        failures.merge(opened.failures);
        let mut clients = IdleClients::new(round)?;
        let count = opened.connections.len();
        for open in opened.connections {
            clients.add(IdleClient::new(open.socket, &open.rest), failures)?;
        }
        clients.wait(self.settle, Phase::Settling, failures, progress)?;
        let (cpu, since) = (usage(server)?, Instant::now());
        clients.wait(self.seconds, Phase::Staying, failures, progress)?;
        let (cpu_end, stayed) = (usage(server)?, since.elapsed());
        let (alive, full) = (clients.alive, memory(server)?);
        clients.leave(Leave::new(self.abrupt), failures);
        clients.wait(LEAVING_MAX, Phase::Leaving, failures, progress)?;
        clients.close_late(failures);
        std::thread::sleep(self.settle);
        let used = cpu
            .zip(cpu_end)
            .map(|(begin, end)| end.since(&begin) as f64);
        Ok(IdleRound {
            opened: count,
            alive,
            pings: clients.pings,
            empty,
            full,
            left: memory(server)?,
            cpu_percent: used.map(|ns| ns / stayed.as_nanos().max(1) as f64 * 100.0),
            opening: opened.took,
        })
    }

    fn open(
        &self,
        server: &Server,
        round: usize,
        progress: &mut Progress,
    ) -> Result<Opened, Failure> {
        let path = Template::new(&server.target.path);
        let handshake_of = |number: usize| {
            let blanks = Blanks {
                member: number as u64,
                round: round as u64,
                ..Blanks::default()
            };
            Arc::new(server.handshake(&path.filled(&blanks)))
        };
        let sources = server.sources(self.connections * usize::from(self.rounds));
        open_all(
            &server.target,
            handshake_of,
            sources,
            self.connections,
            progress,
        )
    }
}

fn memory(server: &Server) -> Result<Option<Memory>, Failure> {
    Ok(server.pid.map(Memory::of_tree).transpose()?)
}

fn usage(server: &Server) -> Result<Option<Usage>, Failure> {
    let sample = |pid| Usage::sample(pid, Scope::Tree);
    Ok(server.pid.map(sample).transpose()?)
}

/// What one round showed.
#[derive(Debug)]
struct IdleRound {
    opened: usize,
    alive: usize,
    pings: u64,
    /// Before the first connection of this round.
    empty: Option<Memory>,
    /// At the end of the stay.
    full: Option<Memory>,
    /// After all have left.
    left: Option<Memory>,
    /// The server's CPU time during the stay, in percent of one core.
    cpu_percent: Option<f64>,
    opening: Duration,
}

impl IdleRound {
    /// Bytes of PSS that a connection added.
    fn pss_per_connection(&self) -> Option<f64> {
        let added = self.full?.pss as f64 - self.empty?.pss as f64;
        (self.alive > 0).then(|| added / self.alive as f64)
    }
}

/// All clients, and how many are left.
struct IdleClients {
    round: usize,
    poll: Poll,
    clients: Vec<Option<IdleClient>>,
    alive: usize,
    pings: u64,
    buffer: ReadBuffer,
}

/// What a round is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Settling,
    Staying,
    /// Over as soon as nobody is left.
    Leaving,
}

impl IdleClients {
    fn new(round: usize) -> Result<Self, Failure> {
        Ok(Self {
            round,
            poll: Poll::new()?,
            clients: Vec::new(),
            alive: 0,
            pings: 0,
            buffer: ReadBuffer::new(READ_SIZE),
        })
    }

    fn add(&mut self, mut client: IdleClient, failures: &mut Failures) -> Result<(), Failure> {
        self.poll.add(client.socket(), self.clients.len())?;
        let begun = client.begin();
        self.pings += client.pings();
        match begun {
            Ok(()) => {
                self.clients.push(Some(client));
                self.alive += 1;
            }
            Err(failure) => failures.add(&failure),
        }
        Ok(())
    }

    /// Answers pings for a time.
    fn wait(
        &mut self,
        time: Duration,
        phase: Phase,
        failures: &mut Failures,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || (phase == Phase::Leaving && self.alive == 0) {
                return Ok(());
            }
            for index in 0..self.poll.wait(left.min(Duration::from_millis(200)))? {
                let ready = self.poll.ready(index);
                self.buffer.hung_up = ready.hung_up;
                self.ready(ready.key, failures);
            }
            progress.tick(|| {
                let phase = match phase {
                    Phase::Settling => "settling",
                    Phase::Staying => "staying",
                    Phase::Leaving => "leaving",
                };
                format!(
                    "idle, round {}: {phase}, {} alive, {} pings",
                    self.round + 1,
                    self.alive,
                    self.pings
                )
            });
        }
    }

    fn ready(&mut self, key: usize, failures: &mut Failures) {
        let Some(client) = self.clients.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        let pings = client.pings();
        let presence = client.ready(&mut self.buffer);
        self.pings += client.pings() - pings;
        self.settle(key, presence, failures);
    }

    fn leave(&mut self, leave: Leave, failures: &mut Failures) {
        for key in 0..self.clients.len() {
            if let Some(client) = &mut self.clients[key] {
                let presence = client.leave(leave);
                self.settle(key, presence, failures);
            }
        }
    }

    /// Drops the clients that still wait for the server's Close.
    fn close_late(&mut self, failures: &mut Failures) {
        for key in 0..self.clients.len() {
            if self.clients[key].is_some() {
                self.settle(key, Err(Failure::Timeout("closing")), failures);
            }
        }
    }

    fn settle(&mut self, key: usize, presence: Result<Presence, Failure>, failures: &mut Failures) {
        if let Err(failure) = &presence {
            failures.add(failure);
        }
        if !matches!(presence, Ok(Presence::Here)) {
            self.clients[key] = None;
            self.alive -= 1;
        }
    }
}

fn report(
    title: String,
    before: Option<Memory>,
    rounds: &[IdleRound],
    failures: &Failures,
) -> Report {
    let mut report = Report::new("idle", title);
    let sum = |of: fn(&IdleRound) -> u64| rounds.iter().map(of).sum();
    report.add(
        "opened",
        "opened",
        Figure::Count(sum(|round| round.opened as u64)),
    );
    report.add(
        "alive",
        "alive at the end of the stay",
        Figure::Count(sum(|round| round.alive as u64)),
    );
    report.add(
        "pings",
        "pings answered",
        Figure::Count(sum(|round| round.pings)),
    );
    let opening: f64 = rounds.iter().map(|round| round.opening.as_secs_f64()).sum();
    report.add(
        "opening_seconds",
        "time to open, s",
        Figure::Seconds(opening),
    );
    if let Some(first) = rounds.first() {
        if let Some(bytes) = first.pss_per_connection() {
            report.add(
                "pss_bytes_per_connection",
                "PSS bytes/connection, first round",
                Figure::Bytes(bytes),
            );
        }
        if let Some(percent) = first.cpu_percent {
            report.add(
                "cpu_percent",
                "CPU of the server, % of a core",
                Figure::Percent(percent),
            );
        }
    }
    if let Some(before) = before {
        report.add(
            "rss_before_bytes",
            "RSS before",
            Figure::Bytes(before.rss as f64),
        );
        report.add(
            "pss_before_bytes",
            "PSS before",
            Figure::Bytes(before.pss as f64),
        );
    }
    rows_by_round(&mut report, rounds);
    report.failures(failures);
    report
}

fn rows_by_round(report: &mut Report, rounds: &[IdleRound]) {
    let measured: Vec<(Memory, Memory)> = rounds
        .iter()
        .filter_map(|round| Some((round.full?, round.left?)))
        .collect();
    if measured.is_empty() {
        return;
    }
    report.note(
        "by round",
        &["RSS full", "RSS after", "PSS full", "PSS after"],
    );
    for (round, (full, left)) in measured.iter().enumerate() {
        let cells = [full.rss, left.rss, full.pss, left.pss].map(|bytes| grouped(bytes as f64, 0));
        report.note(
            &format!("  {}", round + 1),
            &cells.each_ref().map(String::as_str),
        );
    }
    let list =
        |of: fn(&(Memory, Memory)) -> u64| measured.iter().map(of).collect::<Vec<_>>().into();
    report.json("rss_full_bytes_by_round", list(|(full, _)| full.rss));
    report.json("rss_after_bytes_by_round", list(|(_, left)| left.rss));
    report.json("pss_full_bytes_by_round", list(|(full, _)| full.pss));
    report.json("pss_after_bytes_by_round", list(|(_, left)| left.pss));
    let percents: Vec<_> = rounds
        .iter()
        .filter_map(|round| round.cpu_percent)
        .collect();
    report.json("cpu_percent_by_round", percents.into());
}
