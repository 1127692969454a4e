//! Where the load comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::client::target::Target;

/// Connections from one source address to one server; Linux gives an address 28,232 local ports,
/// and some of them may be taken or not free again yet.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// The local addresses that connections come from.
///
/// One address has some 28,000 local ports towards one server. Every address of 127.0.0.0/8 is this
/// machine's, so more connections than that come from 127.0.0.2, 127.0.0.3 and so on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourceAddresses {
    count: usize,
}

impl SourceAddresses {
    /// Takes as many addresses as asked, or as `connections` (ever made, not at once) need.
    ///
    /// Only IPv4 loopback has addresses to spare; elsewhere there is one, whatever is asked.
    pub(crate) fn new(target: &Target, asked: Option<usize>, connections: usize) -> Self {
        let v4_loopback = matches!(target.address.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let needed = asked.unwrap_or_else(|| connections.div_ceil(CONNECTIONS_PER_SOURCE));
        Self {
            count: if v4_loopback { needed.clamp(1, 250) } else { 1 },
        }
    }

    /// The address to bind for the `index`-th connection; `None` leaves it to the system.
    pub(crate) fn source_of(&self, index: usize) -> Option<SocketAddr> {
        let last = 2 + (index % self.count) as u8;
        (self.count > 1).then(|| (Ipv4Addr::new(127, 0, 0, last), 0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Trust;
    use crate::client::target::{Ownership, Scheme};

    #[test]
    fn many_connections_come_from_many_addresses() {
        let target = Target::parse(
            "ws://127.0.0.1:1/",
            Scheme::WebSocket,
            Ownership::Unstated,
            Trust::System,
        )
        .unwrap();
        assert_eq!(
            SourceAddresses::new(&target, None, 20_000).source_of(7),
            None
        );
        let sources = SourceAddresses::new(&target, None, 50_000);
        assert_eq!(sources.source_of(3), sources.source_of(0));
        assert_eq!(sources.source_of(4), Some("127.0.0.3:0".parse().unwrap()));
    }
}
