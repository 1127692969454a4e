//! Connections of peers who haven't shown who they are, counted by their addresses.
//!
//! Without a bound nothing is kept and nothing is locked. With one there is an entry for each such
//! connection, until the peer is known or gone: so the tables hold no more than the server does.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::base::sync::lock;
use crate::base::{AddressBlock, Fd, PeerAddress};

/// Counts the connections of strangers against one bound for each address.
#[derive(Debug)]
pub struct Strangers {
    /// 0 is no bound.
    per_address_max: AtomicUsize,
    table: Mutex<StrangerTable>,
}

#[derive(Debug, Default)]
struct StrangerTable {
    connections: HashMap<u64, AddressBlock, foldhash::fast::FixedState>,
    /// How many of them each address has.
    counts: HashMap<AddressBlock, usize, foldhash::fast::RandomState>,
}

impl StrangerTable {
    fn forget(&mut self, block: AddressBlock) {
        if let Some(count) = self.counts.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&block);
            }
        }
    }
}

impl Strangers {
    /// Counts against this bound; 0 is none.
    #[must_use]
    pub fn new(per_address_max: usize) -> Self {
        Self {
            per_address_max: AtomicUsize::new(per_address_max),
            table: Mutex::default(),
        }
    }

    /// Changes the bound. Connections that came while there was none don't count.
    pub fn set_max(&self, per_address_max: usize) {
        let mut table = lock(&self.table);
        self.per_address_max.store(per_address_max, Relaxed);
        if per_address_max == 0 {
            *table = StrangerTable::default();
        }
    }

    fn has_bound(&self) -> bool {
        self.per_address_max.load(Relaxed) > 0
    }

    /// Whether one more connection may come from this address. Peers of a Unix socket have none, so they
    /// aren't counted: who may connect there, its file's mode says.
    pub(crate) fn admits(&self, peer: impl Into<PeerAddress>) -> bool {
        let per_address_max = self.per_address_max.load(Relaxed);
        let (Some(ip), true) = (peer.into().ip(), per_address_max > 0) else {
            return true;
        };
        let table = lock(&self.table);
        let count = table.counts.get(&AddressBlock::of(ip)).copied();
        count.unwrap_or(0) < per_address_max
    }

    /// Counts a connection with its address.
    pub(crate) fn insert(&self, fd: Fd, peer: impl Into<PeerAddress>) {
        if self.has_bound()
            && let Some(ip) = peer.into().ip()
        {
            let (mut table, block) = (lock(&self.table), AddressBlock::of(ip));
            // Looked at once more under the lock: the bound may be gone, and the table with it.
            if !self.has_bound() {
                return;
            }
            table.connections.insert(fd.0, block);
            *table.counts.entry(block).or_default() += 1;
        }
    }

    /// Whether the connection is counted.
    pub(crate) fn counts(&self, fd: Fd) -> bool {
        lock(&self.table).connections.contains_key(&fd.0)
    }

    /// Counts a connection no more: it is gone, or its peer has shown a token or a key.
    pub fn remove(&self, fd: Fd) {
        if self.has_bound() {
            let mut table = lock(&self.table);
            if let Some(block) = table.connections.remove(&fd.0) {
                table.forget(block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 4711)
    }

    #[test]
    fn an_address_has_so_many_connections_until_one_goes_or_is_known() {
        let strangers = Strangers::new(2);
        for fd in [1, 2] {
            assert!(strangers.admits(peer("192.0.2.1")));
            strangers.insert(Fd(fd), peer("192.0.2.1"));
        }
        assert!(!strangers.admits(peer("192.0.2.1")));
        assert!(!strangers.admits(peer("::ffff:192.0.2.1")));
        assert!(strangers.admits(peer("192.0.2.2")));
        strangers.remove(Fd(1));
        strangers.remove(Fd(1));
        assert!(strangers.admits(peer("192.0.2.1")));
        strangers.insert(Fd(3), peer("192.0.2.1"));
        assert!(!strangers.admits(peer("192.0.2.1")));
    }

    #[test]
    fn another_bound_counts_those_that_came_under_one() {
        let strangers = Strangers::new(0);
        strangers.insert(Fd(1), peer("192.0.2.1"));
        strangers.set_max(1);
        assert!(strangers.admits(peer("192.0.2.1")));
        strangers.insert(Fd(2), peer("192.0.2.1"));
        assert!(!strangers.admits(peer("192.0.2.1")));
        strangers.remove(Fd(1));
        assert!(!strangers.admits(peer("192.0.2.1")), "it never counted");
        strangers.set_max(2);
        assert!(strangers.admits(peer("192.0.2.1")));
        strangers.set_max(0);
        assert!(lock(&strangers.table).connections.is_empty());
        strangers.set_max(1);
        strangers.remove(Fd(2));
        assert!(strangers.admits(peer("192.0.2.1")));
    }

    #[test]
    fn peers_of_a_unix_socket_share_no_bound() {
        let strangers = Strangers::new(1);
        for fd in 0..9 {
            assert!(strangers.admits(PeerAddress::Unix));
            strangers.insert(Fd(fd), PeerAddress::Unix);
        }
        assert!(lock(&strangers.table).connections.is_empty());
    }

    #[test]
    fn a_64_of_ipv6_counts_as_one_address() {
        let strangers = Strangers::new(1);
        strangers.insert(Fd(1), peer("2001:db8:1:2::1"));
        assert!(!strangers.admits(peer("2001:db8:1:2:3::9")));
        assert!(strangers.admits(peer("2001:db8:1:3::1")));
    }

    #[test]
    fn nothing_is_kept_without_a_bound_nor_of_connections_that_are_gone() {
        let (off, on) = (Strangers::new(0), Strangers::new(9));
        for strangers in [&off, &on] {
            for fd in 0..9 {
                strangers.insert(Fd(fd), peer("192.0.2.1"));
            }
        }
        assert!(off.admits(peer("192.0.2.1")) && lock(&off.table).connections.is_empty());
        assert!(!on.admits(peer("192.0.2.1")));
        for fd in 0..9 {
            on.remove(Fd(fd));
        }
        let table = lock(&on.table);
        assert!(table.connections.is_empty() && table.counts.is_empty());
    }
}
