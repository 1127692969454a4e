//! A server that is made of what was handed over, up to the commit and through it.
//!
//! Invariant: no program is started before each descriptor that was handed over is closed for it.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use mio::Registry;
use rustix::process::Signal;

use super::entered::Entered;
use super::kernel::heeding_signals;
use super::listeners::adopt_server;
use super::processes::processes;
use super::program::ThawedProgram;
use super::start_gate::StartGate;
use crate::server::process::{ProcessSettings, ProcessesHandover, Supervisor};
use crate::server::runner::Runner;
use crate::server::shared::ServerShared;
use crate::server::upgrading::go_on;

/// What goes on at the commit.
pub(in crate::server) struct ThawedServer {
    entered: Arc<Entered>,
    /// The gate at which the threads wait.
    start_gate: Arc<StartGate>,
    processes: Option<ProcessesHandover>,
}

/// The parts of a server that its main thread has.
pub(in crate::server) struct CommittedParts<'a> {
    pub(in crate::server) shared: &'a ServerShared,
    pub(in crate::server) runner: &'a Runner,
    /// What was handed over of the program, if that is one of the library.
    pub(in crate::server) program: Option<ThawedProgram>,
    pub(in crate::server) supervisor: &'a mut Supervisor,
    /// The registry that reports on the processes, and the first of their tokens.
    pub(in crate::server) registry: (&'a Registry, usize),
}

impl ThawedServer {
    /// Reads what the main thread takes over, of processes with these settings.
    ///
    /// # Errors
    ///
    /// The handover can't be read, doesn't fit the program, or names a descriptor that isn't there.
    pub(in crate::server) fn new(
        entered: Arc<Entered>,
        start_gate: Arc<StartGate>,
        (supervisor, settings): (&Supervisor, &ProcessSettings),
    ) -> io::Result<Self> {
        let processes = processes(&entered, supervisor, settings)?;
        Ok(Self {
            entered,
            start_gate,
            processes,
        })
    }

    /// Makes all that was handed over this image's own, and has the server go on. From here on nothing
    /// goes back. Returns the signals that wait.
    pub(in crate::server) fn commit(self, parts: CommittedParts<'_>) -> Vec<Signal> {
        let CommittedParts {
            shared,
            runner,
            program,
            supervisor,
            registry: (registry, token_base),
        } = parts;
        self.entered.commit();
        let signals = adopt_server(&self.entered);
        self.start_gate.let_adopt(shared.mailboxes.len());
        let is_taken_over = self.processes.is_some();
        if let Some(processes) = self.processes {
            let entered = &self.entered;
            let own = |number| entered.adopt(number).expect("it was checked");
            supervisor.adopt(processes, own, Instant::now());
        }
        self.entered.close_on_execution();
        go_on(shared, program);
        runner.server_started();
        self.start_gate.open();
        if let Err(error) = heeding_signals(|| supervisor.start(registry, token_base)) {
            tracing::error!(%error, "can't start the processes");
            shared.main.fail("the processes can't be started");
        }
        if is_taken_over {
            // They are of the program before.
            supervisor.renew(Instant::now());
        }
        signals
    }
}
