//! Puts the chat together from its records, and looks whether they agree.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::connections::TakenConnection;
use super::kind::RecordKind;
use super::logs::TakenLog;
use super::numbered::Numbered;
use super::sources::{Sources, take_counter};
use crate::base::Tick;
use crate::base::sync::lock;
use crate::chat::Chat;
use crate::chat::bindings::ConnectionRecord;
use crate::chat::channels::{Audience as _, LiveChannel};
use crate::chat::fds::Fds;
use crate::chat::hasher::IdempotencyKey;
use crate::chat::inboxes::UserPresence;
use crate::chat::log::MessageLog;
use crate::chat::members::{MemberPresence, RoomMember, RoomMembers};
use crate::chat::name::User;
use crate::chat::recent_ids::RecentId;
use crate::handover::{HandoverError, RecordReader};

/// A chat that is being taken over.
pub(super) struct TakenChat {
    chat: Chat,
    numbered: Numbered,
    connections: Vec<TakenConnection>,
    /// Memberships of connections, as the rooms have them.
    memberships: usize,
    /// Rooms so far.
    rooms: usize,
    /// Lasting memberships, as the rooms have them, with the user's inbox, and as the users do.
    lasting_in_rooms: HashSet<(Arc<str>, Arc<str>), RandomState>,
    lasting_of_users: Vec<(User, Vec<Arc<str>>)>,
    opened: Vec<(u64, User, Arc<str>)>,
    recent_ids: Vec<(IdempotencyKey, RecentId)>,
}

impl TakenChat {
    /// Begins with an empty chat.
    pub(super) fn new(chat: Chat) -> Self {
        Self {
            chat,
            numbered: Numbered::default(),
            connections: Vec::new(),
            memberships: 0,
            rooms: 0,
            lasting_in_rooms: HashSet::default(),
            lasting_of_users: Vec::new(),
            opened: Vec::new(),
            recent_ids: Vec::new(),
        }
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, record: &mut RecordReader<'_>) -> Result<(), HandoverError> {
        match RecordKind::read(record)? {
            RecordKind::Sources => Err(record.refuse("the sources come once")),
            RecordKind::Counter => take_counter(record, &self.chat),
            RecordKind::Name => self.numbered.take_name(record),
            RecordKind::Rights => self.numbered.take_rights(record),
            RecordKind::Message => self.numbered.take_message(record),
            RecordKind::Connection => {
                let connection = TakenConnection::read(record, &self.numbered)?;
                self.connections.push(connection);
                Ok(())
            }
            RecordKind::Inbox => self.take_inbox(record),
            RecordKind::Room => self.take_room(record),
            RecordKind::Lasting => {
                let user = self.numbered.user(record)?;
                let rooms = record.list(|record| self.numbered.room(record))?;
                self.lasting_of_users.push((user, rooms));
                Ok(())
            }
            RecordKind::Everyone => {
                let totals = &self.chat.common.totals;
                let taken = TakenLog::read(record, &self.numbered, totals)?;
                lock(&self.chat.everyone).log = taken.log;
                Ok(())
            }
            RecordKind::RecentId => {
                self.recent_ids.push(super::recent_ids::read(record)?);
                Ok(())
            }
        }
    }

    fn take_inbox(&mut self, record: &mut RecordReader<'_>) -> Result<(), HandoverError> {
        let user = self.numbered.user(record)?;
        let (log, sweep_at) = self.take_log(record, user.inbox())?;
        let fds = record.list(|record| {
            let connection = find(&mut self.connections, record)?;
            let login = connection.own.login.as_ref();
            let is_own = login.is_some_and(|own| own.user == user);
            if !is_own || std::mem::replace(&mut connection.is_in_inbox, true) {
                return Err(record.refuse("a connection is in an inbox that isn't its own"));
            }
            Ok(connection.fd)
        })?;
        let since = record.optional(RecordReader::tick)?;
        let audience = match Fds::of(fds) {
            Some(fds) => UserPresence::Here(fds),
            None => UserPresence::Away {
                since: since.unwrap_or_default(),
            },
        };
        let totals = &self.chat.common.totals;
        totals.inboxes.add(1);
        totals.users.add(audience.connections().min(1));
        let inbox = LiveChannel { log, audience };
        let mut shard = self.chat.inboxes.lock(user.uid());
        match shard.channels.bring_back(user.clone(), inbox, sweep_at) {
            true => Ok(()),
            false => Err(record.refuse("the user has two inboxes")),
        }
    }

    fn take_room(&mut self, record: &mut RecordReader<'_>) -> Result<(), HandoverError> {
        let name = self.numbered.room(record)?;
        self.rooms += 1;
        let (log, sweep_at) = self.take_log(record, &name)?;
        let since = record.optional(RecordReader::tick)?;
        let is_quiet = record.flag()?;
        let members = record.list(|record| self.take_member(record, &name))?;
        let audience = RoomMembers::as_they_were(members, is_quiet, since.unwrap_or_default());
        let audience = audience.ok_or_else(|| record.refuse("a member is none, or is it twice"))?;
        self.memberships += audience.connections();
        let totals = &self.chat.common.totals;
        totals.rooms.add(1);
        totals.memberships.add(audience.connections());
        let room = LiveChannel { log, audience };
        let mut shard = self.chat.rooms.lock(&name);
        match shard.bring_back(Arc::clone(&name), room, sweep_at) {
            true => Ok(()),
            false => Err(record.refuse("two rooms have one name")),
        }
    }

