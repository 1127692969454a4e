//! Servers of the library in the test's own process, in every mode of their threads.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tidings::server::{Builder, Handle, RunningServer, Server, ServerOutcome, Stats};

use super::wait::until_none;

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

/// How long a server that is dropped waits for those who are still connected, and perhaps never answer:
/// a stop in order would wait for 10 s. What it does then is for tests that call it.
const GOODBYE: Duration = Duration::from_millis(200);

/// A server of a test; dropped, it is stopped.
pub struct LocalServer {
    running: Option<RunningServer>,
    pub handle: Handle,
}

impl LocalServer {
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

impl Drop for LocalServer {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        if std::thread::panicking() {
            // What went wrong may keep it from ending in time.
            running.handle().stop();
            return;
        }
        let handle = running.handle().clone();
        let (tell, told) = channel();
        let stopping = thread::spawn(move || {
            running.stop();
            tell.send(()).ok();
        });
        if told.recv_timeout(GOODBYE).is_err() {
            handle.stop_now();
        }
        stopping.join().expect("the stop doesn't panic");
    }
}

/// Waits until nothing of any connection is left in a server.
#[track_caller]
pub fn until_nothing_is_left(handle: &Handle) {
    until_none("something is left", || {
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
            ("gathered", totals.gathered_waiting as usize),
            ("gathered bytes", totals.gathered_bytes as usize),
            ("held", totals.held as usize),
            ("outbox bytes", stats.outbox_bytes),
            ("postponed events", stats.postponed.items),
            ("postponed bytes", stats.postponed.bytes),
            ("user pauses", stats.user_pauses),
            ("user timers", stats.user_timers),
            (
                "connections",
                handle.connections(tidings::server::Fd(0), 1).len(),
            ),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
    });
}
