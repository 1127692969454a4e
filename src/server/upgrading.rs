//! The upgrades of a program of the library, as the main thread begins them: one at a time, on a thread of
//! its own, which waits for the rehearsal.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::handle::Handle;
use super::shared::ServerShared;
use super::threads::spawn;
use super::upgrade::{
    RehearsalCall, ThawedProgram, UpgradableProgram, UpgradeCourse, UpgradeOutcome, chain,
    started_by,
};

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
    /// Makes the way to the next image; each upgrade is refused where there is a `refusal`. `thawed` is what
    /// an image before has handed over.
    pub(super) fn new(
        program: UpgradableProgram,
        refusal: Option<&'static str>,
        thawed: Option<&ThawedProgram>,
    ) -> Self {
        Self {
            program: Arc::new(program),
            started_by: thawed.map_or_else(started_by, |thawed| thawed.state.started_by.clone()),
            refusal,
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

/// Goes on where the image before stopped, and says so.
pub(super) fn go_on(shared: &ServerShared, thawed: &ThawedProgram) {
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
    tracing::error!("{outcome}");
    shared.main.upgrades.end(outcome);
    shared.main.wake();
}
