//! A reload: the settings are read anew, and put into force as a whole or not at all.
//!
//! Three steps. What can be wrong is found in the first two, which change nothing: the settings are read
//! as at a start, compared with those in force, and what they need is built. The third step can't fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tidings::api::WithdrawnKeys;
use tidings::base::Rollout;
use tidings::base::clock::unix_ms;
use tidings::base::sync::lock;

use super::errand_counts::{self, Errand};
use super::in_force::{Current, InForce};
use super::upgrade::DaemonState;
use crate::auth::Access;
use crate::config::{
    FileTexts, InForceBy, Loaded, LogLevel, SettingChange, SettingFiles, Settings,
};
use crate::output::OpenLogFile;

/// The number of the settings in force. There is one daemon in a process.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Reads settings from files.
pub type SettingsReader = dyn Fn(&SettingFiles) -> anyhow::Result<Loaded> + Send + Sync;

/// The ways to read settings again, and to change what isn't the daemon's.
pub struct SettingsRenewal {
    /// Reads the settings from the sources of the start, and from these files.
    pub read: Box<SettingsReader>,
    /// Changes the level of the log.
    pub set_log_level: Box<dyn Fn(&LogLevel) + Send + Sync>,
}

/// Time for the owners of settings to take new ones, before a reload names those that are silent: a turn
/// of a reactor or a batch of the disk takes some milliseconds.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The settings that follow those that are in force.
pub(super) struct Succession<'a> {
    pub(super) running: &'a Settings,
    pub(super) next: &'a Loaded,
}

/// Puts settings into force that were prepared, where the daemon's parts have them: it can't fail. Those in
/// [`InForce`] are replaced by the function, before the connections of the keys are closed.
pub(super) type Swap = dyn FnOnce(&WithdrawnKeys, &Rollout, &mut dyn FnMut());

/// Prepares settings for the daemon's parts.
pub(super) type Prepare = dyn Fn(Succession<'_>) -> anyhow::Result<Box<Swap>> + Send + Sync;

/// The settings of a daemon that runs.
pub(super) struct Reloading {
    renewal: SettingsRenewal,
    /// The settings in force; locked for as long as a reload takes, so that there is one at a time.
    running: Mutex<Settings>,
    /// The texts that they were read from.
    texts: Mutex<FileTexts>,
    current: Current,
    prepare: Box<Prepare>,
    /// When and how the last reload ended, for `tidings status`.
    last: Mutex<Value>,
    in_force_since_unix_ms: AtomicU64,
}

/// What a reload changes.
pub(super) struct Reloaded {
    changes: Vec<SettingChange>,
    warnings: Vec<String>,
    /// The owners of settings that haven't taken theirs yet.
    silent: Vec<Arc<str>>,
}

/// Whether a reload puts anything into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReloadScope {
    /// It only says what it would change.
    Check,
    /// It changes the settings in force.
    Swap,
}

impl Reloaded {
    fn answer(&self) -> Value {
        let changes: Vec<&str> = self.changes.iter().map(|change| &*change.what).collect();
        let mut answer = json!({
            "ok": self.silent.is_empty(),
            "changes": changes,
            "warnings": self.warnings,
        });
        if !self.silent.is_empty() {
            let silent = self.silent.join(", ");
            let error = format!(
                "{silent} didn't take the new settings within {} s, and takes them when it comes to it",
                SILENCE_MAX.as_secs()
            );
            answer["error"] = error.into();
        }
        answer
    }
}

/// Lists the keys that were in force and won't be.
pub(super) fn withdrawn_keys(current: &InForce, next: &InForce) -> WithdrawnKeys {
    let (access, next_access) = (&current.access, &next.access);
    WithdrawnKeys {
        api_keys: access.api_keys.missing_in(&next_access.api_keys),
        token_keys: access.tokens.missing_in(&next_access.tokens),
        link_key: !(current.link_keys.missing_in(&next.link_keys)).is_empty(),
    }
}

/// Returns the number of the settings in force.
pub(super) fn generation() -> u64 {
    GENERATION.load(Ordering::Acquire)
}

impl Reloading {
    pub(super) fn new(
        renewal: SettingsRenewal,
        running: (Settings, FileTexts),
        current: Current,
        prepare: Box<Prepare>,
    ) -> Self {
        Self {
            prepare,
            renewal,
            running: Mutex::new(running.0),
            texts: Mutex::new(running.1),
            current,
            last: Mutex::new(Value::Null),
            in_force_since_unix_ms: AtomicU64::new(unix_ms()),
        }
    }

