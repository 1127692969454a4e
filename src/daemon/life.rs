//! The life of a daemon beside what it serves: its start is reported, its PID file and its control
//! socket come and go, its signals are heeded.
//!
//! What may have to wait runs on a thread of its own, one errand after the other: never on the main
//! thread, which has to see the next signal.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::Context;
use tidings::api::health::ServerReadiness;
use tidings::base::clock::unix_ms;
use tidings::base::sync::lock;
use tidings::handover::HandoverWriter;
use tidings::server::{
    Builder, FrozenServer, ServerOutcome, ServerSignal, TlsCertificates, WorkerHandle,
};

use super::in_force::Current;
use super::reload::{ReloadScope, Reloading, SettingsRenewal, Succession, Swap};
use super::standing::{Standing, serving};
use super::upgrade::{
    DaemonState, HandOver, PendingErrands, ThawedDaemon, UpgradeOrder, Upgrading,
};
use crate::config::{
    FileTexts, GeneralSection, ListenAddresses, Loaded, Purpose, Settings, TlsPlan,
};
use crate::control::{ControlServer, ControlSocket, Reply};
use crate::output::OpenLogFile;
use crate::service::{EarlySignals, PidFile, ServiceManager, StartReport, has_terminal};

/// Time for a client of the control socket to take a line, before an upgrade is refused because of it.
const CLIENT_STEP_MAX: Duration = Duration::from_millis(200);

/// Time at the end for clients of the control socket to get their answers.
const ANSWERS_MAX: Duration = Duration::from_millis(500);

/// What a daemon owns beside its server.
#[derive(Debug)]
pub(super) struct DaemonLife {
    report: StartReport,
    /// Signals that came during the start.
    signals: EarlySignals,
    /// Whether SIGHUP was among them, which is heeded once the server is ready.
    has_hung_up: AtomicBool,
    /// The service manager, if one wants to be told.
    manager: Option<ServiceManager>,
    pid_path: Option<PathBuf>,
    pid_file: Mutex<Option<PidFile>>,
    control_path: Option<PathBuf>,
    control: Mutex<Option<ControlServer>>,
    standing: Arc<Standing>,
    log_file: Option<PathBuf>,
    /// What an image of the program before this one has handed over, until it is taken over.
    thawed: Mutex<Option<ThawedDaemon>>,
    /// Whether a terminal can take this daemon with it.
    had_terminal: bool,
    /// The reason for which the daemon could not begin.
    failure: Mutex<Option<anyhow::Error>>,
    errands: Mutex<PendingErrands>,
    /// Notified when an errand is pending.
    asked: Condvar,
}

impl DaemonLife {
    pub(super) fn new(
        purpose: Purpose,
        loaded: &Loaded,
        (report, signals): (StartReport, EarlySignals),
        thawed: Option<ThawedDaemon>,
    ) -> Arc<Self> {
        let manager = ServiceManager::of_environment();
        let before = thawed.as_ref().map(|thawed| &thawed.state);
        let pending = before.map(|state| state.pending).unwrap_or_default();
        let started_unix_ms = before.map_or_else(unix_ms, |state| state.started_unix_ms);
        let had_terminal = before.map_or_else(has_terminal, |state| state.had_terminal);
        let standing = Standing::new(
            purpose,
            loaded.file.clone(),
            manager.clone(),
            started_unix_ms,
        );
        let settings = &loaded.settings;
        Arc::new(Self {
            report,
            signals,
            has_hung_up: AtomicBool::new(false),
            manager,
            pid_path: settings.general.pid_path().map(Into::into),
            pid_file: Mutex::default(),
            control_path: settings.control_path(purpose),
            control: Mutex::default(),
            standing: Arc::new(standing),
            log_file: settings.log.path().map(Into::into),
            had_terminal,
            failure: Mutex::default(),
            errands: Mutex::new(pending),
            thawed: Mutex::new(thawed),
            asked: Condvar::new(),
        })
    }

