//! The model of sending messages, of queries, and of time.

use std::collections::BTreeSet;

use super::log::{At, Log, Words};
use super::model::{Answer, Expected, Line, Model, Opens, Room, check_name};
use super::repeats::Same;
use tidings::chat::{Actor, ChatError, Keep, NewMessage, Recipient, Rights};
use tidings::server::Fd;

/// What should have become of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Spoken {
    pub channel: Option<String>,
    pub at: Option<At>,
    pub duplicate: bool,
    pub receivers: usize,
}

/// Who says something: by whose name, and who counts as the speaker.
#[derive(Debug)]
pub struct Author {
    from: Option<String>,
    speaker: String,
    opens: Opens,
}

impl Model {
    /// Whether it may be said at all, and by whom.
    pub fn author(
        &self,
        actor: Actor<'_>,
        to: Recipient<'_>,
        say: &NewMessage<'_>,
    ) -> Answer<Author> {
        match to {
            Recipient::Room(room) => check_name("to.room", room, true)?,
            Recipient::User(uid) => check_name("to.user", uid, false)?,
            Recipient::Fd(_) | Recipient::All => {}
        }
        if say
            .id
            .as_ref()
            .is_some_and(|id| id.is_empty() || id.len() > 64)
        {
            return Err(ChatError::Id(64));
        } else if say.except.len() > self.settings.receivers_max {
            return Err(ChatError::Except(self.settings.receivers_max));
        } else if say.keep == Keep::Yes && !say.except.is_empty() {
            return Err(ChatError::ExceptOfStored);
        }
        if let Some(from) = &say.from {
            check_name("from", from, false)?;
        }
        let from = say.from.as_deref().map(str::to_owned);
        let by_key = |key: &str, from: Option<String>| Author {
            speaker: format!("key {key} {from:?}"),
            from,
            opens: Opens::BackEnd,
        };
        let fd = match actor {
            Actor::Key(key) => return Ok(by_key(key, from)),
            Actor::Connection(fd) => fd,
            Actor::User(user) => {
                check_name("uid", user.uid, false)?;
                let is_allowed =
                    |room: &str| user.rooms.iter().any(|pattern| pattern.matches(room));
                return match to {
                    _ if from.is_some() => Err(ChatError::KeyNeeded("from")),
                    _ if !say.except.is_empty() => Err(ChatError::KeyNeeded("except")),
                    Recipient::Fd(_) | Recipient::All => Err(ChatError::KeyNeeded("to")),
                    Recipient::Room(room) if !is_allowed(room) => {
                        Err(ChatError::RoomNotAllowed(room.into()))
                    }
                    Recipient::Room(_) | Recipient::User(_) => Ok(Author {
                        from: Some(user.uid.to_owned()),
                        speaker: format!("user {}", user.uid),
                        opens: Opens::User(user.uid.into()),
                    }),
                };
            }
        };
        let own = self.own(fd)?;
        match (&own.rights, to) {
            (Rights::ApiKey { name }, _) if from.is_some() => return Ok(by_key(name, from)),
            (Rights::ApiKey { .. }, _) => {}
            _ if from.is_some() => return Err(ChatError::KeyNeeded("from")),
            (_, Recipient::Fd(_) | Recipient::All) => return Err(ChatError::KeyNeeded("to")),
            (Rights::Token { .. }, Recipient::Room(room))
                if !own.rooms.iter().any(|own| own == room) =>
            {
                return Err(ChatError::NotJoined(room.into()));
            }
            _ => {}
        }
        Ok(Author {
            from: Some(own.uid.clone()),
            speaker: format!("user {}", own.uid),
            opens: Opens::of(&own.rights, &own.uid),
        })
    }