    fn take_member(
        &mut self,
        record: &mut RecordReader<'_>,
        room: &Arc<str>,
    ) -> Result<(User, RoomMember), HandoverError> {
        let user = self.numbered.user(record)?;
        let fds = record.list(|record| {
            let connection = find(&mut self.connections, record)?;
            let login = connection.own.login.as_ref();
            let is_in = login.is_some_and(|own| own.user == user && own.rooms.contains(room));
            if !is_in || std::mem::replace(&mut connection.last_room, self.rooms) == self.rooms {
                return Err(record.refuse("a connection is in a room that it doesn't know"));
            }
            Ok(connection.fd)
        })?;
        let leaving = record.optional(RecordReader::tick)?;
        let lasting = record.flag()?;
        if lasting {
            let membership = (Arc::clone(room), Arc::clone(user.inbox()));
            self.lasting_in_rooms.insert(membership);
        }
        let presence = match (Fds::of(fds), leaving) {
            (Some(fds), None) => MemberPresence::Here(fds),
            (None, Some(since)) => MemberPresence::Leaving { since },
            (None, None) => MemberPresence::Away,
            (Some(_), Some(_)) => return Err(record.refuse("a member is here and has left")),
        };
        Ok((user, RoomMember { presence, lasting }))
    }

    /// Reads the log of a channel, and counts the channel.
    fn take_log(
        &mut self,
        record: &mut RecordReader<'_>,
        channel: &Arc<str>,
    ) -> Result<(MessageLog, Option<Tick>), HandoverError> {
        let common = &self.chat.common;
        let taken = TakenLog::read(record, &self.numbered, &common.totals)?;
        common.count_again(channel, taken.opener.is_some());
        if let Some((opener, number)) = taken.opener {
            self.opened.push((number, opener, Arc::clone(channel)));
        }
        Ok((taken.log, taken.sweep_at))
    }

    /// Makes the chat of what was taken; `first` is the record of `sources`.
    pub(super) fn finish(
        mut self,
        first: &RecordReader<'_>,
        sources: &Sources,
    ) -> Result<Chat, HandoverError> {
        if !self.finish_connections() {
            return Err(first.refuse("connections and rooms don't agree"));
        } else if !self.finish_lasting() {
            return Err(first.refuse("rooms and their lasting members don't agree"));
        }
        let openers = &self.chat.common.openers;
        if !openers.take_over(self.opened, sources.next_opened) {
            return Err(first.refuse("two channels were opened as one"));
        }
        let (ids, totals) = (&self.chat.recent_ids, &self.chat.common.totals);
        if ids.parts() != sources.recent_id_parts {
            // Each of the new parts wants its own in the order of their times.
            self.recent_ids.sort_by_key(|(_, id)| id.at);
        }
        for (key, id) in self.recent_ids {
            ids.bring_back(totals, key, id);
        }
        Ok(self.chat)
    }

    /// Enters the connections; `false` if one is there twice, or is in rooms that don't have it.
    fn finish_connections(&mut self) -> bool {
        let (chat, mut rooms, mut logged_in) = (&self.chat, 0, 0);
        for taken in self.connections.drain(..) {
            let TakenConnection { fd, own, known, .. } = taken;
            if let Some(login) = &own.login {
                logged_in += 1;
                rooms += login.rooms.as_slice().len();
            }
            chat.common.totals.connections.add(1);
            let mut shard = chat.connections.lock_number(fd.0);
            if !shard.enter(fd, own) {
                return false;
            }
            if known != ConnectionRecord::default() {
                let session = known.session.as_ref();
                let bytes = session.map_or(0, |session| session.len());
                chat.common.totals.session_bytes.add(bytes);
                shard.set_record(fd, known);
            }
        }
        chat.common.totals.logged_in.add(logged_in);
        lock(&chat.everyone).connections = logged_in;
        // Each room's connections have the room in their lists: with as many on both sides, all agree.
        rooms == self.memberships
    }

    /// Enters the lasting memberships; `false` if rooms and users don't have the same ones.
    fn finish_lasting(&mut self) -> bool {
        let chat = &self.chat;
        for (user, rooms) in self.lasting_of_users.drain(..) {
            for room in &rooms {
                let membership = (Arc::clone(room), Arc::clone(user.inbox()));
                // On a node of a cluster only the users have them.
                let is_in_room = self.lasting_in_rooms.remove(&membership);
                if !is_in_room && !chat.common.in_cluster() {
                    return false;
                }
            }
            chat.common.totals.lasting.add(rooms.len());
            let mut shard = chat.inboxes.lock(user.uid());
            if shard.lasting.insert(user, rooms).is_some() {
                return false;
            }
        }
        self.lasting_in_rooms.is_empty()
    }
}

/// Reads the number of a connection.
fn find<'a>(
    connections: &'a mut [TakenConnection],
    record: &mut RecordReader<'_>,
) -> Result<&'a mut TakenConnection, HandoverError> {
    let number = record.size()?;
    let found = connections.get_mut(number);
    found.ok_or_else(|| record.refuse("no connection has this number"))
}
