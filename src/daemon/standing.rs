//! How a daemon is: its answers to those who ask on its control socket.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::api::health::ServerReadiness;
use tidings::base::clock::unix_ms;
use tidings::base::sync::lock;
use tidings::server::{Handle, ServerOutcome};

use super::errand_counts::{self, Errand};
use super::reload::{ReloadScope, Reloading};
use super::upgrade::{DaemonState, UpgradeOrder, Upgrading};
use crate::config::Purpose;
use crate::control::{Question, Reply};
use crate::service::ServiceManager;
use crate::version::version;

/// The time without a sign of life that a service manager has to bear during an upgrade: two rehearsals,
/// and what comes after.
const WATCHDOG_STRETCHED: Duration = Duration::from_secs(90);

type Readiness = Box<dyn Fn() -> ServerReadiness + Send + Sync>;

/// What a daemon knows of itself.
pub(super) struct Standing {
    /// "server" or "gateway".
    kind: &'static str,
    config: Option<PathBuf>,
    started_unix_ms: u64,
    server: OnceLock<Handle>,
    reloading: OnceLock<Reloading>,
    upgrading: OnceLock<Upgrading>,
    readiness: OnceLock<Readiness>,
    /// The service manager, if one wants to be told.
    manager: Option<ServiceManager>,
    /// When and how the last renewal ended.
    last_renewal: Mutex<Value>,
    /// How it ended, once it has.
    end: Mutex<Option<Value>>,
    /// Notified when it has ended.
    ended: Condvar,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing").finish_non_exhaustive()
    }
}