    /// Says it under an `id`, which is the chat's own where none was given.
    pub fn say(
        &mut self,
        author: &Author,
        to: Recipient<'_>,
        say: &NewMessage<'_>,
        id: &str,
    ) -> Answer<Spoken> {
        let channel = match to {
            Recipient::Room(room) => room.to_owned(),
            Recipient::User(uid) => format!("@{uid}"),
            Recipient::All => "*".into(),
            Recipient::Fd(fd) => return self.say_to_fd(author, fd, say, id),
        };
        let same: Option<Same> = say
            .id
            .as_deref()
            .map(|id| (channel.clone(), author.speaker.clone(), id.into()));
        if let Some(same) = &same
            && let Some(at) = self.repeats.find(self.now, same, &self.settings)
        {
            self.counted.duplicates += 1;
            return Ok(Spoken {
                channel: Some(channel),
                at,
                duplicate: true,
                receivers: 0,
            });
        }
        let to_user = match to {
            Recipient::User(uid) => Some(uid),
            _ => None,
        };
        let sender = to_user.and(author.from.clone());
        let second = sender.filter(|from| Some(&**from) != to_user);
        let second = second.map(|from| format!("@{from}"));
        for channel in [Some(&channel), second.as_ref()].into_iter().flatten() {
            if say.keep == Keep::Yes && self.keeps(channel) {
                match channel.strip_prefix('@') {
                    Some(uid) => self.ensure_line(uid, &author.opens)?,
                    None if channel == "*" => {}
                    None => self.ensure_room(channel, &author.opens)?,
                }
            }
        }
        if author.opens == Opens::BackEnd
            && let Some(line) = to_user.and_then(|uid| self.lines.get_mut(uid))
        {
            line.opener = None;
        } else if let Opens::User(uid) = &author.opens
            && let Some(line) = to_user.and_then(|_| self.lines.get_mut(uid))
        {
            line.opener = None;
        }
        let words = self.words(author, to_user, say, id);
        let (at, receivers) = self.say_in(&channel, say, &words);
        if let Some(same) = same {
            let from = author.from.as_deref();
            self.repeats
                .remember(self.now, same, from, at, &self.settings);
        }
        if let Some(second) = second {
            self.say_in(&second, say, &words);
        }
        self.counted.messages += 1;
        self.counted.deliveries += receivers as u64;
        Ok(Spoken {
            channel: Some(channel),
            at,
            duplicate: false,
            receivers,
        })
    }

    fn words(&self, author: &Author, to: Option<&str>, say: &NewMessage<'_>, id: &str) -> Words {
        Words {
            id: id.into(),
            from: author.from.clone(),
            to: to.map(str::to_owned),
            ts: self.unix_ms,
            data: say.data.into(),
        }
    }

    fn say_to_fd(
        &mut self,
        author: &Author,
        fd: Fd,
        say: &NewMessage<'_>,
        id: &str,
    ) -> Answer<Spoken> {
        if !self.can_be_reached(fd) {
            return Err(ChatError::NoConnection(fd));
        }
        let words = self.words(author, None, say, id);
        self.heard.push((fd, Expected::Message(None, None, words)));
        self.counted.messages += 1;
        self.counted.deliveries += 1;
        Ok(Spoken {
            channel: None,
            at: None,
            duplicate: false,
            receivers: 1,
        })
    }

    fn can_be_reached(&self, fd: Fd) -> bool {
        self.connections.contains_key(&fd) && !self.deaf.contains(&fd)
    }

    /// Puts a message into one channel, as far as that keeps any, and sends it to all there.
    fn say_in(
        &mut self,
        channel: &str,
        say: &NewMessage<'_>,
        words: &Words,
    ) -> (Option<At>, usize) {
        let (now, settings) = (self.now, self.settings.clone());
        let elsewhere = self.kept_bytes() - self.log(channel).map_or(0, Log::bytes);
        let keeps = say.keep == Keep::Yes && self.keeps(channel);
        let at = keeps.then(|| {
            self.touch(channel);
            let log = self.log_mut(channel).expect("it was made sure of");
            log.append(now, words.clone(), &settings, elsewhere);
            log.forget_old(now, &settings);
            log.at()
        });
        let message = |at| Expected::Message(Some(channel.into()), at, words.clone());
        if say.except.is_empty() {
            self.tell_all(channel, &message(at));
            return (at, self.subscribed(channel));
        }
        let mut told: BTreeSet<Fd> = self.hearers(channel);
        told.retain(|fd| !say.except.contains(fd));
        for fd in &told {
            self.heard.push((*fd, message(at)));
        }
        (at, told.len())
    }

    /// Connections that count: also those that are on their way out, where nobody knows of it yet.
    fn subscribed(&self, channel: &str) -> usize {
        match channel.strip_prefix('@') {
            Some(uid) => self.fds_of(uid).len(),
            None if channel == "*" => self.counted.logged_in,
            None => self.rooms.get(channel).map_or(0, Room::connections),
        }
    }

    fn touch(&mut self, channel: &str) {
        let now = self.now;
        match channel.strip_prefix('@') {
            Some(uid) => self.lines.get_mut(uid).expect("it is there").touched.at = now,
            None if channel == "*" => {}
            None => self.rooms.get_mut(channel).expect("it is there").touched.at = now,
        }
    }

    pub fn purge(&mut self, name: &str) -> Answer<At> {
        match name.strip_prefix('@') {
            Some(uid) => check_name("uid", uid, false)?,
            None => check_name("room", name, true)?,
        }
        if !self.keeps(name) {
            return Err(ChatError::NotKept);
        } else if self.log_mut(name).is_none() {
            return Err(missing(name));
        }
        let life = self.new_life();
        self.touch(name);
        *self.log_mut(name).expect("it is there") = Log::new(life);
        self.tell_all(name, &Expected::Gap(name.into(), (life, 0)));
        Ok((life, 0))
    }

