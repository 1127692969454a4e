//! Random queries, and the model's answers to them.

use super::model::{Answer, Model, check_name};
use super::saying::missing;
use super::world::World;
use tidings::chat::{Actor, ChatError, ConnectionView, HistoryRange, HistorySource, Rights, Who};
use tidings::server::Fd;

impl World {
    pub fn ask(&mut self) {
        let fd = self.fd();
        let actor = match self.random.below(3) {
            0 => Actor::Key("shop"),
            _ => Actor::Connection(fd),
        };
        match self.random.below(8) {
            0 | 1 => self.ask_history(actor),
            2 => self.ask_who(actor),
            3 => self.ask_online(actor),
            4 => self.ask_rooms(),
            5 => self.ask_members(),
            6 => self.ask_user(),
            _ => self.ask_connection(fd),
        }
    }

    fn ask_history(&mut self, actor: Actor<'_>) {
        let channel = self.channel();
        let newest = self.model.log(&channel).map_or(0, |log| log.newest) as usize;
        let mut bound = |likely: usize| {
            let offset = self.random.below(newest + 3) as u64;
            self.random.one_in(likely).then_some(offset)
        };
        let range = HistoryRange {
            after: bound(2),
            before: bound(3),
            limit: self.random.below(self.model.settings.page_messages_max + 2),
        };
        let expected = self.model.history(actor, &channel, range);
        let actual = self.chat.history(self.now(), actor, &channel, range);
        let (actual, (at, page, more)) = match (actual, expected) {
            (Ok(HistorySource::InMemory(actual)), Ok(expected)) => (actual.page, expected),
            (actual, expected) => {
                assert_eq!(actual.err(), expected.err(), "{channel:?} {range:?}");
                return;
            }
        };
        assert!(
            self.epochs.are_same(at, actual.position),
            "{channel} {range:?}"
        );
        let messages: Vec<_> = actual
            .messages
            .iter()
            .map(|(offset, message)| {
                (
                    *offset,
                    message.id().to_string(),
                    message.data().to_string(),
                )
            })
            .collect();
        let page: Vec<_> = page
            .into_iter()
            .map(|(offset, words)| (offset, words.id, words.data))
            .collect();
        assert_eq!((messages, actual.more), (page, more), "{channel} {range:?}");
    }

    fn ask_who(&mut self, actor: Actor<'_>) {
        let room = self.room();
        let expected = self.model.who(actor, room);
        let actual = self.chat.who(actor, room).map(|who| {
            let Who {
                users,
                users_total,
                connections,
            } = who;
            let users: Vec<String> = users.iter().map(|user| user.uid().into()).collect();
            (users, users_total, connections)
        });
        assert_eq!(actual, expected, "who is in {room:?}");
    }

    fn ask_online(&mut self, actor: Actor<'_>) {
        let uids: Vec<&str> = (0..self.random.below(7)).map(|_| self.uid()).collect();
        let expected = self.model.online(actor, &uids);
        assert_eq!(self.chat.online(actor, &uids), expected, "{uids:?}");
    }

    fn ask_rooms(&mut self) {
        let prefix = self.random.pick(&["", "t", "team-", "n"]);
        let after = self.random.one_in(2).then(|| self.room());
        let limit = self.random.within(1..=8);
        let expected = self.model.rooms.iter();
        let expected = expected
            .filter(|(name, _)| name.starts_with(prefix))
            .filter(|(name, _)| after.is_none_or(|after| &***name > after))
            // One more shows that the list goes on.
            .take(limit.min(self.model.settings.list_max + 1))
            .map(|(name, room)| {
                let at = self.model.keeps(name).then(|| room.log.at());
                (name.clone(), at, room.present(), room.connections())
            });
        let expected: Vec<_> = expected.collect();
        let actual = self.chat.rooms(prefix, after, limit);
        assert_eq!(
            actual.len(),
            expected.len(),
            "{prefix:?} {after:?}: {actual:?}"
        );
        for (view, (name, at, users, connections)) in actual.iter().zip(expected) {
            assert_eq!(
                (&*view.name, view.users, view.connections),
                (&*name, users, connections)
            );
            assert!(self.epochs.are_same(at, view.position), "{view:?}");
        }
    }

