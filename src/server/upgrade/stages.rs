//! The stages of an upgrade: choose, rehearse, freeze, execute. Up to the execution each failure leaves
//! the server as it was, and says why.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::error::UpgradeError;
use super::images::Image;
use super::kernel::{DescriptorKind, sealed_memory};
use super::memory::memory_for;
use super::rehearsal::{RehearsalCall, Rehearsed, rehearse};
use super::replacement::{Images, execute_next, name_descriptors};
use crate::base::vital::wait_while_told;
use crate::handover::{HandoverHead, HandoverWriter};
use crate::net::command::{Command, CommandBatch, EncryptedOrder};
use crate::server::freeze::{FreezeErrand, FreezeTimes, FrozenServer};
use crate::server::handle::Handle;

/// Time in which encrypted connections may leave before an upgrade; then they are cut.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);

/// Time between two looks at them: 40 in all.
const LEAVE_LOOK: Duration = Duration::from_millis(50);

/// A handover that is complete but for the list of its descriptors.
#[derive(Debug)]
pub struct Collected {
    /// The sections.
    pub writer: HandoverWriter,
    /// What it says about this image.
    pub head: HandoverHead,
    /// The descriptors that are carried.
    pub kept: Vec<(RawFd, DescriptorKind)>,
}

/// What is done with a handover once it is collected, on the main thread.
pub type HandOver<'a> = dyn FnMut(Collected) + 'a;

/// Collects the handover of a server that stands still, and has it handed over. While that is done nothing
/// of it changes.
pub type Collect =
    dyn Fn(&mut FrozenServer<'_>, &mut HandOver<'_>) -> Result<(), String> + Send + Sync;

/// An upgrade.
pub struct UpgradeCourse<'a> {
    /// The server whose program is replaced.
    pub server: &'a Handle,
    /// The file of the next image.
    pub next: PathBuf,
    /// Whether the program stays, whatever the rehearsal says.
    pub is_check: bool,
    /// The version of this program.
    pub version: &'a str,
    /// The way in which a program is told to rehearse.
    pub call: RehearsalCall,
    /// Collects what is handed over.
    pub collect: Arc<Collect>,
    /// Called just before the next image is executed.
    pub at_last: fn(),
    /// Called with what is done next, for people.
    pub progress: &'a mut dyn FnMut(&str),
}

/// A rehearsed upgrade.
#[derive(Debug)]
pub struct RehearsedUpgrade {
    next: Image,
    own: Image,
    /// The version of the next image.
    pub version: String,
    /// Bytes of the trial handover.
    pub handover_bytes: usize,
}

impl fmt::Debug for UpgradeCourse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeCourse")
            .field("next", &self.next)
            .field("is_check", &self.is_check)
            .finish_non_exhaustive()
    }
}

