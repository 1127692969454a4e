//! Keeps connections busy: a few threads with an epoll each, warmed up, then measured.
//!
//! What a connection says is its own business ([`Talk`]); what is counted, when the window
//! begins and ends, and whose CPU time it costs is decided here.
//!
//! Invariant: answers and CPU time are read at the same two moments, both after the warm-up.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

use super::cpu::{Scope, Usage};
use super::failure::{Failure, Failures};
use super::histogram::Latency;
use super::progress::Progress;
use super::report::grouped;

/// Bytes that one thread reads at once; shared by all its connections.
pub const READ_SIZE: usize = 128 << 10;

const EVENTS_MAX: usize = 1024;
const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const DONE: u8 = 2;

/// An epoll that reports each change once (edge-triggered), reading and writing alike.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// One socket's news.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// What the socket was registered with.
    pub key: usize,
    /// The peer closed its side: only reading to the end tells what else came.
    pub hung_up: bool,
}

impl Poll {
    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Registers a socket; what is ready already is reported too.
    ///
    /// # Errors
    ///
    /// The socket is registered already.
    pub fn add(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(key as u64),
            flags,
        )?)
    }

    /// Waits until a socket has news or the time is over; says how many have.
    ///
    /// # Errors
    ///
    /// Only those of a broken epoll; an interruption counts as no news.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        self.events.clear();
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The news with this index, below what [`Self::wait`] gave.
    pub fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let flags = event.flags;
        let gone = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        Ready {
            key: event.data.u64() as usize,
            hung_up: flags.intersects(gone),
        }
    }
}

/// What one connection says and hears.
pub trait Talk: Send {
    /// The socket, to register it.
    fn socket(&self) -> &TcpStream;

    /// Says the first words.
    ///
    /// # Errors
    ///
    /// The connection is of no more use.
    fn begin(&mut self, lap: &mut Lap) -> Result<(), Failure>;

    /// Reads what came, and says the next.
    ///
    /// # Errors
    ///
    /// The connection is of no more use.
    fn ready(&mut self, lap: &mut Lap) -> Result<Turn, Failure>;
}

/// How a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// With the same socket.
    Same,
    /// With a new socket, which has to be registered.
    NewSocket,
}

/// What a thread lends to the connection whose turn it is.
#[derive(Debug)]
pub struct Lap {
    /// Where to read into.
    pub bytes: Vec<u8>,
    /// The peer closed its side.
    pub hung_up: bool,
    /// Whether this turn is within the measured window.
    pub measuring: bool,
    epoch: Instant,
    answers: u64,
    latency: Latency,
}

impl Lap {
    /// Begins with nothing counted; `epoch` is where [`Self::now`] counts from.
    pub fn new(epoch: Instant) -> Self {
        let bytes = vec![0; READ_SIZE];
        Self {
            bytes,
            hung_up: false,
            measuring: false,
            epoch,
            answers: 0,
            latency: Latency::default(),
        }
    }

    /// Nanoseconds since the run began; a system-wide clock read without a system call.
    pub fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Ends the counting.
    pub fn into_latency(self) -> Latency {
        self.latency
    }

    /// Counts `count` right answers, each of which took `ns` nanoseconds.
    pub fn answered(&mut self, ns: u64, count: u64) {
        self.answers += count;
        if self.measuring {
            self.latency.record(ns, count);
        }
    }
}

/// How long to warm up, and to measure.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Load without counting, so that caches, pools and slow start are behind us.
    pub warm_up: Duration,
    /// The measured time.
    pub measured: Duration,
}

/// What was counted within the window.
#[derive(Debug, Default)]
pub struct Measured {
    /// Right answers.
    pub answers: u64,
    /// Length of the window as it really was, in seconds.
    pub seconds: f64,
    /// Latencies of the answers.
    pub latency: Latency,
    /// CPU time of the server's process tree, in nanoseconds, when its pid is known.
    pub server_ns: Option<u64>,
    /// CPU time of this process, in nanoseconds.
    pub generator_ns: u64,
    /// Connections that failed, in the warm-up or later.
    pub failures: Failures,
}

impl Measured {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.answers as f64 / self.seconds
        } else {
            0.0
        }
    }

    /// CPU time for one answer, in microseconds; 0 when there was none.
    pub fn per_answer_us(&self, ns: u64) -> f64 {
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
pub fn drive<T: Talk>(
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

/// CPU time of server and generator at one moment.
#[derive(Debug)]
pub struct Cpu {
    server: Option<Usage>,
    generator: Usage,
}

impl Cpu {
    /// Reads both now; the server's with all its descendants, when its pid is known.
    ///
    /// # Errors
    ///
    /// There is no such process, or it can't be read.
    pub fn sample(pid: Option<u32>) -> io::Result<Self> {
        let server = pid.map(|pid| Usage::sample(pid, Scope::Tree)).transpose()?;
        Ok(Self {
            server,
            generator: Usage::sample(std::process::id(), Scope::Process)?,
        })
    }

    /// CPU time of the server since `begin`, in nanoseconds.
    pub fn server_since(&self, begin: &Self) -> Option<u64> {
        Some(self.server.as_ref()?.since(begin.server.as_ref()?))
    }

    /// CPU time of this process since `begin`, in nanoseconds.
    pub fn generator_since(&self, begin: &Self) -> u64 {
        self.generator.since(&begin.generator)
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
        shared.answers[index].store(lap.answers, Ordering::Relaxed);
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
