//! Saying something: judged, put where it stands, and sent; or made a draft of, where it is stored.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::chat::Chat;
use super::common::{Capacity, Envelope, Moment, Placement};
use super::dedup::{IdempotencyKey, Recent, Speaker};
use super::error::ChatError;
use super::inboxes::InboxShard;
use super::message::{Keep, NewMessage, Receipt, Recipient};
use super::name::{EVERYONE, User, check_room, check_uid};
use super::pending::{PendingMessage, Receiver};
use super::rights::{Actor, Rights};
use super::settings::ChannelKind;
use super::shards::lock;
use super::sink::Sink;
use crate::base::Fd;
use crate::base::{Epoch, Position};

/// Bytes of an id at the most.
const ID_BYTES_MAX: usize = 64;

/// What becomes of a message that was let through.
#[derive(Debug, Clone)]
pub enum SayOutcome {
    /// It is said.
    Said(Receipt),
    /// It is to be stored, and said then.
    Pending(PendingMessage),
}

/// Who says something.
struct Author<'a> {
    from: Option<User>,
    /// The API key, where it speaks and not the connection's own user.
    key: Option<Cow<'a, str>>,
}

impl Author<'_> {
    fn speaker(&self) -> Speaker<'_> {
        let from = self.from.as_ref().map(User::uid);
        match (&self.key, from) {
            (None, Some(uid)) => Speaker::User(uid),
            (key, from) => Speaker::Key {
                key: key.as_deref().unwrap_or_default(),
                from,
            },
        }
    }
}

impl Chat {
    /// Says something to one room, user or connection, or to everyone; in a channel that is
    /// stored, gives the draft of it.
    ///
    /// It is delivered once: a repeat is answered with the position of the first.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nobody got it then.
    pub fn say(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        actor: Actor<'_>,
        to: Recipient<'_>,
        say: &NewMessage<'_>,
    ) -> Result<SayOutcome, ChatError> {
        self.check(to, say)?;
        let author = self.author(actor, to, say.from)?;
        self.say_as(post, now, &author, to, say)
    }

