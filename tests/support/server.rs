//! What the tests of a running server share: every mode, clients with deadlines, waiting.
//!
//! Each test binary uses its own part of it.
#![allow(dead_code)]

mod client;
mod web;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::Receiver;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tidings::server::{Builder, Handle, RunningServer, Server, ServerOutcome, Stats};

#[allow(unused_imports, reason = "not every test writes frames by hand")]
pub use client::{Client, Heard, frame};
#[allow(unused_imports, reason = "not every test speaks HTTP")]
pub use web::Web;

/// Nothing that a test waits for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Threads of a server: the callbacks' and the sockets'.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    pub workers: usize,
    pub reactors: usize,
}

impl Mode {
    /// A server of this mode on a free port.
    pub fn builder(self) -> Builder {
        Server::builder()
            .listen("127.0.0.1:0")
            .workers(self.workers)
            .reactors(self.reactors)
    }
}

/// Runs `test` with the handlers on the reactors, on one worker, on two; with one reactor and two.
pub fn in_every_mode(test: impl Fn(Mode)) {
    in_modes(&[0, 1, 2], &[1, 2], test);
}

/// The same, but never with handlers on the reactors: for those that block.
pub fn with_workers(test: impl Fn(Mode)) {
    in_modes(&[1, 2], &[1, 2], test);
}

/// The same with one reactor only: for what one of them decides by itself.
pub fn with_one_reactor(test: impl Fn(Mode)) {
    in_modes(&[0, 1, 2], &[1], test);
}

fn in_modes(workers: &[usize], reactors: &[usize], test: impl Fn(Mode)) {
    for &workers in workers {
        for &reactors in reactors {
            let mode = Mode { workers, reactors };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(mode))) {
                eprintln!("this was with {mode:?}");
                resume_unwind(panic);
            }
        }
    }
}

/// A server of a test; dropped, it is stopped.
pub struct Served {
    running: Option<RunningServer>,
    pub handle: Handle,
}

impl Served {
    pub fn start(builder: Builder) -> Self {
        let running = builder.start().unwrap();
        Self {
            handle: running.handle().clone(),
            running: Some(running),
        }
    }

    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    pub fn stop(mut self) -> ServerOutcome {
        let running = self.running.take().unwrap();
        running.stop().expect("the main thread doesn't panic")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        if std::thread::panicking() {
            // What went wrong may keep it from ending in time.
            running.handle().stop();
        } else {
            running.stop();
        }
    }
}

/// Waits until `is_so`; fails with `what` when it takes too long.
#[track_caller]
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < PATIENCE,
            "waited for this in vain: {what}"
        );
        sleep(Duration::from_millis(1));
    }
}

/// The next thing that a callback reported.
#[track_caller]
pub fn next<T>(events: &Receiver<T>) -> T {
    events
        .recv_timeout(PATIENCE)
        .expect("something is reported")
}

/// Waits until nothing of any connection is left in a server.
#[track_caller]
pub fn until_nothing_is_left(handle: &Handle) {
    let left = || {
        let stats = handle.stats();
        let totals = stats.totals;
        [
            ("websockets", totals.websockets as usize),
            ("slots", totals.slots as usize),
            ("timers", totals.timers as usize),
            ("topics", totals.topics as usize),
            ("subscriptions", totals.subscriptions as usize),
            ("backlogged", totals.backlogged as usize),
            ("paused", totals.paused as usize),
            ("held", totals.held as usize),
            ("outbox bytes", stats.outbox_bytes),
            ("user timers", stats.user_timers),
            (
                "connections",
                handle.connections(tidings::server::Fd(0), 1).len(),
            ),
        ]
    };
    let began = Instant::now();
    while left().iter().any(|(_, count)| *count > 0) {
        assert!(
            began.elapsed() < PATIENCE,
            "something is left: {:?}",
            left()
        );
        sleep(Duration::from_millis(1));
    }
}