impl UpgradeCourse<'_> {
    /// Replaces the program; it returns if the program stays. Not to be called on a thread of the server.
    ///
    /// # Errors
    ///
    /// The reason for which it stays; [`UpgradeCourse::is_check`] is none.
    pub fn run(&mut self) -> Result<RehearsedUpgrade, UpgradeError> {
        let rehearsed = self.rehearse()?;
        if self.is_check {
            return Ok(rehearsed);
        }
        wait_while_told("rehearsed");
        rehearsed.next.is_unchanged()?;
        (self.progress)(&format!("upgrading to {}", rehearsed.version));
        tracing::info!(from = self.version, to = rehearsed.version, "upgrading");
        let images = Images {
            next: rehearsed.next.number(),
            own: rehearsed.own.number(),
        };
        let at_last = self.at_last;
        self.leave_encrypted();
        let refused = self.freeze(move |collected| {
            let Collected { writer, head, kept } = collected;
            execute_next(writer, &head, &kept, images, at_last)
        });
        self.order_encrypted(EncryptedOrder::Accept);
        Err(UpgradeError::Execution(refused?.0))
    }

    /// Closes encrypted connections, which can't be carried: WebSockets with 1012, and what has a request
    /// under way once that is answered, or when the time is over.
    fn leave_encrypted(&mut self) {
        let server = self.server;
        let left = || {
            let counters = server.shared().counters.iter();
            counters.map(|own| own.tls_connections.get()).sum::<u64>()
        };
        let count = left();
        if count > 0 {
            let what = format!("closing {count} connections over TLS, which can't be carried");
            (self.progress)(&what);
            tracing::info!(count, "connections over TLS are closed for the upgrade");
        }
        let began = Instant::now();
        self.order_encrypted(EncryptedOrder::Leave);
        while left() > 0 && began.elapsed() < LEAVE_TIME_MAX {
            std::thread::sleep(LEAVE_LOOK);
            self.order_encrypted(EncryptedOrder::Leave);
        }
        self.order_encrypted(EncryptedOrder::Cut);
        while left() > 0 && began.elapsed() < 2 * LEAVE_TIME_MAX {
            std::thread::sleep(LEAVE_LOOK);
            self.order_encrypted(EncryptedOrder::Cut);
        }
    }

    fn order_encrypted(&self, order: EncryptedOrder) {
        let shared = self.server.shared();
        for reactor in 0..shared.mailboxes.len() {
            shared.send(reactor, CommandBatch::of(Command::Encrypted(order)));
        }
    }

    /// Has both images take over a trial handover.
    fn rehearse(&mut self) -> Result<RehearsedUpgrade, UpgradeError> {
        let path = &self.next;
        let next = Image::open(path)?;
        let own = Image::own()?;
        (self.progress)(&format!("rehearsing {}", path.display()));
        let (trial, size) = self.trial()?;
        let report = rehearse(&next, (self.call, Rehearsed::Next), &trial);
        let report = report.map_err(|source| UpgradeError::Rehearsal {
            path: path.clone(),
            source,
        })?;
        tracing::info!(
            version = report.version,
            ms = report.took.as_millis() as u64,
            bytes = size,
            "the next image has rehearsed the upgrade"
        );
        rehearse(&own, (self.call, Rehearsed::Own), &trial).map_err(UpgradeError::WayBack)?;
        Ok(RehearsedUpgrade {
            next,
            own,
            version: report.version,
            handover_bytes: size,
        })
    }

    /// Makes a handover of the server as it is now, which goes on at once.
    fn trial(&self) -> Result<(OwnedFd, usize), UpgradeError> {
        let shared = self.server.shared();
        memory_for(0)?;
        let (bytes, times) = self.freeze(|collected| collected.writer.finish(&collected.head))?;
        memory_for(bytes.len())?;
        let (ms, ms_max) = (times.stood.as_millis(), shared.main.times.pause_ms_max());
        if ms > ms_max.into() {
            return Err(UpgradeError::Pause { ms, ms_max });
        }
        let memory = sealed_memory(&bytes);
        let memory = memory.map_err(UpgradeError::system("no memory for a trial"))?;
        Ok((memory, bytes.len()))
    }

    /// Has everything stand still, and calls `work` on the main thread with all that is handed over.
    fn freeze<T: Send + 'static>(
        &self,
        work: impl FnOnce(Collected) -> T + Send + 'static,
    ) -> Result<(T, FreezeTimes), UpgradeError> {
        let collect = Arc::clone(&self.collect);
        let (worker, worked) = channel();
        let (teller, told) = channel();
        let while_still = move |frozen: &mut FrozenServer<'_>| {
            // Whoever waits for it is there until then.
            _ = worker.send(collected_for(&*collect, frozen, work));
        };
        let ended = move |outcome| _ = teller.send(outcome);
        (self.server).freeze(FreezeErrand::new(while_still, ended));
        let times = told.recv().map_err(|_| UpgradeError::Stopping)??;
        let worked = worked.recv().map_err(|_| UpgradeError::Stopping)?;
        Ok((worked.map_err(UpgradeError::NotCarried)?, times))
    }
}

/// Collects the handover of a server that stands still, and calls `work` with it.
fn collected_for<T>(
    collect: &Collect,
    frozen: &mut FrozenServer<'_>,
    work: impl FnOnce(Collected) -> T,
) -> Result<T, String> {
    let (mut work, mut worked) = (Some(work), None);
    let mut hand_over = |mut collected: Collected| {
        name_descriptors(&mut collected.writer, &collected.kept);
        // The whole takes as much once more, and so does its file.
        let has_room = memory_for(collected.writer.size()).map_err(|error| error.to_string());
        worked = work.take().map(|work| has_room.map(|()| work(collected)));
    };
    collect(frozen, &mut hand_over)?;
    worked.unwrap_or_else(|| Err("nothing was handed over".to_owned()))
}