    /// Says the same to several receivers, one after the other: a message for each of them. All
    /// are checked before the first one gets it.
    ///
    /// # Errors
    ///
    /// [`ChatError`] of the whole, before anybody got it; inside, of one receiver.
    pub fn say_to_each(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        actor: Actor<'_>,
        to: &[Recipient<'_>],
        say: &NewMessage<'_>,
    ) -> Result<Vec<Result<SayOutcome, ChatError>>, ChatError> {
        let max = self.common.settings.receivers_max;
        if to.is_empty() || to.len() > max {
            return Err(ChatError::Receivers(max));
        }
        let mut authors = Vec::with_capacity(to.len());
        for to in to {
            self.check(*to, say)?;
            authors.push(self.author(actor, *to, say.from)?);
        }
        let each = to.iter().zip(&authors);
        Ok(each
            .map(|(to, author)| self.say_as(post, now, author, *to, say))
            .collect())
    }

    fn check(&self, to: Recipient<'_>, say: &NewMessage<'_>) -> Result<(), ChatError> {
        match to {
            Recipient::Room(room) => check_room("to.room", room)?,
            Recipient::User(uid) => check_uid("to.user", uid)?,
            Recipient::Fd(_) | Recipient::All => {}
        }
        if let Some(id) = say.id
            && !(1..=ID_BYTES_MAX).contains(&id.len())
        {
            return Err(ChatError::Id(ID_BYTES_MAX));
        }
        let except_max = self.common.settings.receivers_max;
        if say.except.len() > except_max {
            return Err(ChatError::Except(except_max));
        } else if say.keep == Keep::Yes && !say.except.is_empty() {
            return Err(ChatError::ExceptOfStored);
        }
        Ok(())
    }

    /// Judges the rights of whoever speaks.
    fn author<'a>(
        &self,
        actor: Actor<'a>,
        to: Recipient<'_>,
        from: Option<&str>,
    ) -> Result<Author<'a>, ChatError> {
        if let Some(from) = from {
            check_uid("from", from)?;
        }
        let from = from.map(User::new);
        let fd = match actor {
            Actor::Connection(fd) => fd,
            Actor::Key(name) => {
                let key = Some(name.into());
                return Ok(Author { from, key });
            }
        };
        let mut shard = self.connections.lock_number(fd.0);
        let own = shard.login_of(fd)?;
        match (&*own.rights, to) {
            (Rights::ApiKey { name }, _) => {
                let key = from.is_some().then(|| name.to_string().into());
                let from = Some(from.unwrap_or_else(|| own.user.clone()));
                return Ok(Author { from, key });
            }
            _ if from.is_some() => return Err(ChatError::KeyNeeded("from")),
            (_, Recipient::Fd(_) | Recipient::All) => return Err(ChatError::KeyNeeded("to")),
            (Rights::Token { .. }, Recipient::Room(room)) if !own.rooms.contains(room) => {
                return Err(ChatError::NotJoined(room.into()));
            }
            (Rights::Open | Rights::Token { .. }, Recipient::Room(_) | Recipient::User(_)) => {}
        }
        let from = Some(own.user.clone());
        Ok(Author { from, key: None })
    }

    fn say_as(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        author: &Author<'_>,
        to: Recipient<'_>,
        say: &NewMessage<'_>,
    ) -> Result<SayOutcome, ChatError> {
        let id = say
            .id
            .map_or_else(|| self.common.source.id().into(), Cow::Borrowed);
        let message = Envelope {
            id: &id,
            from: author.from.as_ref(),
            to: None,
            ts: now.unix_ms,
            data: say.data,
            except: say.except,
        };
        // An id that was made here is nobody else's: there is nothing to remember.
        let same = |channel: &str| {
            say.id
                .map(|id| self.common.hasher.sameness(channel, author.speaker(), id))
        };
        let saying = match to {
            Recipient::Room(room) => {
                self.say_in_room(post, now, room, &message, same(room), say.keep)
            }
            Recipient::User(uid) => self.say_to_user(post, now, uid, &message, same, say.keep),
            Recipient::All => Ok(self.say_to_all(post, now, &message, same(EVERYONE), say.keep)),
            Recipient::Fd(fd) => match message.push(post, fd) {
                true => Ok(SayOutcome::Said(Receipt::new(None, &id, None, 1))),
                false => Err(ChatError::NoConnection(fd)),
            },
        }?;
        let SayOutcome::Said(said) = &saying else {
            // It counts once it is said.
            return Ok(saying);
        };
        let totals = &self.common.totals;
        if said.duplicate {
            totals.duplicates.add(1);
        } else {
            totals.messages.add(1);
            totals.deliveries.add(said.receivers as u64);
        }
        Ok(saying)
    }

    fn say_in_room(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        room: &str,
        message: &Envelope<'_>,
        same: Option<IdempotencyKey>,
        keep: Keep,
    ) -> Result<SayOutcome, ChatError> {
        let (common, tick) = (&self.common, now.tick);
        let kind = self.kind(room, keep);
        let shard = &mut *self.rooms.lock(room);
        if kind == ChannelKind::Stored {
            shard.ensure(common, tick, room, Capacity::Bounded)?;
            shard.settle(common, tick, room);
            let (name, found) = shard.find(room).expect("it was made sure of");
            let epoch = found.log.position().epoch;
            return Ok(SayOutcome::Pending(PendingMessage {
                receiver: Receiver::Room(Arc::clone(name)),
                message: message.kept(),
                sameness: same.map(|same| same.0),
                first: true,
                second: false,
                epochs: (epoch, epoch),
                forgets: common.forgets.load(Relaxed),
            }));
        }
        if let Some(first) = self.repeat(&mut shard.recent, now, same) {
            return Ok(SayOutcome::Said(Receipt::repeat(
                room.into(),
                message.id,
                first,
            )));
        }
        let kept = (kind == ChannelKind::Memory).then(|| message.kept());
        if kept.is_some() {
            shard.ensure(common, tick, room, Capacity::Bounded)?;
        }
        let standing = kept.as_ref().map_or(Placement::Nowhere, Placement::Next);
        let (position, receivers) = shard.say(common, post, tick, room, message, standing);
        self.remember(&mut shard.recent, now, same, position);
        let channel = shard
            .find(room)
            .map_or_else(|| room.into(), |(name, _)| Arc::clone(name));
        let receipt = Receipt::new(Some(channel), message.id, position, receivers);
        Ok(SayOutcome::Said(receipt))
    }

    /// One message in two lines, the receiver's and the sender's; to oneself, in one.
    fn say_to_user(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        uid: &str,
        message: &Envelope<'_>,
        same: impl Fn(&str) -> Option<IdempotencyKey>,
        keep: Keep,
    ) -> Result<SayOutcome, ChatError> {
        let (common, tick) = (&self.common, now.tick);
        let sender = message.from.map(User::uid).filter(|from| *from != uid);
        let mut pair = self.inboxes.lock_two(uid, sender.unwrap_or(uid));
        let receiver = pair.first();
        let user = receiver
            .find(uid)
            .map_or_else(|| User::new(uid), |(user, _)| user.clone());
        let same = same(user.line());
        let kind = |user: &User| self.kind(user.line(), keep);
        let other = message.from.filter(|_| sender.is_some());
        let (kind, kind_of_sender) = (kind(&user), other.map_or(ChannelKind::None, kind));
        let (kept, kept_by_sender) = (
            kind != ChannelKind::None,
            kind_of_sender != ChannelKind::None,
        );
        let is_stored = kind == ChannelKind::Stored || kind_of_sender == ChannelKind::Stored;
        if !is_stored && let Some(first) = self.repeat(&mut receiver.recent, now, same) {
            let line = Arc::clone(user.line());
            return Ok(SayOutcome::Said(Receipt::repeat(line, message.id, first)));
        }
        // Both have room for it, or neither gets it.
        if kept {
            receiver.ensure(common, tick, uid, Capacity::Bounded)?;
        }
        if let (true, Some(sender)) = (kept_by_sender, sender)
            && let Err(full) = pair
                .second()
                .ensure(common, tick, sender, Capacity::Bounded)
        {
            pair.first().settle(common, tick, uid);
            return Err(full);
        }
        let message = Envelope {
            to: Some(&user),
            ..*message
        };
        let entry = (kept || kept_by_sender).then(|| message.kept());
        if let (true, Some(message)) = (is_stored, &entry) {
            let epoch_in = |inboxes: &mut InboxShard, uid: &str| {
                inboxes.settle(common, tick, uid);
                (inboxes.find(uid)).map_or(Epoch::NONE, |(_, inbox)| inbox.log.position().epoch)
            };
            let epochs = (
                epoch_in(pair.first(), uid),
                epoch_in(pair.second(), sender.unwrap_or(uid)),
            );
            return Ok(SayOutcome::Pending(PendingMessage {
                message: Arc::clone(message),
                sameness: same.map(|same| same.0),
                first: kind == ChannelKind::Stored,
                second: kind_of_sender == ChannelKind::Stored,
                receiver: Receiver::User(user),
                epochs,
                forgets: common.forgets.load(Relaxed),
            }));
        }
        let receiver = pair.first();
        let standing = |kept| match &entry {
            Some(message) => Placement::of(None, message, kept),
            None => Placement::Nowhere,
        };
        let (position, receivers) = receiver.say(common, post, tick, uid, &message, standing(kept));
        self.remember(&mut receiver.recent, now, same, position);
        if let Some(sender) = sender {
            let standing = standing(kept_by_sender);
            pair.second()
                .say(common, post, tick, sender, &message, standing);
        }
        let channel = Some(Arc::clone(user.line()));
        Ok(SayOutcome::Said(Receipt::new(
            channel, message.id, position, receivers,
        )))
    }

    fn say_to_all(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        message: &Envelope<'_>,
        same: Option<IdempotencyKey>,
        keep: Keep,
    ) -> SayOutcome {
        let kind = self.kind(EVERYONE, keep);
        let fds: Vec<Fd> = match message.except {
            [] => Vec::new(),
            _ => self.logged_in(),
        };
        let everyone = &mut *lock(&self.everyone);
        if kind == ChannelKind::Stored {
            let epoch = everyone.log.position().epoch;
            return SayOutcome::Pending(PendingMessage {
                receiver: Receiver::Everyone(Arc::clone(&self.everyone_name)),
                message: message.kept(),
                sameness: same.map(|same| same.0),
                first: true,
                second: false,
                epochs: (epoch, epoch),
                forgets: self.common.forgets.load(Relaxed),
            });
        }
        if let Some(first) = self.repeat(&mut everyone.recent, now, same) {
            let name = Arc::clone(&self.everyone_name);
            return SayOutcome::Said(Receipt::repeat(name, message.id, first));
        }
        let kept = (kind == ChannelKind::Memory).then(|| message.kept());
        let standing = kept.as_ref().map_or(Placement::Nowhere, Placement::Next);
        let position = self.common.place(now.tick, &mut everyone.log, standing);
        let (name, subscribed) = (&self.everyone_name, everyone.connections);
        let receivers = message.publish(post, name, position, subscribed, fds.into_iter());
        self.remember(&mut everyone.recent, now, same, position);
        SayOutcome::Said(Receipt::new(
            Some(Arc::clone(name)),
            message.id,
            position,
            receivers,
        ))
    }

    fn logged_in(&self) -> Vec<Fd> {
        let mut fds = Vec::new();
        for part in 0..self.connections.len() {
            fds.extend(self.connections.lock_part(part).logged_in());
        }
        fds
    }

    /// What becomes of a message in a channel.
    fn kind(&self, channel: &str, keep: Keep) -> ChannelKind {
        match keep {
            Keep::Yes => self.common.settings.kind_of(channel),
            Keep::No => ChannelKind::None,
        }
    }

    fn repeat(
        &self,
        recent: &mut Recent,
        now: Moment,
        same: Option<IdempotencyKey>,
    ) -> Option<Option<Position>> {
        let (settings, totals) = (&self.common.settings, &self.common.totals);
        recent.find(now.tick, same?, settings, totals)
    }

    fn remember(
        &self,
        recent: &mut Recent,
        now: Moment,
        same: Option<IdempotencyKey>,
        position: Option<Position>,
    ) {
        if let Some(same) = same {
            let (settings, totals) = (&self.common.settings, &self.common.totals);
            recent.remember(now.tick, same, position, settings, totals);
        }
    }
}
