//! `bench idle`: many connections that do nothing, and what they cost the server all the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::idle::{Guest, LEAVING_MAX, Leave, Presence};
use crate::client::opener::open_all;
use crate::client::opening::Hello;
use crate::client::target::{Sources, Target};
use crate::client::template::{Blanks, Template};
use crate::measure::cpu::{Scope, Usage};
use crate::measure::failure::{Failure, Failures, reserve_descriptors};
use crate::measure::memory::Memory;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, grouped};
use crate::wire::poll::Poll;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server; `{member}` and `{round}` in its path are each connection's own.
    pub(crate) target: Target,
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// How long they stay, each round.
    pub(crate) stay: Duration,
    /// Pause before anything is measured, so that the server is done with what went before.
    pub(crate) settle: Duration,
    /// How often they come and go.
    pub(crate) rounds: usize,
    /// How they go.
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
/// No connection came about, or the process can't be read. Failures of single connections are
/// counted and reported instead.
pub(crate) fn run(settings: &Settings) -> Result<(Report, Failures), Failure> {
    reserve_descriptors(settings.connections)?;
    let mut progress = Progress::new();
    let mut failures = Failures::default();
    let mut rounds = Vec::new();
    let before = settings.memory()?;
    for round in 0..settings.rounds {
        rounds.push(stay(settings, round, &mut failures, &mut progress)?);
    }
    Ok((report(settings, before, &rounds, &failures), failures))
}

/// What one round showed.
#[derive(Debug)]
struct Round {
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

impl Round {
    /// Bytes of PSS that a connection added.
    fn pss_per_connection(&self) -> Option<f64> {
        let added = self.full?.pss as f64 - self.empty?.pss as f64;
        (self.alive > 0).then(|| added / self.alive as f64)
    }
}

/// One round: come, stay, go.
fn stay(
    settings: &Settings,
    round: usize,
    failures: &mut Failures,
    progress: &mut Progress,
) -> Result<Round, Failure> {
    let empty = settings.memory()?;
    let path = Template::new(&settings.target.path);
    let in_all = settings.connections * settings.rounds;
    let sources = Sources::new(&settings.target, settings.sources, in_all);
    let opened = open_all(
        &settings.target,
        |number| settings.hello(&path, number, round),
        sources,
        settings.connections,
        progress,
    )?;
    failures.merge(opened.failures);
    let mut hall = Hall::new()?;
    let count = opened.connections.len();
    for open in opened.connections {
        hall.seat(Guest::new(open.socket, &open.rest), failures)?;
    }
    let what = |phase: &str| format!("idle, round {}: {phase}", round + 1);
    hall.wait(
        settings.settle,
        Until::TimeIsOver,
        failures,
        &mut || what("settling"),
        progress,
    )?;
    let (cpu, since) = (settings.usage()?, Instant::now());
    hall.wait(
        settings.stay,
        Until::TimeIsOver,
        failures,
        &mut || what("staying"),
        progress,
    )?;
    let (cpu_end, stayed) = (settings.usage()?, since.elapsed());
    let (alive, full) = (hall.alive, settings.memory()?);
    hall.leave(settings.leave, failures);
    hall.wait(
        LEAVING_MAX,
        Until::Empty,
        failures,
        &mut || what("leaving"),
        progress,
    )?;
    hall.turn_out(failures);
    std::thread::sleep(settings.settle);
    let used = cpu
        .zip(cpu_end)
        .map(|(begin, end)| end.since(&begin) as f64);
    Ok(Round {
        opened: count,
        alive,
        pings: hall.pings,
        empty,
        full,
        left: settings.memory()?,
        cpu_percent: used.map(|ns| ns / stayed.as_nanos().max(1) as f64 * 100.0),
        opening: opened.took,
    })
}

impl Settings {
    fn hello(&self, path: &Template, number: usize, round: usize) -> Arc<Hello> {
        let mut target = self.target.clone();
        target.path = path.filled(&Blanks {
            member: number as u64,
            round: round as u64,
            ..Blanks::default()
        });
        Arc::new(Hello::upgrade(&target, &self.fields))
    }

    fn memory(&self) -> Result<Option<Memory>, Failure> {
        Ok(self.pid.map(Memory::of_tree).transpose()?)
    }

    fn usage(&self) -> Result<Option<Usage>, Failure> {
        Ok(self
            .pid
            .map(|pid| Usage::sample(pid, Scope::Tree))
            .transpose()?)
    }

    fn title(&self) -> String {
        format!(
            "idle {}: {} connections for {} s, {} round(s)",
            self.target.address,
            grouped(self.connections as f64, 0),
            self.stay.as_secs_f64(),
            self.rounds
        )
    }
}

/// All guests, and how many are left.
struct Hall {
    poll: Poll,
    guests: Vec<Option<Guest>>,
    alive: usize,
    pings: u64,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    TimeIsOver,
    Empty,
}

impl Hall {
    fn new() -> Result<Self, Failure> {
        let bytes = vec![0; 64 << 10];
        Ok(Self {
            poll: Poll::new()?,
            guests: Vec::new(),
            alive: 0,
            pings: 0,
            bytes,
        })
    }

    fn seat(&mut self, mut guest: Guest, failures: &mut Failures) -> Result<(), Failure> {
        self.poll.add(guest.socket(), self.guests.len())?;
        let heard = guest.hear();
        self.pings += guest.pings();
        match heard {
            Ok(()) => {
                self.guests.push(Some(guest));
                self.alive += 1;
            }
            Err(failure) => failures.add(&failure),
        }
        Ok(())
    }

    /// Answers pings for so long; ends early when nobody is left.
    fn wait(
        &mut self,
        time: Duration,
        until: Until,
        failures: &mut Failures,
        phase: &mut dyn FnMut() -> String,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || (until == Until::Empty && self.alive == 0) {
                return Ok(());
            }
            for index in 0..self.poll.wait(left.min(Duration::from_millis(200)))? {
                self.ready(self.poll.ready(index).key, failures);
            }
            progress.tick(|| format!("{}, {} alive, {} pings", phase(), self.alive, self.pings));
        }
    }

    fn ready(&mut self, key: usize, failures: &mut Failures) {
        let Some(guest) = self.guests.get_mut(key).and_then(Option::as_mut) else {
            return;
        };
        let pings = guest.pings();
        let presence = guest.ready(&mut self.bytes);
        self.pings += guest.pings() - pings;
        self.part(key, presence, failures);
    }

    fn leave(&mut self, leave: Leave, failures: &mut Failures) {
        for key in 0..self.guests.len() {
            if let Some(guest) = &mut self.guests[key] {
                let presence = guest.leave(leave);
                self.part(key, presence, failures);
            }
        }
    }

    /// Drops whoever still waits for the server's Close.
    fn turn_out(&mut self, failures: &mut Failures) {
        for key in 0..self.guests.len() {
            if self.guests[key].is_some() {
                self.part(key, Err(Failure::Timeout("closing")), failures);
            }
        }
    }

    fn part(&mut self, key: usize, presence: Result<Presence, Failure>, failures: &mut Failures) {
        if let Err(failure) = &presence {
            failures.add(failure);
        }
        if !matches!(presence, Ok(Presence::Here)) {
            self.guests[key] = None;
            self.alive -= 1;
        }
    }
}

fn report(
    settings: &Settings,
    before: Option<Memory>,
    rounds: &[Round],
    failures: &Failures,
) -> Report {
    let mut report = Report::new("idle", settings.title());
    let sum = |of: fn(&Round) -> u64| rounds.iter().map(of).sum();
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

fn rows_by_round(report: &mut Report, rounds: &[Round]) {
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
