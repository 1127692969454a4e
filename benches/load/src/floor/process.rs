//! The floor beside a server: `raw` as a child of this process, and how the two are compared.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::client::target::{Ownership, Scheme, Target};
use crate::measure::failure::Failure;
use crate::measure::report::{median, ratio};

/// `raw` as a child; it ends with its standard input, so also when this process is killed.
#[derive(Debug)]
pub(crate) struct FloorProcess {
    child: Child,
    target: Target,
}

impl FloorProcess {
    /// Starts `bench raw` with further flags, and waits until it listens.
    ///
    /// # Errors
    ///
    /// It can't be started, or doesn't say where it listens.
    pub(crate) fn start(flags: &[&str]) -> Result<Self, Failure> {
        let mut child = Command::new("/proc/self/exe")
            .args(["bench", "raw", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line
            .strip_prefix("listening on ")
            .and_then(|rest| rest.split(' ').next());
        let url = format!("ws://{}/", address.unwrap_or_default());
        match Target::parse(&url, Scheme::WebSocket, Ownership::Unstated) {
            Ok(target) => Ok(Self { child, target }),
            Err(_) => {
                _ = child.kill();
                _ = child.wait();
                Err(io::Error::other(format!("the floor did not start, it said {line:?}")).into())
            }
        }
    }

    /// Where it listens.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for FloorProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        _ = self.child.wait(); // it ends with its input
    }
}

/// The median of the rounds' figures.
pub(crate) fn middle(rounds: &[f64]) -> f64 {
    median(rounds.iter().copied())
}

/// The median of the rounds' ratios.
pub(crate) fn middle_ratio(floor: &[f64], server: &[f64]) -> f64 {
    median(
        server
            .iter()
            .zip(floor)
            .map(|(&server, &floor)| ratio(server, floor)),
    )
}
