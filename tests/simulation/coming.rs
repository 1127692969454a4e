//! The model of connections: opening, login, rooms, closing.

use super::log::{Claim, Wish};
use super::model::{Answer, Expected, Model, Opens, Own, check_name};
use tidings::chat::{ChatError, LoggedIn, Rights};
use tidings::server::Fd;

/// From where on a channel is to be heard.
pub type Wishes<'a> = [(&'a str, Wish)];

impl Model {
    pub fn opened(&mut self, fd: Fd) {
        self.connections.insert(fd, None);
        self.counted.connections += 1;
    }

    pub fn closed(&mut self, fd: Fd) {
        if let Some(own) = self.connections.remove(&fd) {
            self.counted.connections -= 1;
            self.deaf.remove(&fd);
            if let Some(own) = own {
                self.forget(fd, &own);
            }
        }
    }

    pub fn login(
        &mut self,
        fd: Fd,
        uid: &str,
        rights: &Rights,
        asked: &[&str],
        wishes: &Wishes<'_>,
    ) -> Answer<LoggedIn> {
        check_name("uid", uid, false)?;
        let max = self.settings.rooms_per_connection_max;
        if asked.len() > max {
            return Err(ChatError::RoomsOfConnection(max));
        }
        for room in asked {
            check_name("rooms", room, true)?;
            if !rights.may_join(room) {
                return Err(ChatError::RoomNotAllowed((*room).into()));
            }
        }
        let before = self
            .connections
            .get(&fd)
            .ok_or(ChatError::NoConnection(fd))?;
        let before = before.clone();
        if before.as_ref().is_some_and(|own| own.uid != uid) {
            return Err(ChatError::OtherUser);
        }
        let joined = before.as_ref().map_or(Vec::new(), |own| own.rooms.clone());
        let is_in = |room: &str| joined.iter().any(|own| own == room);
        let stay = joined.iter().filter(|room| rights.may_join(room)).count();
        let mut further: Vec<&str> = asked.iter().copied().filter(|room| !is_in(room)).collect();
        further.sort_unstable();
        further.dedup();
        if !further.is_empty() && stay + further.len() > max {
            return Err(ChatError::RoomsOfConnection(max));
        }
        let renewed = before.is_some();
        // Who is in a channel already has missed nothing.
        let wish = |channel: &str| {
            let mut wishes = wishes.iter().filter(|(name, _)| *name == channel);
            let known = match channel {
                "*" => renewed,
                _ if channel.starts_with('@') => renewed,
                room => is_in(room),
            };
            let wish = wishes.next().map(|(_, wish)| *wish);
            wish.filter(|_| !known).unwrap_or(Wish::Now)
        };
        let line = format!("@{uid}");
        self.ensure_line(uid, &Opens::Own)?;
        let mut greetings = vec![self.greet(&line, uid, wish(&line))];
        greetings.push(self.greet("*", uid, wish("*")));
        let lasting = self.lasting.get(uid).cloned().unwrap_or_default();
        for room in asked
            .iter()
            .copied()
            .chain(lasting.iter().map(|room| &**room))
        {
            if !greetings
                .iter()
                .any(|(greeting, _)| greeting.channel == room)
            {
                self.ensure_room(room, &Opens::of(rights, uid))?;
                greetings.push(self.greet(room, uid, wish(room)));
            }
        }
        self.lines.get_mut(uid).expect("it is there").opener = None;
        let told = greetings.iter().map(|(greeting, _)| greeting.clone());
        self.tell(fd, Expected::Welcome(told.collect()));
        let mut replaced = None;
        if renewed {
            self.own_mut(fd).rights = rights.clone();
            self.leave_forbidden(fd);
        } else {
            let own = Own {
                uid: uid.into(),
                rights: rights.clone(),
                rooms: Vec::new(),
            };
            self.connections.insert(fd, Some(own));
            self.counted.logged_in += 1;
            self.subscribe(fd, &line, greetings[0].1);
            replaced = self.bind(fd, uid);
            self.subscribe(fd, "*", greetings[1].1);
        }
        for (greeting, start) in greetings.iter().skip(2) {
            if !self.own(fd)?.rooms.contains(&greeting.channel) {
                self.enter(fd, &greeting.channel, *start);
            }
        }
        // Its socket is on the way out, behind all that was told so far.
        self.deaf.extend(replaced);
        Ok(LoggedIn { renewed, replaced })
    }

