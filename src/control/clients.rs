//! The clients of a control socket that are there, as the next image of the program can take them over:
//! their descriptors, and what they have asked so far.
//!
//! A client reads and writes by [`Clients::step`], so that [`Clients::hold`] finds each of them between
//! two steps: what was read is noted, and what was answered is answered in full.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

use tidings::base::sync::lock;

/// Pause between two looks at whether all clients are between two steps.
const HOLD_AGAIN: Duration = Duration::from_millis(1);

/// A client, as the next image can take it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPeer {
    /// Its descriptor, which stays this process's own.
    pub descriptor: RawFd,
    /// What it has asked so far.
    pub asked: Vec<u8>,
    /// Whether the answer to its question is the outcome of the upgrade.
    pub awaits_upgrade: bool,
}

/// The clients that are there.
#[derive(Debug, Default)]
pub(super) struct Clients {
    peers: Mutex<PeerTable>,
    /// Notified when one has gone.
    gone: Condvar,
    /// Held for reading by each step, and for writing while nobody takes one.
    steps: RwLock<()>,
}

#[derive(Debug, Default)]
struct PeerTable {
    next: u64,
    peers: BTreeMap<u64, ControlPeer>,
}

/// Nobody reads or writes while this lives.
#[derive(Debug)]
pub struct HeldClients<'a> {
    clients: &'a Clients,
    _steps: RwLockWriteGuard<'a, ()>,
}

impl HeldClients<'_> {
    /// Lists those that have no answer yet.
    #[must_use]
    pub fn peers(&self) -> Vec<ControlPeer> {
        lock(&self.clients.peers).peers.values().cloned().collect()
    }
}

impl Clients {
    /// Adds a client, unless there are `max`; returns its number.
    pub(super) fn add(&self, descriptor: RawFd, max: usize) -> Option<u64> {
        let mut table = lock(&self.peers);
        if table.peers.len() >= max {
            return None;
        }
        let number = table.next;
        table.next += 1;
        let peer = ControlPeer {
            descriptor,
            asked: Vec::new(),
            awaits_upgrade: false,
        };
        table.peers.insert(number, peer);
        Some(number)
    }

    pub(super) fn remove(&self, number: u64) {
        lock(&self.peers).peers.remove(&number);
        self.gone.notify_all();
    }

    /// Notes something of a client.
    pub(super) fn note(&self, number: u64, note: impl FnOnce(&mut ControlPeer)) {
        if let Some(peer) = lock(&self.peers).peers.get_mut(&number) {
            note(peer);
        }
    }

    /// Begins a step; [`Clients::hold`] waits for its end.
    pub(super) fn step(&self) -> RwLockReadGuard<'_, ()> {
        match self.steps.read() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Waits until nobody takes a step, but no longer than `time`.
    pub(super) fn hold(&self, time: Duration) -> Option<HeldClients<'_>> {
        let until = Instant::now() + time;
        loop {
            match self.steps.try_write() {
                Ok(steps) => {
                    return Some(HeldClients {
                        clients: self,
                        _steps: steps,
                    });
                }
                Err(TryLockError::Poisoned(poisoned)) => {
                    return Some(HeldClients {
                        clients: self,
                        _steps: poisoned.into_inner(),
                    });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(HOLD_AGAIN);
                }
                Err(TryLockError::WouldBlock) => return None,
            }
        }
    }

    /// Waits until all clients have gone, but no longer than `time`.
    pub(super) fn wait_until_none(&self, time: Duration) {
        let table = lock(&self.peers);
        // A lock that is poisoned, or clients that are left: the process ends all the same.
        drop(
            self.gone
                .wait_timeout_while(table, time, |table| !table.peers.is_empty()),
        );
    }
}