    pub fn ack(&mut self, fd: Fd, channel: &str, offset: u64) -> Answer<()> {
        self.may_read(Actor::Connection(fd), channel)?;
        let uid = self.own(fd)?.uid.clone();
        if !self.keeps(channel) {
            return Err(ChatError::NotKept);
        }
        let max = self.settings.acks_per_channel_max;
        let log = self.log_mut(channel).ok_or_else(|| missing(channel))?;
        log.ack(&uid, offset, max).map_err(|newest| match newest {
            Some(newest) => ChatError::Beyond(newest),
            None => {
                self.counted.refused_full += 1;
                ChatError::AcksFull(max)
            }
        })
    }

    pub fn may_read(&self, actor: Actor<'_>, channel: &str) -> Answer<()> {
        match channel.strip_prefix('@') {
            Some(uid) => check_name("channel", uid, false)?,
            None if channel == "*" => {}
            None => check_name("channel", channel, true)?,
        }
        let Actor::Connection(fd) = actor else {
            return Ok(());
        };
        let own = self.own(fd)?;
        let is_key = matches!(own.rights, Rights::ApiKey { .. });
        match channel.strip_prefix('@') {
            _ if is_key || channel == "*" => Ok(()),
            Some(uid) if uid == own.uid => Ok(()),
            Some(_) => Err(ChatError::NotYours),
            None if own.rooms.iter().any(|own| own == channel) => Ok(()),
            None => Err(ChatError::NotJoined(channel.into())),
        }
    }

    /// What is due by now, but for channels that go away: when exactly is left open.
    pub fn expire(&mut self) {
        let (now, few_max) = (self.now, self.settings.presence_users_max);
        self.repeats.forget_old(now, &self.settings);
        let mut due = Vec::new();
        for (name, room) in &self.rooms {
            for (uid, member) in &room.members {
                let since = member.leaving;
                if let Some(since) = since.filter(|at| at + self.settings.left_ms <= now) {
                    due.push((name.clone(), since, uid.clone()));
                }
            }
        }
        due.sort_unstable();
        for (name, _, uid) in due {
            self.change_room(&name, |members| {
                members.get_mut(&uid).expect("it is there").leaving = None;
            });
            let room = self.rooms.get_mut(&name).expect("it is there");
            let (was_quiet, present) = (room.is_quiet, room.present());
            room.is_quiet &= present > (few_max - few_max / 4).max(1);
            let news = match (was_quiet, room.is_quiet) {
                (false, _) => Expected::Left(name.clone(), uid),
                (true, true) => continue,
                (true, false) => {
                    let here = room
                        .members
                        .iter()
                        .filter(|(_, member)| member.is_present());
                    let users = here.map(|(uid, _)| uid.clone());
                    let users = users.take(self.settings.list_max).collect();
                    Expected::Presence(name.clone(), Some((users, present)))
                }
            };
            if few_max > 0 && room.connections() > 0 {
                self.counted.left += u64::from(!was_quiet);
                self.tell_all(&name, &news);
            }
        }
    }

    /// Channels that may be gone, and whether they must be.
    pub fn doomed(&self) -> Vec<(String, bool)> {
        let (now, settings) = (self.now, &self.settings);
        let rooms = self.rooms.iter();
        let rooms = rooms.filter(|(_, room)| room.members.is_empty());
        let rooms = rooms.map(|(name, Room { log, touched, .. })| (name.clone(), log, touched));
        let lines = self.lines.iter();
        let lines = lines.filter(|(_, line)| line.fds.is_empty());
        let lines = lines.map(|(uid, Line { log, touched, .. })| (format!("@{uid}"), log, touched));
        let bare = rooms.chain(lines).filter(|(_, log, _)| log.kept.is_empty());
        bare.filter_map(|(name, _, touched)| {
            let may = touched.empty_since + settings.channel_ttl_ms;
            let late = settings.channel_ttl_ms.max(settings.kept_ms_max);
            let must = may.max(touched.at.saturating_add(settings.kept_ms_max)) + late;
            (may <= now).then_some((name, must < now))
        })
        .collect()
    }

    pub fn gone(&mut self, channel: &str) {
        match channel.strip_prefix('@') {
            Some(uid) => drop(self.lines.remove(uid)),
            None => drop(self.rooms.remove(channel)),
        }
    }
}

pub fn missing(channel: &str) -> ChatError {
    match channel.strip_prefix('@') {
        Some(uid) => ChatError::NoUser(uid.into()),
        None => ChatError::NoRoom(channel.into()),
    }
}
