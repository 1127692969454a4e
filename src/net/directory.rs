//! The directory of connections, which any thread may read without waiting for a reactor.

mod handover;
mod through_proxy;

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::{Fd, PeerAddress, sync};
pub(super) use handover::HandedUsers;
pub use through_proxy::ThroughProxy;

/// Names that are read under one lock: some 10 microseconds' work.
const COLLECTED_MAX: usize = 1_000;

/// The connections of one reactor.
///
/// Only the reactor adds and removes entries; any thread looks up and binds. The lock is held for
/// one look-up, change or step of a page, and no code waits for anything while it holds the lock.
#[derive(Debug, Default)]
pub struct Directory {
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_fd: HashMap<u64, DirectoryEntry, foldhash::fast::FixedState>,
    /// The same names, so that a page of them passes over nobody else.
    in_order: BTreeSet<u64>,
}

/// One connection: its peer, its user, and whether it is an open WebSocket.
#[derive(Debug, Clone)]
pub struct DirectoryEntry {
    /// The user to whom the connection is bound.
    pub user: Option<Arc<str>>,
    peer: Peer,
    /// The time of the accept, in nanoseconds since 1970; 64 bits last until 2554.
    connected_at_ns: u64,
    /// The index of the connection's slot.
    pub(crate) slot: u32,
    /// Whether the connection is a WebSocket whose handshake is done and that has neither got nor
    /// sent a Close.
    pub established: bool,
    /// Whether the WebSocket understands compressed messages.
    pub(crate) deflates: bool,
}

/// A peer's address in 8 or 16 bytes, where a [`SocketAddr`] takes 32.
#[derive(Debug, Clone)]
enum Peer {
    V4(Ipv4Addr, u16),
    V6(Box<SocketAddrV6>),
    Unix,
    /// A proxy has told whom it asks for.
    Told(Box<ThroughProxy>),
}

impl From<PeerAddress> for Peer {
    fn from(peer: PeerAddress) -> Self {
        match peer {
            PeerAddress::Ip(SocketAddr::V4(peer)) => Self::V4(*peer.ip(), peer.port()),
            PeerAddress::Ip(SocketAddr::V6(peer)) => Self::V6(Box::new(peer)),
            PeerAddress::Unix => Self::Unix,
        }
    }
}

impl Peer {
    fn address(&self) -> PeerAddress {
        match self {
            Self::V4(ip, port) => PeerAddress::Ip((*ip, *port).into()),
            Self::V6(peer) => PeerAddress::Ip((**peer).into()),
            Self::Unix => PeerAddress::Unix,
            Self::Told(told) => told.client,
        }
    }
}

impl DirectoryEntry {
    /// Makes the entry of a connection that was just accepted.
    pub(crate) fn new(slot: u32, peer: impl Into<PeerAddress>, connected_at: SystemTime) -> Self {
        let peer: PeerAddress = peer.into();
        let since_1970 = connected_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            user: None,
            peer: Peer::from(peer),
            connected_at_ns: since_1970.as_nanos() as u64,
            slot,
            established: false,
            deflates: false,
        }
    }

    /// Returns the peer's address; behind a proxy that is believed, the one that it told.
    #[must_use]
    pub fn peer(&self) -> PeerAddress {
        self.peer.address()
    }

    /// What a proxy that is believed has told of the peer, if one has.
    #[must_use]
    pub fn through_proxy(&self) -> Option<&ThroughProxy> {
        match &self.peer {
            Peer::Told(told) => Some(told),
            Peer::V4(..) | Peer::V6(_) | Peer::Unix => None,
        }
    }

    /// Returns the moment at which the connection was accepted.
    #[must_use]
    pub fn connected_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.connected_at_ns)
    }
}

/// The reason why a connection couldn't be bound to a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// There is no open WebSocket of this name.
    #[error("no established connection {0}")]
    NotEstablished(Fd),
    /// The connection belongs to another user until it is unbound.
    #[error("connection {0} is bound to another user")]
    BoundToAnother(Fd),
}

impl Directory {
    /// Returns the address that `fd` came from, if it is connected.
    #[must_use]
    pub fn peer(&self, fd: Fd) -> Option<PeerAddress> {
        self.read().by_fd.get(&fd.0).map(DirectoryEntry::peer)
    }

