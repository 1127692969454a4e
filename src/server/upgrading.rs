//! The upgrades of a program of the library, as the main thread begins them: one at a time, on a thread of
//! its own, which waits for the rehearsal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::handle::Handle;
use super::shared::ServerShared;
use super::spec::ServerSpec;
use super::threads::spawn;
use super::upgrade::{
    RehearsalCall, ThawedProgram, UpgradableProgram, UpgradeCourse, UpgradeOutcome, chain,
    started_by,
};

/// Why a server that is elsewhere can't be carried: the processes would die, and the system gives the
/// program's number to the main thread alone.
pub(super) const NOT_ON_MAIN: &str = "Builder::run wasn't called on the main thread";

/// Servers in this program.
static SERVERS: AtomicUsize = AtomicUsize::new(0);

/// The upgrades of a server's program.
pub(super) struct Upgrading {
    program: Arc<UpgradableProgram>,
    started_by: PathBuf,
    /// The reason for which each is refused.
    refusal: Option<&'static str>,
    _count: ServerCount,
}

/// Counts a server while it is there.
struct ServerCount;

impl ServerCount {
    fn new() -> Self {
        SERVERS.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for ServerCount {
    fn drop(&mut self) {
        SERVERS.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Upgrading {
    /// Makes the way to the next image of a server, which `is_run` on the thread that called `Builder::run`
    /// or on one of its own.
    pub(super) fn of(spec: &mut ServerSpec, is_run: bool) -> Self {
        let is_on_main = spec.entered.is_some() || (is_run && is_main_thread());
        let refusal = spec.refuses_upgrades();
        let thawed = spec.thawed.as_ref();
        Self {
            started_by: thawed.map_or_else(started_by, |thawed| thawed.state.started_by.clone()),
            refusal: refusal.or((!is_on_main).then_some(NOT_ON_MAIN)),
            program: Arc::new(std::mem::take(&mut spec.upgradable)),
            _count: ServerCount::new(),
        }
    }

    /// Begins the upgrade that was asked for.
    pub(super) fn advance(&self, server: &Handle) {
        let shared = server.shared();
        if !shared.main.upgrades.begin() {
            return;
        }
        if let Some(reason) = self.refusal() {
            return refuse(shared, reason.to_owned());
        }
        let (program, next) = (Arc::clone(&self.program), self.started_by.clone());
        let (own, server) = (Arc::clone(shared), server.clone());
        let run = move || {
            let upgraded = catch_unwind(AssertUnwindSafe(|| upgrade(&server, program, next)));
            let reason = upgraded.unwrap_or_else(|_| "the upgrade has panicked".to_owned());
            refuse(server.shared(), reason);
        };
        if let Err(error) = spawn("upgrade".into(), run) {
            refuse(&own, format!("can't start a thread: {error}"));
        }
    }

    fn refusal(&self) -> Option<&'static str> {
        let is_alone = SERVERS.load(Ordering::Acquire) == 1;
        let another = "another server runs in this program, which can't be carried";
        self.refusal.or_else(|| (!is_alone).then_some(another))
    }
}

/// Whether this thread is the one that began the program.
pub(super) fn is_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Goes on where the image before stopped, and says so.
pub(super) fn go_on(shared: &ServerShared, thawed: Option<ThawedProgram>) {
    let Some(thawed) = thawed else {
        return;
    };
    let outcome = thawed.outcome();
    match outcome.is_upgraded() {
        true => tracing::info!("{outcome}"),
        false => tracing::error!("{outcome}"),
    }
    shared.main.upgrades.end(outcome);
    if thawed.state.awaits_renewal {
        drop(shared.main.ask_to_renew());
    }
    if thawed.state.awaits_upgrade {
        shared.main.ask_to_upgrade();
    }
}

/// Replaces the program; where it stays, the reason.
fn upgrade(server: &Handle, program: Arc<UpgradableProgram>, next: PathBuf) -> String {
    let (shared, started_by) = (Arc::clone(server.shared()), next.clone());
    let version = program.version.clone().unwrap_or_default();
    let mut progress = |text: &str| tracing::info!("{text}");
    let mut course = UpgradeCourse {
        server,
        next,
        is_check: false,
        version: &version,
        call: RehearsalCall::Variable,
        collect: Arc::new(move |frozen, hand_over| {
            program.hand_over(&shared, &started_by, frozen, hand_over)
        }),
        at_last: || {},
        progress: &mut progress,
    };
    match course.run() {
        Ok(_) => "it was only tried".to_owned(),
        Err(error) => chain(&error),
    }
}

fn refuse(shared: &ServerShared, reason: String) {
    let outcome = UpgradeOutcome::Refused { reason };
    // Whoever reads the log finds it so.
    shared.main.upgrades.end(outcome.clone());
    tracing::error!("{outcome}");
    shared.main.wake();
}
