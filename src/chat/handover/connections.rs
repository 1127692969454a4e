//! The connections, with their logins and rooms.

use std::sync::Arc;

use super::kind::RecordKind;
use super::numbered::Numbered;
use super::writer::ChatWriter;
use crate::base::Fd;
use crate::chat::bindings::ConnectionRecord;
use crate::chat::connections::{ChatConnection, ConnectionShard, LoginState, RoomNames};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

/// A connection that was read, and where it was found so far.
#[derive(Debug)]
pub(super) struct TakenConnection {
    pub(super) fd: Fd,
    pub(super) own: ChatConnection,
    /// Its time and its session data.
    pub(super) known: ConnectionRecord,
    /// Whether it hears its user's inbox; one that gave way to a newer one doesn't.
    pub(super) is_in_inbox: bool,
    /// The number of the last room in which it was found.
    pub(super) last_room: usize,
}

/// Writes a shard of connections.
pub(super) fn write(writer: &mut ChatWriter<'_>, shard: &ConnectionShard) {
    for (fd, connection) in shard.in_order() {
        let login = connection.login.as_ref().map(|own| {
            let rooms = own.rooms.as_slice().iter();
            (
                writer.user(&own.user),
                writer.rights(&own.rights),
                rooms.map(|room| writer.name(room)).collect::<Vec<_>>(),
            )
        });
        writer.record(RecordKind::Connection, |record| {
            record.u64(fd.0);
            record.optional(login, |record, (user, rights, rooms)| {
                record.size(user);
                record.size(rights);
                record.list(rooms, RecordWriter::size);
            });
            // Left out where there is nothing, as programs before this field did.
            let known = shard.record_of(fd);
            if known != ConnectionRecord::default() {
                record.u64(known.since_unix_ms);
                record.optional(known.session, |record, session| record.text(&session));
            }
        });
        writer.number_connection(fd);
    }
}

impl TakenConnection {
    pub(super) fn read(
        record: &mut RecordReader<'_>,
        numbered: &Numbered,
    ) -> Result<Self, HandoverError> {
        let fd = Fd(record.u64()?);
        let login = record.optional(|record| {
            let (user, rights) = (numbered.user(record)?, numbered.rights(record)?);
            let mut rooms = RoomNames::default();
            for room in record.list(|record| numbered.room(record))? {
                rooms.insert(room);
            }
            Ok(LoginState {
                user,
                rights,
                rooms,
            })
        })?;
        let known = record.or(ConnectionRecord::default(), |record| {
            Ok(ConnectionRecord {
                since_unix_ms: record.u64()?,
                session: record.optional(RecordReader::text)?.map(Arc::from),
            })
        })?;
        if login.is_none() && known != ConnectionRecord::default() {
            return Err(record.refuse("a connection without a user has a session"));
        }
        Ok(Self {
            fd,
            own: ChatConnection { login },
            known,
            is_in_inbox: false,
            last_room: 0,
        })
    }
}