    pub fn logout(&mut self, fd: Fd) -> Answer<String> {
        let own = self.own(fd)?.clone();
        let line = format!("@{}", own.uid);
        for channel in own.rooms.iter().chain([&line, &"*".to_owned()]) {
            self.tell(fd, Expected::Unsubscribed(channel.clone()));
        }
        self.connections.insert(fd, None);
        self.forget(fd, &own);
        Ok(own.uid)
    }

    pub fn join(&mut self, fd: Fd, room: &str, wish: Wish) -> Answer<()> {
        check_name("room", room, true)?;
        let own = self.own(fd)?.clone();
        let is_in = own.rooms.iter().any(|own| own == room);
        let max = self.settings.rooms_per_connection_max;
        if !is_in && !own.rights.may_join(room) {
            return Err(ChatError::RoomNotAllowed(room.into()));
        } else if !is_in && own.rooms.len() >= max {
            return Err(ChatError::RoomsOfConnection(max));
        }
        self.ensure_room(room, &Opens::of(&own.rights, &own.uid))?;
        let wish = if is_in { Wish::Now } else { wish };
        let (greeting, start) = self.greet(room, &own.uid, wish);
        self.tell(fd, Expected::Welcome(vec![greeting]));
        if !is_in {
            self.enter(fd, room, start);
        }
        Ok(())
    }

    pub fn leave(&mut self, fd: Fd, room: &str) -> Answer<()> {
        if !self.own(fd)?.rooms.iter().any(|own| own == room) {
            return Err(ChatError::NotJoined(room.into()));
        }
        self.go_out(fd, room);
        Ok(())
    }

    pub fn add_member(&mut self, room: &str, uid: &str) -> Answer<bool> {
        check_name("room", room, true)?;
        check_name("uid", uid, false)?;
        let own = self.lasting.get(uid).cloned().unwrap_or_default();
        let is_new = !own.iter().any(|own| own == room);
        if is_new {
            let max = self.settings.lasting_max;
            if own.len() >= self.settings.lasting_rooms_per_user_max {
                return Err(ChatError::RoomsOfUser(own.len()));
            } else if self.counted.lasting >= max {
                self.counted.refused_full += 1;
                return Err(ChatError::LastingFull(max));
            }
            self.ensure_room(room, &Opens::BackEnd)?;
            self.counted.lasting += 1;
            self.lasting
                .entry(uid.into())
                .or_default()
                .push(room.into());
            let members = &mut self.rooms.get_mut(room).expect("it is there").members;
            members.entry(uid.into()).or_default().lasting = true;
        }
        for fd in self.fds_of(uid) {
            if !self.own(fd)?.rooms.iter().any(|own| own == room) {
                let (_, start) = self.greet(room, uid, Wish::Now);
                self.enter(fd, room, start);
            }
        }
        Ok(is_new)
    }

    pub fn remove_member(&mut self, room: &str, uid: &str) -> Answer<bool> {
        check_name("room", room, true)?;
        check_name("uid", uid, false)?;
        let own = self.lasting.get(uid).cloned().unwrap_or_default();
        if !own.iter().any(|own| own == room) {
            return Ok(false);
        }
        self.counted.lasting -= 1;
        let rest: Vec<String> = own.into_iter().filter(|own| own != room).collect();
        self.lasting.insert(uid.into(), rest);
        self.lasting.retain(|_, rooms| !rooms.is_empty());
        self.change_room(room, |members| {
            members.get_mut(uid).expect("a lasting member").lasting = false;
        });
        for fd in self.fds_of(uid) {
            if self.own(fd)?.rooms.iter().any(|own| own == room) {
                self.go_out(fd, room);
            }
        }
        Ok(true)
    }

    /// Connections that count as the user's.
    pub fn fds_of(&self, uid: &str) -> Vec<Fd> {
        self.lines
            .get(uid)
            .map_or(Vec::new(), |line| line.fds.clone())
    }