    /// Reads the settings anew, and answers what came of it; `begins` is called once nothing else is under
    /// way.
    pub(super) fn reload(&self, scope: ReloadScope, begins: impl FnOnce()) -> Value {
        let reloaded = self.try_reload(scope, begins);
        let mut answer = match &reloaded {
            Ok(reloaded) => reloaded.answer(),
            Err(error) => json!({"ok": false, "error": format!("{error:#}")}),
        };
        answer["generation"] = generation().into();
        if scope == ReloadScope::Swap {
            self.log(&answer);
            let error = &answer["error"];
            errand_counts::count(Errand::Reload, answer["ok"] == true);
            *lock(&self.last) = json!({"unix_ms": unix_ms(), "ok": answer["ok"], "error": error});
        }
        answer
    }

    /// Goes on with the number of the settings that an image of the program before this one had in force;
    /// a change that came with this one is one more.
    pub(super) fn take_over(&self, state: &DaemonState) {
        let is_changed = *lock(&self.texts) != state.texts;
        GENERATION.store(state.generation + u64::from(is_changed), Ordering::Release);
        if !is_changed {
            let since = state.in_force_since_unix_ms;
            self.in_force_since_unix_ms.store(since, Ordering::Release);
        }
    }

    /// Has nothing reloaded while `work` runs, which is told what the next image has to know.
    pub(super) fn meanwhile<T>(&self, work: impl FnOnce(DaemonState) -> T) -> T {
        let _running = lock(&self.running);
        let state = DaemonState {
            texts: lock(&self.texts).clone(),
            generation: generation(),
            in_force_since_unix_ms: self.in_force_since_unix_ms.load(Ordering::Acquire),
            ..DaemonState::default()
        };
        work(state)
    }

    /// Describes the settings in force and the last reload.
    pub(super) fn described(&self) -> (Value, Value) {
        let since = self.in_force_since_unix_ms.load(Ordering::Acquire);
        let settings = json!({"generation": generation(), "since_unix_ms": since});
        (settings, lock(&self.last).clone())
    }

    fn try_reload(&self, scope: ReloadScope, begins: impl FnOnce()) -> anyhow::Result<Reloaded> {
        let mut running = lock(&self.running);
        begins();
        let next = (self.renewal.read)(&SettingFiles::OnDisk)?;
        let changes = running.changes_to(&next);
        self.refuse(&changes, &next.access)?;
        let log_file = next.settings.log.path().map(|path| {
            let opened = OpenLogFile::open(path);
            opened.with_context(|| format!("can't open the log file {}", path.display()))
        });
        let log_file = log_file.transpose()?;
        let running_now = &*running;
        let succession = Succession {
            running: running_now,
            next: &next,
        };
        let swap = (self.prepare)(succession)?;
        let Loaded {
            settings,
            access,
            warnings,
            texts,
            uplink_key,
            ..
        } = next;
        let in_force = InForce::new(&settings, access, uplink_key.as_ref());
        let mut reloaded = Reloaded {
            changes,
            warnings,
            silent: Vec::new(),
        };
        if scope == ReloadScope::Check {
            return Ok(reloaded);
        }
        if let Some(file) = log_file
            && let Err(error) = file.take_over()
        {
            tracing::error!(%error, "the log goes on in the old file");
        }
        (self.renewal.set_log_level)(&settings.log.level);
        let withdrawn = withdrawn_keys(&self.current.load(), &in_force);
        let mut in_force = Some(Arc::new(in_force));
        let rollout = Rollout::default();
        swap(&withdrawn, &rollout, &mut || {
            if let Some(in_force) = in_force.take() {
                self.current.store(in_force);
                GENERATION.fetch_add(1, Ordering::AcqRel);
            }
        });
        *running = settings;
        *lock(&self.texts) = texts;
        self.in_force_since_unix_ms
            .store(unix_ms(), Ordering::Release);
        reloaded.silent = rollout.wait(SILENCE_MAX);
        Ok(reloaded)
    }

    /// Refuses changes that take more than a reload.
    fn refuse(&self, changes: &[SettingChange], next: &Access) -> anyhow::Result<()> {
        let current = self.current.load();
        let mut refusals: Vec<String> = changes
            .iter()
            .filter(|change| change.by != InForceBy::Reload)
            .map(SettingChange::refusal)
            .collect();
        if current.access.is_open() != next.is_open() {
            refusals.push(
                "from open mode to keys, and back, takes a restart: connections that were let in \
                 without a key would stay"
                    .to_owned(),
            );
        }
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(anyhow::anyhow!(refusals.join("\n"))),
        }
    }

    fn log(&self, answer: &Value) {
        let list = |name: &str| {
            let items = answer[name].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).collect::<Vec<_>>()
        };
        for warning in list("warnings") {
            tracing::warn!("{warning}");
        }
        let generation = generation();
        match answer["error"].as_str() {
            Some(error) if answer["changes"].is_array() => {
                tracing::error!(generation, "the settings were read anew, but {error}");
            }
            Some(error) => {
                tracing::error!(generation, "the settings stay what they are: {error}");
            }
            None => {
                let changes = list("changes").join("; ");
                tracing::info!(generation, changes, "the settings were read anew");
            }
        }
    }
}
