//! The start of a server that the builder has put together: in a program of its own, in one of its
//! processes, in a rehearsal, or where an image of the program before stopped.

use std::io;
use std::process::exit;
use std::sync::Arc;
use std::time::Instant;

use super::builder::{Builder, WORKERS_MAX};
use super::error::ServerError;
use super::handle::Handle;
use super::handler_set::BoxError;
use super::lifecycle::Lifecycle;
use super::outcome::ServerOutcome;
use super::process::{self, Process};
use super::running::RunningServer;
use super::signal::StopSource;
use super::upgrade::kernel::{heed_signals, hold_signals};
use super::upgrade::{Entered, ThawRelay, chain, entered, is_rehearsal, rehearse, report};
use super::upgrading::{NOT_ON_MAIN, is_main_thread};
use crate::base::REACTORS_MAX;
use crate::net::reactor::LISTENERS_MAX;

impl Builder {
    /// Runs the server on this thread until SIGTERM, SIGINT, SIGHUP or [`Handle::stop`] ends it.
    ///
    /// SIGUSR1 renews workers and processes, as [`Handle::reload`] does. SIGUSR2 upgrades the program,
    /// as [`Handle::upgrade`] does, if it is [`Builder::upgradable`]; if not, it is refused in the log and
    /// changes nothing. [`Builder::on_signal`] gives these and SIGHUP another meaning. SIGHUP is left to a
    /// process that was started with it ignored, as by `nohup`.
    ///
    /// As the first process of a container it reaps orphans, which the kernel makes children of the main
    /// thread: start programs of your own on other threads then, such as the workers.
    ///
    /// Call it on the main thread: the processes die with the thread that runs this, and only there can
    /// the program be upgraded. In one of the server's processes it runs that process instead, and
    /// doesn't return; and in a rehearsal of an upgrade it reports, and doesn't return.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: the server can't start. Connections or tasks that a stop had to cut are no
    /// error; the outcome counts them.
    pub fn run(mut self) -> Result<ServerOutcome, ServerError> {
        if let Some(relay) = self.thaw.take() {
            return self.run_on_main(relay);
        }
        // Whose signals are its own.
        self.enter_process()?;
        if is_rehearsal() {
            let (began, version) = (Instant::now(), self.version().unwrap_or_default());
            report(&version, began, self.rehearse());
        }
        let handed = entered().map_err(ServerError::system("read what was handed over"))?;
        if let Some(entered) = handed {
            return self.go_on(entered);
        }
        let holds = self.spec.upgradable.version.is_some();
        if holds {
            hold_signals();
        }
        let prepared = self.prepare(StopSource::Signals);
        if holds && prepared.is_err() {
            heed_signals();
        }
        let (lifecycle, _) = prepared?;
        Ok(lifecycle.run())
    }

    /// Runs the server on a thread of its own, which leaves signals alone: for tests, and for
    /// programs that have a main loop already. It can't be upgraded.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: the server can't start.
    pub fn start(self) -> Result<RunningServer, ServerError> {
        if is_rehearsal() {
            let reason = "it has a server that Builder::start starts, which can't be carried";
            report("", Instant::now(), Err(reason.into()));
        }
        // Prepared on the thread that runs the server, since the processes die with that thread.
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let main = move || match self.prepare(StopSource::Handle) {
            Ok((lifecycle, handle)) => {
                drop(sender.send(Ok(handle)));
                Some(lifecycle.run())
            }
            Err(error) => {
                drop(sender.send(Err(error)));
                None
            }
        };
        let thread = std::thread::Builder::new()
            .name("main".into())
            .spawn(main)
            .map_err(ServerError::system("start a thread"))?;
        let handle = receiver.recv().map_err(|_| ServerError::System {
            what: "start",
            source: io::Error::other("the main thread panicked"),
        })??;
        Ok(RunningServer { handle, thread })
    }

    fn version(&self) -> Option<String> {
        self.spec.upgradable.version.clone()
    }

    /// Tries whether this program could go on with what another one has handed over.
    fn rehearse(self) -> Result<(), BoxError> {
        if let Some(error) = self.error {
            return Err(error.into());
        }
        if let Some(reason) = self.spec.refuses_upgrades() {
            return Err(reason.into());
        }
        if !is_main_thread() {
            return Err(NOT_ON_MAIN.into());
        }
        let names = self.spec.processes.iter().map(|(name, _)| &**name);
        let names: Vec<&str> = names.collect();
        let processes = (&*names, &self.spec.settings.process);
        rehearse(&self.spec.upgradable, self.spec.reactors, processes)
    }

    /// Goes on with what the image of the program before this one has handed over, or executes that one
    /// again.
    fn go_on(self, entered: Entered) -> Result<ServerOutcome, ServerError> {
        let work = move |relay| self.thawed(relay).map_err(|error| chain(&*error));
        let thawed = Arc::new(entered).thaw(work);
        thawed.map_err(ServerError::Upgrade)
    }

    fn thawed(mut self, relay: ThawRelay) -> Result<ServerOutcome, BoxError> {
        if let Some(error) = self.error.take() {
            return Err(error.into());
        }
        if let Some(reason) = self.spec.refuses_upgrades() {
            return Err(reason.into());
        }
        self.spec.thawed = Some(self.spec.upgradable.take_over(relay.entered())?);
        self.spec.entered = Some(Arc::clone(relay.entered()));
        Ok(self.run_on_main(relay)?)
    }

    /// Prepares the server on this thread, and runs it on the main one.
    fn run_on_main(self, relay: ThawRelay) -> Result<ServerOutcome, ServerError> {
        let (lifecycle, _) = self.prepare(StopSource::Signals)?;
        relay
            .run(move || lifecycle.run())
            .ok_or(ServerError::TooLate)
    }

    /// Checks the specification, binds the addresses, starts processes and threads. In a process of
    /// the server it runs that process and doesn't return.
    fn prepare(mut self, stop_source: StopSource) -> Result<(Lifecycle, Handle), ServerError> {
        self.enter_process()?;
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let listeners =
            self.spec.addresses.len() + self.spec.tls_addresses.len() + self.spec.sockets.len();
        if self.spec.entered.is_none() {
            if listeners == 0 {
                return Err(ServerError::NoAddress);
            }
            within("listening addresses", listeners, 1, LISTENERS_MAX)?;
        }
        within("reactors", self.spec.reactors, 1, REACTORS_MAX)?;
        within("workers", self.spec.workers, 0, WORKERS_MAX)?;
        Lifecycle::start(self.spec, stop_source)
    }

    /// Runs the process and doesn't return, if this is one of the server's.
    fn enter_process(&mut self) -> Result<(), ServerError> {
        match process::entered().map_err(ServerError::system("enter a process"))? {
            Some(process) => self.enter(process),
            None => Ok(()),
        }
    }

    fn enter(&mut self, process: Process) -> Result<(), ServerError> {
        let entry = self
            .spec
            .processes
            .iter()
            .position(|(name, _)| name == process.name());
        let Some(entry) = entry else {
            return Err(ServerError::UnknownProcess(process.name().to_owned()));
        };
        let (name, entry) = self.spec.processes.swap_remove(entry);
        match entry(process) {
            Ok(()) => exit(0),
            Err(error) => {
                tracing::error!(process = name, %error, "a process failed");
                exit(1)
            }
        }
    }
}

fn within(name: &'static str, value: usize, min: usize, max: usize) -> Result<(), ServerError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ServerError::OutOfBounds {
        name,
        value,
        min,
        max,
    })
}
