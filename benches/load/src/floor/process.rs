//! The floor beside a server: `raw` as a child of this process, and how the two are compared.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::client::Trust;
use crate::client::server::Server;
use crate::client::target::{Ownership, Scheme, Target};
use crate::measure::failure::Failure;

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
            // A floor needs nothing of it, and keys may be in it.
            .env_clear()
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
        match Target::parse(&url, Scheme::WebSocket, Ownership::Unstated, Trust::System) {
            Ok(target) => Ok(Self { child, target }),
            Err(_) => {
                _ = child.kill();
                _ = child.wait();
                Err(io::Error::other(format!("the floor did not start, it said {line:?}")).into())
            }
        }
    }

    /// Describes it as a server; it is accounted for when `beside` is.
    pub(crate) fn server(&self, beside: &Server) -> Server {
        Server {
            target: self.target.clone(),
            fields: Vec::new(),
            pid: beside.pid.map(|_| self.child.id()),
            source_addresses: beside.source_addresses,
        }
    }
}

impl Drop for FloorProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        _ = self.child.wait(); // it ends with its input
    }
}

/// Which of the two is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The floor, which speaks nothing but WebSocket and gives each message back.
    Floor,
    /// The server in question.
    Server,
}

/// What all rounds showed.
#[derive(Debug)]
pub(crate) struct Rounds<R> {
    /// Of the floor; none without one.
    pub(crate) floor: Vec<R>,
    /// Of the server.
    pub(crate) server: Vec<R>,
}

impl<R> Rounds<R> {
    /// All rounds of both.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.server.iter_mut().chain(&mut self.floor)
    }
}

/// Measures the server in turns with its floor, so that both meet the same machine in the same
/// minute; `measure` gets the number of the round, too.
///
/// # Errors
///
/// A round could not be measured.
pub(crate) fn in_turns<R>(
    rounds: usize,
    floor: Option<&FloorProcess>,
    server: &Server,
    mut measure: impl FnMut(&Server, Side, usize) -> Result<R, Failure>,
) -> Result<Rounds<R>, Failure> {
    let mut all = Rounds {
        floor: Vec::new(),
        server: Vec::new(),
    };
    for round in 0..rounds {
        if let Some(floor) = floor {
            let floor = floor.server(server);
            all.floor.push(measure(&floor, Side::Floor, round)?);
        }
        all.server.push(measure(server, Side::Server, round)?);
    }
    Ok(all)
}
