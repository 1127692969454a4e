//! Writes the channels: inboxes, rooms, that of everyone; and lasting memberships.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kind::RecordKind;
use super::logs::LogFields;
use super::writer::ChatWriter;
use crate::base::Tick;
use crate::chat::channels::{Audience as _, LiveChannel};
use crate::chat::inboxes::UserPresence;
use crate::chat::log::MessageLog;
use crate::chat::members::RoomMembers;
use crate::chat::name::User;
use crate::chat::openers::Openers;
use crate::handover::RecordWriter;

pub(super) fn write_inbox(
    writer: &mut ChatWriter<'_>,
    openers: &Openers,
    (user, inbox, sweep_at): (&User, &LiveChannel<UserPresence>, Option<Tick>),
) {
    let LiveChannel { log, audience } = inbox;
    let number = writer.user(user);
    let opener = opener(openers, user.inbox(), log);
    let log = LogFields::of(writer, log, sweep_at, opener);
    let connections = writer.connections(audience.as_slice());
    writer.record(RecordKind::Inbox, |record| {
        record.size(number);
        log.write(record);
        record.list(connections, RecordWriter::size);
        record.optional(audience.empty_since(), RecordWriter::tick);
    });
}

pub(super) fn write_room(
    writer: &mut ChatWriter<'_>,
    openers: &Openers,
    (name, room, sweep_at): (&Arc<str>, &LiveChannel<RoomMembers>, Option<Tick>),
) {
    let LiveChannel { log, audience } = room;
    let number = writer.name(name);
    let opener = opener(openers, name, log);
    let log = LogFields::of(writer, log, sweep_at, opener);
    let members: Vec<_> = audience
        .iter()
        .map(|member| {
            let (user, connections) = (writer.user(member.user), writer.connections(member.fds));
            (user, connections, member)
        })
        .collect();
    writer.record(RecordKind::Room, |record| {
        record.size(number);
        log.write(record);
        record.optional(audience.empty_since(), RecordWriter::tick);
        record.flag(audience.is_quiet());
        record.list(members, |record, (user, connections, member)| {
            record.size(user);
            record.list(connections, RecordWriter::size);
            record.optional(member.leaving_since, RecordWriter::tick);
            record.flag(member.lasting);
        });
    });
}

/// Writes the channel of everyone, whose connections are all that are logged in.
pub(super) fn write_everyone(writer: &mut ChatWriter<'_>, log: &MessageLog) {
    let log = LogFields::of(writer, log, None, None);
    writer.record(RecordKind::Everyone, |record| log.write(record));
}

/// Writes the rooms of which users are lasting members.
pub(super) fn write_lasting(writer: &mut ChatWriter<'_>, lasting: &BTreeMap<User, Vec<Arc<str>>>) {
    for (user, rooms) in lasting {
        let user = writer.user(user);
        let rooms: Vec<usize> = rooms.iter().map(|room| writer.name(room)).collect();
        writer.record(RecordKind::Lasting, |record| {
            record.size(user);
            record.list(rooms, RecordWriter::size);
        });
    }
}

/// The user who opened a channel, if that counts for anybody, and the channel's number.
fn opener(openers: &Openers, channel: &str, log: &MessageLog) -> Option<(User, u64)> {
    log.has_opener.then(|| openers.opener_of(channel))?
}