    fn ask_members(&mut self) {
        let room = self.room();
        let after = self.random.one_in(2).then(|| self.uid());
        let limit = self.random.within(1..=6);
        let shown = limit.min(self.model.settings.list_max + 1);
        let expected = self.model.rooms.get(room).map(|room| {
            let behind = room.members.iter();
            let behind = behind.filter(|(uid, _)| after.is_none_or(|after| &***uid > after));
            let counted = behind.map(|(uid, member)| (uid.clone(), member.fds.len()));
            counted.take(shown).collect::<Vec<_>>()
        });
        let actual = self.chat.members(room, after, limit).map(|members| {
            let counted = members.iter();
            let counted = counted.map(|view| (view.user.uid().to_owned(), view.connections));
            counted.collect::<Vec<_>>()
        });
        assert_eq!(actual, expected, "members of {room:?} behind {after:?}");
    }

    fn ask_user(&mut self) {
        let uid = self.uid();
        let expected = self.model.user(uid);
        let actual = self.chat.user(uid).map(|user| {
            let rooms: Vec<String> = user.rooms.iter().map(|room| (**room).into()).collect();
            (user.connections, rooms)
        });
        assert_eq!(actual, expected, "{uid:?}");
    }

    fn ask_connection(&mut self, fd: Fd) {
        let own = self.model.connections.get(&fd);
        let expected = own.map(|own| {
            let own = own.as_ref();
            let mut rooms = own.map_or(Vec::new(), |own| own.rooms.clone());
            rooms.sort_unstable();
            (own.map(|own| own.uid.clone()), rooms)
        });
        let actual = self.chat.connection(fd).map(|view| {
            let ConnectionView { user, rooms } = view;
            let mut rooms: Vec<String> = rooms.iter().map(|room| (**room).into()).collect();
            rooms.sort_unstable();
            (user.map(|user| user.uid().to_owned()), rooms)
        });
        assert_eq!(actual, expected, "{fd}");
    }
}

type Page = (Option<super::log::At>, Vec<(u64, super::log::Words)>, bool);

impl Model {
    fn history(&self, actor: Actor<'_>, channel: &str, range: HistoryRange) -> Answer<Page> {
        let (limit_max, bytes_max) = (
            self.settings.page_messages_max,
            self.settings.page_bytes_max,
        );
        if range.limit == 0 || range.limit > limit_max {
            return Err(ChatError::Limit(limit_max));
        }
        self.may_read(actor, channel)?;
        let log = self.log(channel).ok_or_else(|| missing(channel))?;
        let (page, more) = log.page(range.after, range.before, range.limit, bytes_max);
        Ok((self.keeps(channel).then(|| log.at()), page, more))
    }

    fn who(&self, actor: Actor<'_>, room: &str) -> Answer<(Vec<String>, usize, usize)> {
        check_name("room", room, true)?;
        if let Actor::Connection(fd) = actor {
            let own = self.own(fd)?;
            let is_in = own.rooms.iter().any(|own| own == room);
            if matches!(own.rights, Rights::Token { .. }) && !is_in {
                return Err(ChatError::NotJoined(room.into()));
            }
        }
        let Some(room) = self.rooms.get(room) else {
            return Ok((Vec::new(), 0, 0));
        };
        let present = room
            .members
            .iter()
            .filter(|(_, member)| member.is_present());
        let users = present.map(|(uid, _)| uid.clone());
        let users = users.take(self.settings.list_max).collect();
        Ok((users, room.present(), room.connections()))
    }

    fn online(&self, actor: Actor<'_>, uids: &[&str]) -> Answer<Vec<bool>> {
        if let Actor::Connection(fd) = actor {
            self.own(fd)?;
        }
        if uids.len() > self.settings.list_max {
            return Err(ChatError::Users(self.settings.list_max));
        }
        let online = |uid: &&str| {
            check_name("users", uid, false)?;
            Ok(!self.fds_of(uid).is_empty())
        };
        uids.iter().map(online).collect()
    }

    fn user(&self, uid: &str) -> Option<(Vec<Fd>, Vec<String>)> {
        if !self.lines.contains_key(uid) && !self.lasting.contains_key(uid) {
            return None;
        }
        let fds = self.fds_of(uid);
        let mut rooms = self.lasting.get(uid).cloned().unwrap_or_default();
        for fd in &fds {
            rooms.extend(self.own(*fd).map_or(Vec::new(), |own| own.rooms.clone()));
        }
        rooms.sort_unstable();
        rooms.dedup();
        Some((fds, rooms))
    }
}