impl Standing {
    pub(super) fn new(
        purpose: Purpose,
        config: Option<PathBuf>,
        manager: Option<ServiceManager>,
        started_unix_ms: u64,
    ) -> Self {
        Self {
            kind: match purpose {
                Purpose::Gateway => "gateway",
                Purpose::Serve | Purpose::Reading | Purpose::Cluster => "server",
            },
            config: config.map(|path| std::path::absolute(&path).unwrap_or(path)),
            started_unix_ms,
            server: OnceLock::new(),
            reloading: OnceLock::new(),
            upgrading: OnceLock::new(),
            readiness: OnceLock::new(),
            manager,
            last_renewal: Mutex::default(),
            end: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    pub(super) fn set_readiness(
        &self,
        readiness: impl Fn() -> ServerReadiness + Send + Sync + 'static,
    ) {
        // Only set here, and only once.
        _ = self.readiness.set(Box::new(readiness));
    }

    /// Learns how to read the settings again.
    pub(super) fn reload_with(&self, reloading: Reloading) {
        // Only set here, and only once.
        _ = self.reloading.set(reloading);
    }

    /// Learns how to replace the program.
    pub(super) fn upgrade_with(&self, upgrading: Upgrading) {
        // Only set here, and only once.
        _ = self.upgrading.set(upgrading);
    }

    /// Notes how the upgrade ended that began with the image before.
    pub(super) fn upgraded(&self, outcome: &Value) {
        if let Some(upgrading) = self.upgrading.get() {
            upgrading.ended(outcome.clone());
        }
    }

    /// Replaces the program; it answers if the program stays. `begins` is called once nothing else is under
    /// way.
    pub(super) fn upgrade(
        &self,
        order: &UpgradeOrder,
        begins: impl FnOnce(),
        progress: impl FnMut(&str),
    ) -> Value {
        let (Some(reloading), Some(upgrading), Some(server)) = (
            self.reloading.get(),
            self.upgrading.get(),
            self.server.get(),
        ) else {
            begins();
            return json!({"ok": false, "error": "it is just starting"});
        };
        let manager = self.manager.as_ref().filter(|_| !order.is_check);
        if let Some(manager) = manager {
            manager.reloading();
            manager.stretch(WATCHDOG_STRETCHED);
        }
        let answer = reloading.meanwhile(|state| {
            begins();
            let state = DaemonState {
                started_unix_ms: self.started_unix_ms,
                ..state
            };
            upgrading.upgrade(server, state, order, progress)
        });
        if let Some(manager) = manager {
            manager.relax();
            let error = answer["error"].as_str().unwrap_or_default();
            let serving = serving(server);
            manager.ready(&format!("{serving}; the last upgrade was refused: {error}"));
        }
        answer
    }

    /// Reads the settings anew; `begins` is called once nothing else is under way.
    pub(super) fn reload(&self, scope: ReloadScope, begins: impl FnOnce()) -> Value {
        let (Some(reloading), Some(server)) = (self.reloading.get(), self.server.get()) else {
            begins();
            return json!({"ok": false, "error": "it is just starting"});
        };
        let manager = self.manager.as_ref().filter(|_| scope == ReloadScope::Swap);
        if let Some(manager) = manager {
            manager.reloading();
        }
        let answer = reloading.reload(scope, begins);
        if let Some(manager) = manager {
            // Also after a failure: a manager waits for it, and the old settings are in force.
            let serving = serving(server);
            manager.ready(&match answer["error"].as_str() {
                None => serving,
                Some(error) => format!("{serving}; the last reload: {error}"),
            });
        }
        answer
    }

    /// Renews the workers and the processes. `begins` is called once nothing else is under way.
    pub(super) fn renew(&self, begins: impl FnOnce()) -> Value {
        let (Some(reloading), Some(server)) = (self.reloading.get(), self.server.get()) else {
            begins();
            return json!({"ok": false, "error": "it is just starting"});
        };
        let answer = reloading.meanwhile(|_| {
            begins();
            renewed(server)
        });
        let is_ok = answer["ok"] == true;
        errand_counts::count(Errand::Renewal, is_ok);
        let error = &answer["error"];
        *lock(&self.last_renewal) = json!({"unix_ms": unix_ms(), "ok": is_ok, "error": error});
        answer
    }

    /// Learns the server, once it listens.
    pub(super) fn meet(&self, server: Handle) {
        self.server.get_or_init(|| server);
    }

    /// Notes how the daemon ended.
    pub(super) fn end(&self, outcome: &anyhow::Result<ServerOutcome>) {
        *lock(&self.end) = Some(match outcome {
            Ok(outcome) => outcome_json(outcome),
            Err(error) => json!({"ok": false, "error": format!("{error:#}")}),
        });
        self.ended.notify_all();
    }

    /// Answers a question; that to stop once the daemon has ended.
    pub(super) fn answer(&self, question: Question, reply: &mut Reply) -> Value {
        let Some(server) = self.server.get() else {
            return json!({"ok": false, "error": "it is just starting"});
        };
        match question {
            Question::Status => self.status(server),
            Question::Reload => self.reload(ReloadScope::Swap, || {}),
            Question::CheckReload => self.reload(ReloadScope::Check, || {}),
            Question::Renew => self.renew(|| {}),
            Question::Upgrade { binary, is_check } => {
                let order = UpgradeOrder { binary, is_check };
                // From its first line on this client's upgrade is the one that takes place.
                let progress = |text: &str| {
                    reply.awaits_upgrade(!is_check);
                    reply.line(&json!({"progress": text}));
                };
                let answer = self.upgrade(&order, || {}, progress);
                reply.awaits_upgrade(false);
                answer
            }
            Question::Stop => {
                tracing::info!("asked to stop by the control socket: stopping gracefully");
                server.stop();
                self.wait_for_end()
            }
            Question::StopNow => {
                tracing::warn!("asked to stop at once by the control socket");
                server.stop_now();
                self.wait_for_end()
            }
        }
    }

    fn status(&self, server: &Handle) -> Value {
        let readiness = self.readiness.get().map(|readiness| readiness());
        let (state, reason) = match readiness.unwrap_or(ServerReadiness::Stopping) {
            ServerReadiness::Ready => ("ready", None),
            ServerReadiness::Unready(reason) => ("unready", Some(reason)),
            ServerReadiness::Stopping => ("stopping", None),
        };
        let addresses = server.listening().iter().map(ToString::to_string);
        let encrypted = server.listening_tls().iter().map(ToString::to_string);
        let reloading = self.reloading.get().map(Reloading::described);
        let (settings, last_reload) = reloading.unwrap_or_default();
        json!({
            "kind": self.kind,
            "pid": std::process::id(),
            "version": version(),
            "state": state,
            "reason": reason,
            "started_unix_ms": self.started_unix_ms,
            "uptime_ms": server.stats().uptime_ms,
            "listen": addresses.collect::<Vec<_>>(),
            "listen_tls": encrypted.collect::<Vec<_>>(),
            "config": self.config,
            "settings": settings,
            "last_reload": last_reload,
            "last_renewal": *lock(&self.last_renewal),
            "last_upgrade": self.upgrading.get().map(Upgrading::last),
            "connections": server.stats().totals.slots,
        })
    }

    fn wait_for_end(&self) -> Value {
        let mut end = lock(&self.end);
        loop {
            if let Some(end) = &*end {
                return end.clone();
            }
            end = match self.ended.wait(end) {
                Ok(end) => end,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }
}

/// Renews the workers and the processes, and answers what came of it.
fn renewed(server: &Handle) -> Value {
    match server.reload().wait() {
        Ok(outcome) => json!({
            "ok": outcome.is_complete(),
            "error": (!outcome.is_complete()).then(|| outcome.to_string()),
            "workers": outcome.workers_renewed,
            "processes": outcome.processes_renewed,
            "threads_stuck": outcome.threads_stuck,
            "processes_failed": outcome.processes_failed,
        }),
        Err(error) => json!({"ok": false, "error": error.to_string()}),
    }
}

/// The words for a server that serves.
pub(super) fn serving(server: &Handle) -> String {
    let addresses = server.listening().iter().map(ToString::to_string);
    format!("serving on {}", addresses.collect::<Vec<_>>().join(", "))
}

fn outcome_json(outcome: &ServerOutcome) -> Value {
    let ServerOutcome {
        connections_cut,
        requests_unanswered,
        tasks_unfinished,
        threads_stuck,
        is_forced,
        has_failed,
    } = *outcome;
    json!({
        "ok": outcome.is_clean(),
        "connections_cut": connections_cut,
        "requests_unanswered": requests_unanswered,
        "tasks_unfinished": tasks_unfinished,
        "threads_stuck": threads_stuck,
        "is_forced": is_forced,
        "has_failed": has_failed,
    })
}
