//! The entry of a connection in a handover.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::sync::Arc;

use super::{DirectoryEntry, Peer};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

/// The kinds of a peer's address. An image that knows no Unix sockets reads a flag here, and refuses the
/// last one.
const PEER_V4: u64 = 0;
const PEER_V6: u64 = 1;
const PEER_UNIX: u64 = 2;

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
        match peer {
            Peer::V4(ip, port) => {
                record.u64(PEER_V4);
                record.u64(ip.to_bits().into());
                record.u64((*port).into());
            }
            Peer::V6(peer) => {
                record.u64(PEER_V6);
                record.u128(peer.ip().to_bits());
                record.u64(peer.port().into());
                record.u64(peer.flowinfo().into());
                record.u64(peer.scope_id().into());
            }
            Peer::Unix => record.u64(PEER_UNIX),
        }
        record.u64(*connected_at_ns);
        record.flag(*established);
        record.optional(user.as_ref(), |record, user| record.text(user));
    }

    /// Reads the entry of a connection whose slot isn't there yet.
    pub(in crate::net) fn take_over(
        record: &mut RecordReader<'_>,
        users: &mut HandedUsers,
    ) -> Result<Self, HandoverError> {
        let peer = match record.u64()? {
            PEER_V4 => Peer::V4(Ipv4Addr::from_bits(record.u32()?), record.u16()?),
            PEER_V6 => {
                let ip = Ipv6Addr::from_bits(record.u128()?);
                let (port, flow, scope) = (record.u16()?, record.u32()?, record.u32()?);
                Peer::V6(Box::new(SocketAddrV6::new(ip, port, flow, scope)))
            }
            PEER_UNIX => Peer::Unix,
            _ => return Err(record.refuse("a peer's address is of an unknown kind")),
        };
        Ok(Self {
            peer,
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