    /// Returns a copy of the entry of `fd`, if it is connected.
    #[must_use]
    pub fn find(&self, fd: Fd) -> Option<DirectoryEntry> {
        self.read().by_fd.get(&fd.0).cloned()
    }

    /// Whether `fd` is connected.
    #[must_use]
    pub fn exists(&self, fd: Fd) -> bool {
        self.read().by_fd.contains_key(&fd.0)
    }

    /// Whether `fd` is an open WebSocket.
    #[must_use]
    pub fn is_established(&self, fd: Fd) -> bool {
        self.read()
            .by_fd
            .get(&fd.0)
            .is_some_and(|entry| entry.established)
    }

    /// Whether `fd` is an open WebSocket that understands compressed messages.
    #[must_use]
    pub fn deflates(&self, fd: Fd) -> bool {
        let entries = self.read();
        let entry = entries.by_fd.get(&fd.0);
        entry.is_some_and(|entry| entry.established && entry.deflates)
    }

    /// Adds to `fds` up to `limit` connections in the order of their names, from the first after
    /// `after`. The lock is held for a few of them at a time.
    pub fn collect_after(&self, after: Fd, limit: usize, fds: &mut Vec<Fd>) {
        let (mut after, mut left) = (after.0, limit);
        while left > 0 {
            let before = fds.len();
            let names = (Bound::Excluded(after), Bound::Unbounded);
            let entries = self.read();
            let step = entries.in_order.range(names).take(left.min(COLLECTED_MAX));
            fds.extend(step.map(|fd| Fd(*fd)));
            drop(entries);
            match fds[before..].last() {
                Some(last) => after = last.0,
                None => return,
            }
            left -= fds.len() - before;
        }
    }

    /// Binds `fd` to `user`; binding it to the same user again changes nothing.
    ///
    /// # Errors
    ///
    /// [`BindError`]; then nothing has changed.
    pub fn bind(&self, fd: Fd, user: &Arc<str>) -> Result<(), BindError> {
        let mut entries = self.write();
        let entry = entries.by_fd.get_mut(&fd.0);
        let entry = entry.filter(|entry| entry.established);
        let entry = entry.ok_or(BindError::NotEstablished(fd))?;
        match &entry.user {
            Some(bound) if bound != user => Err(BindError::BoundToAnother(fd)),
            Some(_) => Ok(()),
            None => {
                entry.user = Some(Arc::clone(user));
                Ok(())
            }
        }
    }

    /// Ends the binding of `fd`; returns the user to whom it was bound.
    pub fn unbind(&self, fd: Fd) -> Option<Arc<str>> {
        self.write().by_fd.get_mut(&fd.0)?.user.take()
    }

    pub(crate) fn insert(&self, fd: Fd, entry: DirectoryEntry) {
        let mut entries = self.write();
        entries.by_fd.insert(fd.0, entry);
        entries.in_order.insert(fd.0);
    }

    pub(crate) fn establish(&self, fd: Fd, deflates: bool) {
        if let Some(entry) = self.write().by_fd.get_mut(&fd.0) {
            entry.established = true;
            entry.deflates = deflates;
        }
    }

    pub(crate) fn unestablish(&self, fd: Fd) {
        if let Some(entry) = self.write().by_fd.get_mut(&fd.0) {
            entry.established = false;
        }
    }

    pub(crate) fn remove(&self, fd: Fd) {
        let mut entries = self.write();
        entries.by_fd.remove(&fd.0);
        entries.in_order.remove(&fd.0);
        // A crowd that left must not leave its table behind.
        if entries.by_fd.is_empty() {
            entries.by_fd.shrink_to_fit();
        }
    }

    /// Locks the directory for reading, so that the reactor can look up slots.
    pub(crate) fn slots(&self) -> SlotsByFd<'_> {
        SlotsByFd(self.read())
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        sync::read(&self.entries)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        sync::write(&self.entries)
    }
}

/// A view of one directory, which can't change while the view exists.
#[derive(Debug)]
pub(crate) struct SlotsByFd<'a>(RwLockReadGuard<'a, Entries>);