    /// Learns how to read the settings again; `running` are in force.
    pub(super) fn reload_with(
        &self,
        renewal: SettingsRenewal,
        running: (Settings, FileTexts),
        current: Current,
        prepare: impl Fn(Succession<'_>) -> anyhow::Result<Box<Swap>> + Send + Sync + 'static,
    ) {
        let reloading = Reloading::new(renewal, running, current, Box::new(prepare));
        if let Some(thawed) = &*lock(&self.thawed) {
            reloading.take_over(&thawed.state);
        }
        self.standing.reload_with(reloading);
    }

    /// Learns how to replace the program that was started with these arguments, by what `collect` adds to
    /// a handover.
    pub(super) fn upgrade_with(
        self: &Arc<Self>,
        arguments: &[OsString],
        collect: impl Fn(&FrozenServer<'_>, &mut HandoverWriter, &mut DaemonState) -> Result<(), String>
        + Send
        + Sync
        + 'static,
    ) {
        let life = Arc::downgrade(self);
        let collect = move |frozen: &FrozenServer<'_>,
                            mut writer: HandoverWriter,
                            mut state: DaemonState,
                            hand_over: &mut HandOver<'_>| {
            let life = life.upgrade().ok_or("the server has ended")?;
            collect(frozen, &mut writer, &mut state)?;
            life.hand_over(writer, state, hand_over)
        };
        let thawed = lock(&self.thawed);
        let before = thawed.as_ref().map(|thawed| &thawed.state);
        let upgrading = Upgrading::new(arguments.to_vec(), before, Arc::new(collect));
        self.standing.upgrade_with(upgrading);
    }

    /// Adds what is the daemon's own, and has it handed over while nobody changes it.
    fn hand_over(
        &self,
        writer: HandoverWriter,
        mut state: DaemonState,
        hand_over: &mut HandOver<'_>,
    ) -> Result<(), String> {
        let errands = lock(&self.errands);
        state.pending = *errands;
        state.had_terminal = self.had_terminal;
        let control = lock(&self.control);
        let Some(control) = &*control else {
            hand_over(writer, state);
            return Ok(());
        };
        let held = control.hold(CLIENT_STEP_MAX);
        let held = held.ok_or("a client of the control socket doesn't read its answer")?;
        state.control = control.socket().and_then(|socket| socket.to_hand_over());
        state.peers = held.peers();
        hand_over(writer, state);
        Ok(())
    }

    /// Has a server tell its signals; `readiness` says whether it takes requests.
    pub(super) fn attach(
        self: &Arc<Self>,
        builder: Builder,
        readiness: impl Fn() -> ServerReadiness + Send + Sync + 'static,
    ) -> Builder {
        let life = Arc::clone(self);
        self.standing.set_readiness(readiness);
        let manager = self.manager.clone();
        builder
            .on_signal(move |server, signal| life.signalled(server, signal))
            .on_stopping(move |_| {
                if let Some(manager) = &manager {
                    manager.stopping();
                }
            })
    }

    /// Begins, now that the server's address and its data are its own; `false` if that failed, and the
    /// server stops.
    pub(super) fn started(self: &Arc<Self>, server: &WorkerHandle) -> bool {
        self.standing.meet(server.handle());
        // The server heeds them from here on.
        let has_hung_up = self.signals.take_hangup();
        self.has_hung_up.store(has_hung_up, Ordering::Release);
        let thawed = lock(&self.thawed).take();
        let began = match thawed {
            Some(thawed) => self.take_over(&thawed),
            None => self.begin(),
        };
        let began = began.and_then(|()| self.start_errands());
        if let Err(error) = began {
            server.fail("the daemon could not begin");
            *lock(&self.failure) = Some(error);
            return false;
        }
        let life = Arc::clone(self);
        // A timer fires once reactors and workers run: then the server is ready.
        server.after(0, move |server| life.ready(server));
        true
    }

    fn ready(&self, server: &WorkerHandle) {
        self.report.ready();
        if let Some(manager) = &self.manager {
            manager.ready(&serving(&server.handle()));
            if let Some(every) = manager.watchdog_every() {
                let manager = manager.clone();
                // As a timer of the server, so that it stops when reactors or workers are stuck.
                server.tick(every.as_millis() as u64, move |_| manager.alive());
            }
        }
        if self.has_hung_up.load(Ordering::Acquire) {
            self.signalled(server, ServerSignal::Hangup);
        }
    }

    fn begin(self: &Arc<Self>) -> anyhow::Result<()> {
        if let Some(path) = &self.control_path {
            self.answer_at(ControlSocket::bind(path)?, Vec::new())?;
        }
        if let Some(path) = &self.pid_path {
            let written = PidFile::write(path);
            let what = || format!("can't write the PID file {}", path.display());
            *lock(&self.pid_file) = Some(written.with_context(what)?);
        }
        Ok(())
    }

    /// Goes on with what an image of the program before this one has handed over.
    fn take_over(self: &Arc<Self>, thawed: &ThawedDaemon) -> anyhow::Result<()> {
        let outcome = thawed.outcome();
        self.standing.upgraded(&outcome);
        if let Some(control) = thawed.control(&outcome) {
            self.answer_at(control.socket, control.asked)?;
        }
        if let Some(manager) = &self.manager {
            manager.relax();
        }
        let pid_file = self.pid_path.as_deref().map(PidFile::taken_over);
        *lock(&self.pid_file) = pid_file;
        Ok(())
    }

    /// Starts to answer at a control socket, also clients that have asked already.
    fn answer_at(
        &self,
        socket: ControlSocket,
        asked: Vec<(UnixStream, Vec<u8>)>,
    ) -> anyhow::Result<()> {
        let standing = Arc::clone(&self.standing);
        let answers = move |question, reply: &mut Reply| standing.answer(question, reply);
        let control = ControlServer::start(socket, asked, answers);
        *lock(&self.control) = Some(control.context("can't start a thread")?);
        Ok(())
    }

    fn start_errands(self: &Arc<Self>) -> anyhow::Result<()> {
        let life = Arc::clone(self);
        let thread = std::thread::Builder::new().name("errands".into());
        let started = thread.spawn(move || life.run_errands());
        started.context("can't start a thread")?;
        Ok(())
    }

    /// Ends, and gives the outcome of the daemon.
    pub(super) fn ended(
        &self,
        outcome: anyhow::Result<ServerOutcome>,
    ) -> anyhow::Result<ServerOutcome> {
        drop(lock(&self.pid_file).take());
        self.standing.end(&outcome);
        if let Some(control) = lock(&self.control).take() {
            control.finish(ANSWERS_MAX);
        }
        match lock(&self.failure).take() {
            Some(error) => Err(error),
            None => outcome,
        }
    }

    fn signalled(&self, server: &WorkerHandle, signal: ServerSignal) {
        match signal {
            ServerSignal::Hangup if self.had_terminal && !has_terminal() => {
                tracing::info!("SIGHUP: the terminal is gone, stopping gracefully");
                server.stop();
            }
            ServerSignal::Hangup => {
                tracing::info!("SIGHUP: the settings are read anew");
                self.ask(|pending| pending.reload = true);
            }
            ServerSignal::User1 => {
                tracing::info!("SIGUSR1: the workers and the processes are renewed");
                self.ask(|pending| {
                    pending.renew = true;
                    pending.reopen_log = true;
                });
            }
            ServerSignal::User2 => {
                tracing::info!("SIGUSR2: the program is replaced");
                self.ask(|pending| pending.upgrade = true);
            }
        }
    }

    fn ask(&self, note: impl FnOnce(&mut PendingErrands)) {
        self.note(note);
        self.asked.notify_one();
    }

    fn note(&self, note: impl FnOnce(&mut PendingErrands)) {
        note(&mut lock(&self.errands));
    }

    /// Each errand is noted until it begins: what waits for an upgrade to end is done by the next image.
    fn run_errands(&self) {
        loop {
            let mut pending = lock(&self.errands);
            while pending.is_none() {
                pending = match self.asked.wait(pending) {
                    Ok(pending) => pending,
                    Err(poisoned) => poisoned.into_inner(),
                };
            }
            let errands = *pending;
            drop(pending);
            // Before the log is opened: whoever asks meanwhile has moved a newer file away.
            if errands.reopen_log {
                self.note(|pending| pending.reopen_log = false);
            }
            let mut is_reloaded = false;
            if errands.reload {
                let begins = || self.note(|pending| pending.reload = false);
                is_reloaded = self.standing.reload(ReloadScope::Swap, begins)["ok"] == true;
            }
            // A reload opens the log anew; a refused one must not keep the file that was moved away.
            if (errands.reload || errands.reopen_log) && !is_reloaded && self.log_file.is_some() {
                self.reopen_log();
            }
            if errands.renew {
                let begins = || self.note(|pending| pending.renew = false);
                // How it ends is logged.
                self.standing.renew(begins);
            }
            if errands.upgrade {
                let begins = || self.note(|pending| pending.upgrade = false);
                // It says in the log how it went.
                (self.standing).upgrade(&UpgradeOrder::default(), begins, |_| {});
            }
        }
    }

    fn reopen_log(&self) {
        let Some(path) = &self.log_file else {
            return;
        };
        match OpenLogFile::open(path).and_then(OpenLogFile::take_over) {
            Ok(()) => tracing::info!(path = %path.display(), "the log file was opened anew"),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "can't open the log file anew");
            }
        }
    }
}

