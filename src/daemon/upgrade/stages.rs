//! The stages of an upgrade: choose, rehearse, freeze, execute. Up to the execution each failure leaves
//! the server as it was, and says why.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use tidings::base::clock::unix_ms;
use tidings::base::sync::lock;
use tidings::base::vital::wait_while_told;
use tidings::handover::{HandoverHead, HandoverWriter};
use tidings::server::upgrade::kernel::{DescriptorKind, sealed_memory};
use tidings::server::upgrade::{Images, execute_next, name_descriptors};
use tidings::server::{FreezeErrand, FreezeTimes, FrozenServer, Handle};

use super::images::{Image, started_by};
use super::pause::now_us;
use super::rehearsal::{Rehearsed, memory_for, rehearse};
use super::state::{DAEMON, DaemonState};
use crate::output;
use crate::version::version;

/// Time for the last lines of the log of this image.
const LOG_MAX: Duration = Duration::from_millis(50);

/// The longest stand that is foreseen and dared.
const STAND_MAX: Duration = Duration::from_secs(2);

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

/// A rehearsed upgrade.
struct RehearsedUpgrade {
    next: Image,
    own: Image,
    version: String,
    handover_bytes: usize,
}

/// A handover that is complete but for its end.
struct Collected {
    writer: HandoverWriter,
    head: HandoverHead,
    kept: Vec<(RawFd, DescriptorKind)>,
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
        match self.try_upgrade(server, state, order, &mut progress) {
            Ok(rehearsed) => json!({
                "ok": true,
                "from": from,
                "to": rehearsed.version,
                "handover_bytes": rehearsed.handover_bytes,
            }),
            Err(error) => {
                let error = format!("{error:#}");
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

    fn try_upgrade(
        &self,
        server: &Handle,
        state: DaemonState,
        order: &UpgradeOrder,
        progress: &mut dyn FnMut(&str),
    ) -> anyhow::Result<RehearsedUpgrade> {
        let rehearsed = self.rehearse(server, state.clone(), order, progress)?;
        if order.is_check {
            return Ok(rehearsed);
        }
        wait_while_told("rehearsed");
        rehearsed.next.is_unchanged()?;
        progress(&format!("upgrading to {}", rehearsed.version));
        tracing::info!(from = version(), to = rehearsed.version, "upgrading");
        let images = Images {
            next: rehearsed.next.number(),
            own: rehearsed.own.number(),
        };
        let refused = self.freeze(server, state, move |collected| {
            let Collected { writer, head, kept } = collected;
            execute_next(writer, &head, &kept, images, || output::flush(LOG_MAX))
        });
        Err(anyhow!(refused?.0)).context("the system refuses to execute the next image")
    }

    /// Has both images take over a trial handover.
    fn rehearse(
        &self,
        server: &Handle,
        state: DaemonState,
        order: &UpgradeOrder,
        progress: &mut dyn FnMut(&str),
    ) -> anyhow::Result<RehearsedUpgrade> {
        let path = order.binary.as_deref().unwrap_or(&self.started_by);
        let next = Image::open(path)?;
        let own = Image::own()?;
        progress(&format!("rehearsing {}", path.display()));
        let (trial, size) = self.trial(server, state)?;
        let what = || format!("{} can't take over", path.display());
        let report = rehearse(&next, Rehearsed::Next, &trial).with_context(what)?;
        tracing::info!(
            version = report.version,
            ms = report.took.as_millis() as u64,
            bytes = size,
            "the next image has rehearsed the upgrade"
        );
        rehearse(&own, Rehearsed::Own, &trial).context("there would be no way back")?;
        Ok(RehearsedUpgrade {
            next,
            own,
            version: report.version,
            handover_bytes: size,
        })
    }

    /// Makes a handover of the server as it is now, which goes on at once.
    fn trial(&self, server: &Handle, state: DaemonState) -> anyhow::Result<(OwnedFd, usize)> {
        memory_for(0)?;
        let (bytes, times) = self.freeze(server, state, |collected| {
            collected.writer.finish(&collected.head)
        })?;
        memory_for(bytes.len())?;
        if times.stood > STAND_MAX {
            bail!(
                "everything would stand still for longer than {} ms: it did so for {} in a trial",
                STAND_MAX.as_millis(),
                times.stood.as_millis()
            );
        }
        let memory = sealed_memory(&bytes).context("no memory for a trial")?;
        Ok((memory, bytes.len()))
    }

    /// Has everything stand still, and calls `work` on the main thread with all that is handed over.
    fn freeze<T: Send + 'static>(
        &self,
        server: &Handle,
        state: DaemonState,
        work: impl FnOnce(Collected) -> T + Send + 'static,
    ) -> anyhow::Result<(T, FreezeTimes)> {
        let collect = Arc::clone(&self.collect);
        let (worker, worked) = channel();
        let (teller, told) = channel();
        let while_still = move |frozen: &mut FrozenServer<'_>| {
            // Whoever waits for it is there until then.
            _ = worker.send(collected_for(&*collect, frozen, state, work));
        };
        let ended = move |outcome| _ = teller.send(outcome);
        server.freeze(FreezeErrand::new(while_still, ended));
        let times = told.recv().context("the server is stopping")?;
        let times = times.context("the server could not be brought to a stand")?;
        let worked = worked.recv().context("the server is stopping")?;
        Ok((worked.map_err(|reason| anyhow!(reason))?, times))
    }
}

/// Collects the handover of a server that stands still, and calls `work` with it.
fn collected_for<T>(
    collect: &Collect,
    frozen: &mut FrozenServer<'_>,
    state: DaemonState,
    work: impl FnOnce(Collected) -> T,
) -> Result<T, String> {
    let mut writer = HandoverWriter::new();
    let server = frozen.hand_over(&mut writer)?;
    let state = DaemonState {
        stood_since_us: now_us().saturating_sub(server.hushed.as_micros() as u64),
        connections: server.connections,
        ..state
    };
    let (mut work, mut worked) = (Some(work), None);
    let mut hand_over = |mut writer: HandoverWriter, state: DaemonState| {
        state.write(writer.section_of(DAEMON));
        let mut kept = server.descriptors.clone();
        kept.extend(state.descriptors());
        name_descriptors(&mut writer, &kept);
        let head = HandoverHead {
            program: version().to_owned(),
            ..server.head.clone()
        };
        let collected = Collected { writer, head, kept };
        worked = work.take().map(|work| work(collected));
    };
    collect(frozen, writer, state, &mut hand_over)?;
    worked.ok_or_else(|| "nothing was handed over".to_owned())
}
