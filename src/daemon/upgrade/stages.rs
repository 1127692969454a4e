//! The upgrades of a daemon: what it hands over, and how the last one ended.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::base::clock::unix_ms;
use tidings::base::sync::lock;
use tidings::handover::{HandoverHead, HandoverWriter};
use tidings::server::upgrade::{
    Collected, HandOver as HandOverServer, RehearsalCall, UpgradeCourse, now_us, started_by,
};
use tidings::server::{FrozenServer, Handle};

use super::COMMAND;
use super::state::{DAEMON, DaemonState};
use crate::daemon::errand_counts::{self, Errand};
use crate::output;
use crate::version::version;

/// Time for the last lines of the log of this image.
const LOG_MAX: Duration = Duration::from_millis(50);

/// What is done with a handover once it is collected, on the main thread.
pub(in crate::daemon) type HandOver<'a> = dyn FnMut(HandoverWriter, DaemonState) + 'a;

/// Adds to a handover what isn't the server's: the chat, and what the daemon has beside it. While that is
/// handed over nothing of it changes.
pub(in crate::daemon) type Collect = dyn Fn(&FrozenServer<'_>, HandoverWriter, DaemonState, &mut HandOver<'_>) -> Result<(), String>
    + Send
    + Sync;

/// The upgrades of a daemon, one at a time.
pub(in crate::daemon) struct Upgrading {
    collect: Arc<Collect>,
    arguments: Vec<OsString>,
    started_by: PathBuf,
    /// When and how the last upgrade ended, for `tidings status`.
    last: Mutex<Value>,
    one_at_a_time: Mutex<()>,
}

/// What is asked of an upgrade.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::daemon) struct UpgradeOrder {
    /// The file of the next image, if another one than that of the start.
    pub(in crate::daemon) binary: Option<PathBuf>,
    /// Whether the program stays, whatever the rehearsal says.
    pub(in crate::daemon) is_check: bool,
}

impl fmt::Debug for Upgrading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrading").finish_non_exhaustive()
    }
}

impl Upgrading {
    /// Makes the way to the next image of a daemon that was started with these arguments, or that was
    /// handed over by `before`, which ended the `last` upgrade.
    pub(in crate::daemon) fn new(
        arguments: Vec<OsString>,
        before: Option<&DaemonState>,
        collect: Arc<Collect>,
    ) -> Self {
        if let Some(before) = before {
            errand_counts::go_on_from(&before.errand_counts);
        }
        Self {
            collect,
            arguments,
            started_by: before.map_or_else(started_by, |before| before.started_by.clone()),
            last: Mutex::new(Value::Null),
            one_at_a_time: Mutex::default(),
        }
    }

    /// Describes the last upgrade.
    pub(in crate::daemon) fn last(&self) -> Value {
        lock(&self.last).clone()
    }

    /// Notes how the last upgrade ended.
    pub(in crate::daemon) fn ended(&self, mut how: Value) {
        errand_counts::count(Errand::Upgrade, how["ok"] == true);
        how["unix_ms"] = unix_ms().into();
        *lock(&self.last) = how;
    }

    /// Replaces the program, or tries whether that would work; it returns if the program stays. `state`
    /// is what the daemon hands over of itself, as far as nothing changes it meanwhile.
    pub(in crate::daemon) fn upgrade(
        &self,
        server: &Handle,
        state: DaemonState,
        order: &UpgradeOrder,
        mut progress: impl FnMut(&str),
    ) -> Value {
        let _one_at_a_time = lock(&self.one_at_a_time);
        let from = version();
        let state = DaemonState {
            arguments: self.arguments.clone(),
            started_by: self.started_by.clone(),
            ..state
        };
        let collect = Arc::clone(&self.collect);
        let next = order.binary.as_ref().unwrap_or(&self.started_by);
        let mut course = UpgradeCourse {
            server,
            next: next.clone(),
            is_check: order.is_check,
            version: from,
            call: RehearsalCall::Command(COMMAND),
            collect: Arc::new(move |frozen, hand_over| {
                hand_over_daemon(&*collect, frozen, state.clone(), hand_over)
            }),
            at_last: || output::flush(LOG_MAX),
            progress: &mut progress,
        };
        match course.run() {
            Ok(rehearsed) => json!({
                "ok": true,
                "from": from,
                "to": rehearsed.version,
                "handover_bytes": rehearsed.handover_bytes,
            }),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                if order.is_check {
                    tracing::info!(version = from, "an upgrade would be refused: {error}");
                } else {
                    tracing::error!(version = from, "the program stays what it is: {error}");
                    self.ended(json!({"ok": false, "error": error}));
                }
                json!({"ok": false, "error": error})
            }
        }
    }
}

/// Collects the handover of a daemon that stands still.
fn hand_over_daemon(
    collect: &Collect,
    frozen: &mut FrozenServer<'_>,
    state: DaemonState,
    hand_over: &mut HandOverServer<'_>,
) -> Result<(), String> {
    let mut writer = HandoverWriter::new();
    let server = frozen.hand_over(&mut writer)?;
    let state = DaemonState {
        stood_since_us: now_us().saturating_sub(server.hushed.as_micros() as u64),
        connections: server.connections,
        errand_counts: errand_counts::counts(),
        ..state
    };
    let mut with_daemon = |mut writer: HandoverWriter, state: DaemonState| {
        state.write(writer.section_of(DAEMON));
        let mut kept = server.descriptors.clone();
        kept.extend(state.descriptors());
        let head = HandoverHead {
            program: version().to_owned(),
            ..server.head.clone()
        };
        hand_over(Collected { writer, head, kept });
    };
    collect(frozen, writer, state, &mut with_daemon)
}