/// Has a server listen where TLS is spoken.
pub(super) fn listening_tls(
    builder: Builder,
    listen: &ListenAddresses,
    certificates: Option<&Arc<TlsCertificates>>,
) -> Builder {
    let Some(certificates) = certificates else {
        return builder;
    };
    (listen.0.iter()).fold(builder, |builder, one| {
        builder.listen_tls(one.to_string(), Arc::clone(certificates))
    })
}

/// Makes the certificates of a server, which a reload replaces.
pub(super) fn certificates(plan: Option<&TlsPlan>) -> anyhow::Result<Option<Arc<TlsCertificates>>> {
    let made = plan.map(|plan| plan.certificates().map(Arc::new));
    made.transpose()
}

/// Prepares the other certificates of a reload; they were checked when they were read.
pub(super) fn replacing(
    certificates: Option<&Arc<TlsCertificates>>,
    next: Option<&TlsPlan>,
) -> impl FnOnce() + Send + use<> {
    let both = certificates.cloned().zip(next.cloned());
    move || {
        if let Some((certificates, next)) = both
            && let Err((_, error)) = certificates.replace(&next.pairs, next.oldest)
        {
            tracing::error!(%error, "the certificates stay what they are");
        }
    }
}

/// Has a server listen on the sockets that the program was started with, or else on the addresses of the settings.
pub(super) fn listening(
    builder: Builder,
    general: &GeneralSection,
    sockets: Vec<TcpListener>,
) -> Builder {
    let builder = builder.unix_mode(general.unix_mode.0);
    match sockets.is_empty() {
        true => {
            (general.listen.0.iter()).fold(builder, |builder, one| builder.listen(one.to_string()))
        }
        false => sockets.into_iter().fold(builder, Builder::listener),
    }
}
