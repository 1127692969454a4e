//! A line on standard error now and then, so that a long run is seen to live.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// Prints a line each second on a terminal, every five seconds elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    due: Instant,
    every: Duration,
}

impl Progress {
    /// Starts counting from now; the first line comes after the first pause.
    pub(crate) fn new() -> Self {
        let every = Duration::from_secs(if stderr().is_terminal() { 1 } else { 5 });
        let started = Instant::now();
        Self {
            started,
            due: started + every,
            every,
        }
    }

    /// Prints the line when it is due; otherwise it isn't even made.
    pub(crate) fn tick(&mut self, line: impl FnOnce() -> String) {
        let now = Instant::now();
        if now >= self.due {
            self.due = now + self.every;
            eprintln!("{:4} s  {}", (now - self.started).as_secs(), line());
        }
    }
}
