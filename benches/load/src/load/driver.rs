//! Keeps connections busy: a few threads with an epoll each, warmed up, then measured.
//!
//! What a connection says is its own business ([`Talk`]); what is counted, when the window
//! begins and ends, and whose CPU time it costs is decided here.
//!
//! Invariant: answers and CPU time are read at the same two moments, both after the warm-up.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::load_client::{Lap, Talk, Turn};
use crate::measure::cpu::Cpu;
use crate::measure::failure::{Failure, Failures};
use crate::measure::latency::Latency;
use crate::measure::progress::Progress;
use crate::measure::report::grouped;
use crate::wire::poll::Poll;

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const DONE: u8 = 2;

/// How long to warm up, and to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Load without counting, so that caches, pools and slow start are behind us.
    pub(crate) warm_up: Duration,
    /// The measured time.
    pub(crate) measured: Duration,
}

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

#[derive(Debug)]
struct Shared {
    epoch: Instant,
    phase: AtomicU8,
    answers: Vec<AtomicU64>,
    alive: AtomicUsize,
}

/// Runs the connections on `threads` threads through the window; gives them back with the count.
///
/// It ends early when no connection is left.
///
/// # Errors
///
/// The process `pid` can't be read, or an epoll failed.
pub(crate) fn drive<T: Talk>(
    mut talks: Vec<T>,
    threads: usize,
    window: Window,
    pid: Option<u32>,
    progress: &mut Progress,
) -> Result<(Measured, Vec<T>), Failure> {
    let mut shares: Vec<Vec<T>> = (0..threads).map(|_| Vec::new()).collect();
    let shared = Shared {
        epoch: Instant::now(),
        phase: AtomicU8::new(WARMING),
        answers: (0..threads).map(|_| AtomicU64::new(0)).collect(),
        alive: AtomicUsize::new(talks.len()),
    };
    for (index, talk) in talks.drain(..).enumerate() {
        shares[index % threads].push(talk);
    }
    thread::scope(|scope| {
        let workers: Vec<_> = shares
            .into_iter()
            .enumerate()
            .map(|(index, share)| {
                scope.spawn({
                    let shared = &shared;
                    move || work(share, shared, index)
                })
            })
            .collect();
        let measured = shared.measure(window, pid, progress);
        shared.phase.store(DONE, Ordering::Relaxed);
        let mut all = measured?;
        for worker in workers {
            let (share, latency, failures) = worker.join().expect("a worker does not panic")?;
            talks.extend(share);
            all.latency.merge(&latency);
            all.failures.merge(failures);
        }
        Ok((all, talks))
    })
}

impl Shared {
    fn measure(
        &self,
        window: Window,
        pid: Option<u32>,
        progress: &mut Progress,
    ) -> Result<Measured, Failure> {
        self.wait(window.warm_up, "warm-up", progress);
        let cpu = Cpu::sample(pid)?;
        let (answers, begin) = (self.answers(), Instant::now());
        self.phase.store(MEASURING, Ordering::Relaxed);
        self.wait(window.measured, "measured", progress);
        let cpu_end = Cpu::sample(pid)?;
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

type Share<T> = (Vec<T>, Latency, Failures);

/// One thread: its connections until the run is done.
fn work<T: Talk>(mut talks: Vec<T>, shared: &Shared, index: usize) -> Result<Share<T>, Failure> {
    let mut poll = Poll::new()?;
    let mut lap = Lap::new(shared.epoch);
    let mut failures = Failures::default();
    let mut dead = vec![false; talks.len()];
    for (key, talk) in talks.iter_mut().enumerate() {
        poll.add(talk.socket(), key)?;
        if let Err(failure) = talk.begin(&mut lap) {
            shared.bury(&failure, &mut failures, &mut dead[key]);
        }
    }
    while shared.phase.load(Ordering::Relaxed) != DONE && shared.alive.load(Ordering::Relaxed) > 0 {
        let count = poll.wait(Duration::from_millis(50))?;
        lap.measuring = shared.phase.load(Ordering::Relaxed) == MEASURING;
        for ready in (0..count).map(|index| poll.ready(index)) {
            lap.hung_up = ready.hung_up;
            if dead[ready.key] {
                continue;
            }
            match talks[ready.key].ready(&mut lap) {
                Ok(Turn::Same) => {}
                Ok(Turn::NewSocket) => poll.add(talks[ready.key].socket(), ready.key)?,
                Err(failure) => shared.bury(&failure, &mut failures, &mut dead[ready.key]),
            }
        }
        shared.answers[index].store(lap.answers(), Ordering::Relaxed);
    }
    Ok((talks, lap.into_latency(), failures))
}

impl Shared {
    fn bury(&self, failure: &Failure, failures: &mut Failures, dead: &mut bool) {
        failures.add(failure);
        *dead = true;
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}