impl SlotsByFd<'_> {
    pub(crate) fn slot_of(&self, fd: Fd) -> Option<u32> {
        self.0.by_fd.get(&fd.0).map(|entry| entry.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fds: &[u64]) -> Directory {
        let directory = Directory::default();
        for &fd in fds {
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            let entry = DirectoryEntry::new(fd as u32 + 100, peer, UNIX_EPOCH);
            directory.insert(Fd(fd), entry);
        }
        directory
    }

    #[test]
    fn a_connection_is_found_from_its_first_to_its_last_moment() {
        let directory = with(&[1, 2]);
        assert!(directory.exists(Fd(1)) && !directory.is_established(Fd(1)));
        directory.establish(Fd(1), false);
        assert!(directory.is_established(Fd(1)) && !directory.is_established(Fd(2)));
        assert_eq!(directory.slots().slot_of(Fd(2)), Some(102));
        directory.remove(Fd(1));
        directory.establish(Fd(1), false);
        assert!(!directory.exists(Fd(1)) && directory.find(Fd(1)).is_none());
        assert_eq!(directory.slots().slot_of(Fd(1)), None);
    }

    #[test]
    fn a_connection_has_one_user_at_a_time() {
        let directory = with(&[1]);
        let (ann, bob) = (Arc::from("ann"), Arc::from("bob"));
        let not_open = Err(BindError::NotEstablished(Fd(1)));
        assert_eq!(directory.bind(Fd(1), &ann), not_open);
        directory.establish(Fd(1), false);
        assert_eq!(directory.bind(Fd(1), &ann), Ok(()));
        assert_eq!(directory.bind(Fd(1), &ann), Ok(()), "again");
        let other = Err(BindError::BoundToAnother(Fd(1)));
        assert_eq!(directory.bind(Fd(1), &bob), other);
        assert_eq!(directory.unbind(Fd(1)), Some(ann));
        assert_eq!(directory.unbind(Fd(1)), None);
        assert_eq!(directory.bind(Fd(1), &bob), Ok(()));
        let nobody = Err(BindError::NotEstablished(Fd(2)));
        assert_eq!(directory.bind(Fd(2), &bob), nobody);
    }

    #[test]
    fn a_page_starts_after_the_last_one() {
        let directory = with(&[3, 1, 9, 5, 7]);
        directory.remove(Fd(7));
        let page = |after, limit| {
            let mut fds = vec![Fd(0)];
            directory.collect_after(Fd(after), limit, &mut fds);
            fds
        };
        assert_eq!(page(3, 9), [Fd(0), Fd(5), Fd(9)]);
        assert_eq!(page(0, 2), [Fd(0), Fd(1), Fd(3)]);
        assert_eq!(page(9, 2), [Fd(0)]);
    }

    #[test]
    fn a_long_page_comes_in_steps_and_misses_nobody() {
        let fds: Vec<u64> = (1..=3 * COLLECTED_MAX as u64 + 7).collect();
        let (directory, mut page) = (with(&fds), Vec::new());
        directory.collect_after(Fd(2), usize::MAX, &mut page);
        let page: Vec<u64> = page.iter().map(|fd| fd.0).collect();
        assert_eq!(page, fds[2..]);
    }

    #[test]
    fn a_crowd_that_left_leaves_no_table_behind() {
        let fds: Vec<u64> = (0..1_000).collect();
        let directory = with(&fds);
        for fd in fds {
            directory.remove(Fd(fd));
        }
        let entries = directory.read();
        assert_eq!((entries.by_fd.capacity(), entries.in_order.len()), (0, 0));
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<DirectoryEntry>(), 48);
    }

    #[test]
    fn an_entry_gives_back_what_it_was_made_of() {
        let at = UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        for peer in [
            "127.0.0.1:80",
            "[::1]:65535",
            "[fe80::1%3]:1",
            "[::ffff:1.2.3.4]:2",
        ] {
            let peer: SocketAddr = peer.parse().unwrap();
            let entry = DirectoryEntry::new(1, peer, at);
            assert_eq!((entry.peer(), entry.connected_at()), (peer.into(), at));
        }
    }
}
