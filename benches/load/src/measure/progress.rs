//! A line on standard error now and then, so that a long run is seen to live.

use std::io::{self, IsTerminal, Write, stderr};
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
            let seconds = (now - self.started).as_secs();
            // Progress that nobody sees is no reason to end a measurement.
            _ = writeln!(io::stderr().lock(), "{seconds:4} s  {}", line());
        }
    }
}
