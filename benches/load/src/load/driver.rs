//! Keeps connections busy: a few threads with an epoll each, warmed up, then measured.
//!
//! What a connection says is its own business ([`LoadClient`]); what is counted, when the window
//! begins and ends, and whose CPU time it costs is decided here.
//!
//! Invariant: answers and CPU time are read at the same two moments, both after the warm-up.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::load_client::{Interval, LoadClient, NextSocket, READ_SIZE};
use crate::flags::LoadFlags;
use crate::measure::cpu::CpuTimes;
use crate::measure::failure::{Failure, Failures};
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::{Figure, Report, grouped};
use crate::wire::poll::Poll;
use crate::wire::read::ReadBuffer;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const DONE: u8 = 2;

/// What was counted within the window.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Right answers.
    pub(crate) answers: u64,
    /// Length of the window as it really was, in seconds.
    pub(crate) seconds: f64,
    /// Latencies of the answers.
    pub(crate) latency: Latency,
    /// CPU time of the server's process tree, in nanoseconds, when its pid is known.
    pub(crate) server_ns: Option<u64>,
    /// CPU time of this process, in nanoseconds.
    pub(crate) generator_ns: u64,
    /// Connections that failed, in the warm-up or later.
    pub(crate) failures: Failures,
}

impl Measured {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.answers as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// CPU time for one answer, in microseconds; 0 when there was none.
    pub(crate) fn per_answer_us(&self, ns: u64) -> f64 {
        if self.answers > 0 {
            ns as f64 / 1e3 / self.answers as f64
        } else {
            0.0
        }
    }
}

impl Measured {
    /// Adds the count, the rate, the costs and the latencies of the answers to a report.
    pub(crate) fn add_to(&self, report: &mut Report, names: AnswerNames) {
        let AnswerNames {
            key,
            label,
            cost_key,
            cost_label,
        } = names;
        report.add(key, label, Figure::Count(self.answers));
        report.add(
            &format!("{key}_per_second"),
            &format!("{label}/s"),
            Figure::Rate(self.rate()),
        );
        if let Some(ns) = self.server_ns {
            report.add(
                &format!("cpu_us_per_{cost_key}"),
                &format!("CPU µs/{cost_label}, server"),
                Figure::Micros(self.per_answer_us(ns)),
            );
        }
        report.add(
            &format!("generator_cpu_us_per_{cost_key}"),
            &format!("CPU µs/{cost_label}, generator"),
            Figure::Micros(self.per_answer_us(self.generator_ns)),
        );
        report.latency(&self.latency);
    }
}

/// What the answers of a mode are called in its report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerNames {
    /// Key of their count.
    pub(crate) key: &'static str,
    /// Label of their count.
    pub(crate) label: &'static str,
    /// The thing that costs CPU time, in keys.
    pub(crate) cost_key: &'static str,
    /// The same in labels.
    pub(crate) cost_label: &'static str,
}

/// What the threads have in common.
#[derive(Debug)]
struct DriverState {
    epoch: Instant,
    phase: AtomicU8,
    answers: Vec<AtomicU64>,
    alive: AtomicUsize,
}

/// Runs the connections through warm-up and measured window; gives them back with the count.
///
/// It ends early when no connection is left.
///
/// # Errors
///
/// The process `pid` can't be read, or an epoll failed.
pub(crate) fn drive<C: LoadClient>(
    mut clients: Vec<C>,
    load: &LoadFlags,
    pid: Option<u32>,
    progress: &mut Progress,
) -> Result<(Measured, Vec<C>), Failure> {
    let threads = usize::from(load.threads);
    let mut shares: Vec<Vec<C>> = (0..threads).map(|_| Vec::new()).collect();
    let state = DriverState::new(threads, clients.len());
    for (index, client) in clients.drain(..).enumerate() {
        shares[index % threads].push(client);
    }
    thread::scope(|scope| {
        let workers: Vec<_> = shares
            .into_iter()
            .enumerate()
            .map(|(index, share)| {
                let state = &state;
                scope.spawn(move || work(share, state, index))
            })
            .collect();
        let measured = state.measure(load, pid, progress);
        state.phase.store(DONE, Ordering::Relaxed);
        let mut all = measured?;
        for worker in workers {
            let (share, latency, failures) = worker.join().expect("a worker does not panic")?;
            clients.extend(share);
            all.latency.merge(&latency);
            all.failures.merge(failures);
        }
        Ok((all, clients))
    })
}

