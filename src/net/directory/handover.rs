//! The entry of a connection in a handover.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use super::{DirectoryEntry, Peer, ThroughProxy};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

/// The kinds of a peer's address. An image that knows no Unix sockets reads a flag here, and refuses the
/// last one.
const PEER_V4: u64 = 0;
const PEER_V6: u64 = 1;
const PEER_UNIX: u64 = 2;
const PEER_TOLD: u64 = 3;

/// The users of a handover, each name once.
#[derive(Debug, Default)]
pub(in crate::net) struct HandedUsers(HashSet<Arc<str>>);

impl HandedUsers {
    fn of(&mut self, name: &str) -> Arc<str> {
        if let Some(user) = self.0.get(name) {
            return Arc::clone(user);
        }
        let user: Arc<str> = name.into();
        self.0.insert(Arc::clone(&user));
        user
    }
}

impl DirectoryEntry {
    pub(in crate::net) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self {
            user,
            peer,
            connected_at_ns,
            slot: _,
            established,
            // The connection says it.
            deflates: _,
        } = self;
        peer.hand_over(record);
        record.u64(*connected_at_ns);
        record.flag(*established);
        record.optional(user.as_ref(), |record, user| record.text(user));
    }

    /// Reads the entry of a connection whose slot isn't there yet.
    pub(in crate::net) fn take_over(
        record: &mut RecordReader<'_>,
        users: &mut HandedUsers,
    ) -> Result<Self, HandoverError> {
        Ok(Self {
            peer: Peer::take_over(record)?,
            connected_at_ns: record.u64()?,
            established: record.flag()?,
            user: record
                .optional(RecordReader::text)?
                .map(|name| users.of(name)),
            slot: u32::MAX,
            deflates: false,
        })
    }
}

impl Peer {
    fn hand_over(&self, record: &mut RecordWriter<'_>) {
        match self {
            Self::V4(ip, port) => {
                record.u64(PEER_V4);
                record.u64(ip.to_bits().into());
                record.u64((*port).into());
            }
            Self::V6(peer) => {
                record.u64(PEER_V6);
                record.u128(peer.ip().to_bits());
                record.u64(peer.port().into());
                record.u64(peer.flowinfo().into());
                record.u64(peer.scope_id().into());
            }
            Self::Unix => record.u64(PEER_UNIX),
            Self::Told(told) => {
                record.u64(PEER_TOLD);
                let ThroughProxy {
                    client,
                    sender,
                    proxy,
                    is_secure,
                } = **told;
                for address in [client, sender, proxy] {
                    Self::from(address).hand_over(record);
                }
                record.optional(is_secure, RecordWriter::flag);
            }
        }
    }

    fn take_over(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        Ok(match record.u64()? {
            PEER_TOLD => {
                let mut address = || match Self::of_kind(record.u64()?, record)? {
                    Some(peer) => Ok(peer.address()),
                    None => Err(record.refuse("a proxy's address is of an unknown kind")),
                };
                let (client, sender, proxy) = (address()?, address()?, address()?);
                let is_secure = record.optional(RecordReader::flag)?;
                Self::Told(Box::new(ThroughProxy {
                    client,
                    sender,
                    proxy,
                    is_secure,
                }))
            }
            kind => Self::of_kind(kind, record)?
                .ok_or_else(|| record.refuse("a peer's address is of an unknown kind"))?,
        })
    }

    /// Reads an address of a kind that stands for itself.
    fn of_kind(kind: u64, record: &mut RecordReader<'_>) -> Result<Option<Self>, HandoverError> {
        Ok(Some(match kind {
            PEER_V4 => Self::V4(Ipv4Addr::from_bits(record.u32()?), record.u16()?),
            PEER_V6 => {
                let ip = Ipv6Addr::from_bits(record.u128()?);
                let (port, flow, scope) = (record.u16()?, record.u32()?, record.u32()?);
                Self::V6(Box::new(SocketAddrV6::new(ip, port, flow, scope)))
            }
            PEER_UNIX => Self::Unix,
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::SystemTime;

    use super::super::Directory;
    use super::*;
    use crate::base::{Fd, PeerAddress};
    use crate::handover::{Section, SectionWriter};

    fn handed_over(entry: &DirectoryEntry) -> DirectoryEntry {
        let mut section = SectionWriter::new();
        section.record(|record| entry.hand_over(record));
        let section = Section::of("directory", 1, section.as_bytes());
        let mut record = section.records().needed().unwrap();
        DirectoryEntry::take_over(&mut record, &mut HandedUsers::default()).unwrap()
    }

    #[test]
    fn what_a_proxy_told_goes_over_with_its_connection() {
        let address = |text: &str| PeerAddress::Ip(text.parse::<SocketAddr>().unwrap());
        let proxies = [
            address("10.0.0.7:4711"),
            address("[::1]:1"),
            PeerAddress::Unix,
        ];
        let clients = [
            address("203.0.113.9:0"),
            address("[2001:db8::1]:80"),
            PeerAddress::Unix,
        ];
        for proxy in proxies {
            let directory = Directory::default();
            let entry = DirectoryEntry::new(0, proxy, SystemTime::now());
            directory.insert(Fd(1), entry);
            for client in clients {
                for is_secure in [None, Some(true), Some(false)] {
                    directory.set_client(Fd(1), client, is_secure);
                    let entry = handed_over(&directory.find(Fd(1)).unwrap());
                    assert_eq!(entry.peer(), client);
                    assert_eq!(
                        entry.through_proxy().copied(),
                        directory.through_proxy(Fd(1))
                    );
                    let told = entry.through_proxy().map_or(proxy, |told| told.sender);
                    assert_eq!(told, proxy);
                }
            }
        }
    }
}