    /// Gives the oldest connection if there are too many.
    fn bind(&mut self, fd: Fd, uid: &str) -> Option<Fd> {
        let max = self.settings.connections_per_user_max;
        let line = self.lines.get_mut(uid).expect("it was made sure of");
        self.counted.users += usize::from(line.fds.is_empty());
        line.fds.push(fd);
        if line.fds.len() <= max {
            return None;
        }
        self.counted.replaced += 1;
        let oldest = line.fds.remove(0);
        self.tell(oldest, Expected::Unsubscribed(format!("@{uid}")));
        Some(oldest)
    }

    fn enter(&mut self, fd: Fd, name: &str, start: super::log::Start) {
        let uid = self.own(fd).expect("it is logged in").uid.clone();
        let few_max = self.settings.presence_users_max;
        let room = self.rooms.get_mut(name).expect("it was made sure of");
        let others = room.connections();
        let member = room.members.entry(uid.clone()).or_default();
        let is_first = !member.is_present();
        member.fds.push(fd);
        member.leaving = None;
        let is_over = few_max > 0 && room.present() > few_max;
        let was_quiet = room.is_quiet;
        room.is_quiet |= is_first && is_over;
        self.counted.memberships += 1;
        if is_first && !was_quiet && few_max > 0 && others > 0 {
            if is_over {
                self.tell_all(name, &Expected::Presence(name.into(), None));
            } else {
                self.counted.joined += 1;
                self.tell_all(name, &Expected::Joined(name.into(), uid));
            }
        }
        self.subscribe(fd, name, start);
        self.own_mut(fd).rooms.push(name.into());
    }

    /// Takes a connection out of a room that it is in.
    fn go_out(&mut self, fd: Fd, room: &str) {
        self.tell(fd, Expected::Unsubscribed(room.into()));
        let own = self.own_mut(fd);
        own.rooms.retain(|own| own != room);
        let uid = own.uid.clone();
        self.depart(fd, &uid, room);
    }

    fn depart(&mut self, fd: Fd, uid: &str, room: &str) {
        let now = self.now;
        self.counted.memberships -= 1;
        self.change_room(room, |members| {
            let others = members
                .iter()
                .filter(|(other, member)| *other != uid && member.is_present());
            let alone = others.count() == 0;
            let member = members.get_mut(uid).expect("it was in there");
            member.fds.retain(|own| *own != fd);
            if member.fds.is_empty() && !alone {
                member.leaving = Some(now);
            }
        });
    }

    /// Changes who is in a room; it may be empty then.
    pub fn change_room(
        &mut self,
        room: &str,
        change: impl FnOnce(&mut std::collections::BTreeMap<String, super::model::Member>),
    ) {
        let now = self.now;
        let room = self.rooms.get_mut(room).expect("it is there");
        let had_members = !room.members.is_empty();
        change(&mut room.members);
        room.members
            .retain(|_, member| member.is_present() || member.lasting);
        room.touched.at = now;
        if had_members && room.members.is_empty() {
            room.touched.empty_since = now;
        }
    }

    fn leave_forbidden(&mut self, fd: Fd) {
        let own = self.own(fd).expect("it is logged in").clone();
        let lasting = self.lasting.get(&own.uid).cloned().unwrap_or_default();
        for room in own.rooms {
            if !own.rights.may_join(&room) && !lasting.contains(&room) {
                self.go_out(fd, &room);
            }
        }
    }

    fn forget(&mut self, fd: Fd, own: &Own) {
        for room in &own.rooms {
            self.depart(fd, &own.uid, room);
        }
        self.counted.logged_in -= 1;
        let now = self.now;
        let Some(line) = self.lines.get_mut(&own.uid) else {
            return;
        };
        let before = line.fds.len();
        line.fds.retain(|other| *other != fd);
        if before > 0 && line.fds.is_empty() {
            self.counted.users -= 1;
            line.touched.empty_since = now;
        }
        line.touched.at = now;
    }
}

/// A wish by the chat's epochs, as the model knows them.
pub fn wish_of(epochs: &super::log::Epochs, resume: tidings::chat::Resume) -> Wish {
    use tidings::chat::Resume;
    match resume {
        Resume::Now => Wish::Now,
        Resume::Acked => Wish::Acked,
        Resume::After(at) => {
            let claim: Claim = epochs.claim_of(at.epoch);
            Wish::After(claim, at.offset)
        }
    }
}