/// Keeps connections busy on a thread of their own while something else runs on this one, which says
/// when the measured window begins and ends.
///
/// # Errors
///
/// The epoll of that thread failed.
pub(crate) fn drive_beside<C: LoadClient, R>(
    clients: Vec<C>,
    run: impl FnOnce(&dyn Fn(bool)) -> R,
) -> Result<(R, Latency, Failures), Failure> {
    let state = DriverState::new(1, clients.len());
    thread::scope(|scope| {
        let worker = scope.spawn(|| work(clients, &state, 0));
        let outcome = run(&|is_measured| {
            let phase = if is_measured { MEASURING } else { WARMING };
            state.phase.store(phase, Ordering::Relaxed);
        });
        state.phase.store(DONE, Ordering::Relaxed);
        let (_, latency, failures) = worker.join().expect("a worker does not panic")?;
        Ok((outcome, latency, failures))
    })
}

impl DriverState {
    fn new(threads: usize, connections: usize) -> Self {
        Self {
            epoch: Instant::now(),
            phase: AtomicU8::new(WARMING),
            answers: (0..threads).map(|_| AtomicU64::new(0)).collect(),
            alive: AtomicUsize::new(connections),
        }
    }

    fn measure(
        &self,
        load: &LoadFlags,
        pid: Option<u32>,
        progress: &mut Progress,
    ) -> Result<Measured, Failure> {
        self.wait(load.warm_up, "warm-up", progress);
        let cpu = CpuTimes::sample(pid)?;
        let (answers, begin) = (self.answers(), Instant::now());
        self.phase.store(MEASURING, Ordering::Relaxed);
        self.wait(load.seconds, "measured", progress);
        let cpu_end = CpuTimes::sample(pid)?;
        Ok(Measured {
            answers: self.answers() - answers,
            seconds: begin.elapsed().as_secs_f64(),
            server_ns: cpu_end.server_since(&cpu),
            generator_ns: cpu_end.generator_since(&cpu),
            ..Measured::default()
        })
    }

    fn wait(&self, time: Duration, phase: &str, progress: &mut Progress) {
        let end = Instant::now() + time;
        let (mut last, mut last_at) = (self.answers(), Instant::now());
        while self.alive.load(Ordering::Relaxed) > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(Duration::from_millis(250)));
            progress.tick(|| {
                let (now, at) = (self.answers(), Instant::now());
                let rate = (now - last) as f64 / (at - last_at).as_secs_f64();
                (last, last_at) = (now, at);
                let alive = self.alive.load(Ordering::Relaxed);
                format!("{phase}: {}/s over {alive} connections", grouped(rate, 0))
            });
        }
    }

    fn answers(&self) -> u64 {
        self.answers
            .iter()
            .map(|answers| answers.load(Ordering::Relaxed))
            .sum()
    }
}

/// The connections of one thread, and what it counted.
type Share<C> = (Vec<C>, Latency, Failures);

/// One thread: its connections until the run is done.
fn work<C: LoadClient>(
    mut clients: Vec<C>,
    state: &DriverState,
    index: usize,
) -> Result<Share<C>, Failure> {
    let mut poll = Poll::new()?;
    let (mut buffer, mut interval) = (ReadBuffer::new(READ_SIZE), Interval::new(state.epoch));
    let mut failures = Failures::default();
    let mut dead = vec![false; clients.len()];
    for (key, client) in clients.iter_mut().enumerate() {
        poll.add(client.socket(), key)?;
        if let Err(failure) = client.begin(&mut interval) {
            state.bury(&failure, &mut failures, &mut dead[key]);
        }
    }
    while state.phase.load(Ordering::Relaxed) != DONE && state.alive.load(Ordering::Relaxed) > 0 {
        let count = poll.wait(Duration::from_millis(50))?;
        interval.measuring = state.phase.load(Ordering::Relaxed) == MEASURING;
        for ready in (0..count).map(|index| poll.ready(index)) {
            buffer.hung_up = ready.hung_up;
            if dead[ready.key] {
                continue;
            }
            match clients[ready.key].ready(&mut buffer, &mut interval) {
                Ok(NextSocket::Same) => {}
                Ok(NextSocket::New) => poll.add(clients[ready.key].socket(), ready.key)?,
                Err(failure) => state.bury(&failure, &mut failures, &mut dead[ready.key]),
            }
        }
        state.answers[index].store(interval.answers(), Ordering::Relaxed);
    }
    Ok((clients, interval.into_latency(), failures))
}

impl DriverState {
    fn bury(&self, failure: &Failure, failures: &mut Failures, dead: &mut bool) {
        failures.add(failure);
        *dead = true;
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}
