//! Saying something: checked, placed in its channel and sent; or made pending, where it is stored.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Chat;
use super::call::{Call, Scope};
use super::channels::{Audience, ChannelKey, Channels};
use super::common::Capacity;
use super::error::ChatError;
use super::hasher::{IdOwner, IdempotencyKey};
use super::inboxes::InboxShard;
use super::message::{Keep, KeptMessage, NewMessage, Recipient};
use super::moment::Moment;
use super::name::{EVERYONE, User, check_room, check_uid};
use super::pending::{Destination, PendingMessage};
use super::placement::{Placement, UnkeptMessage, push};
use super::receipt::Receipt;
use super::rights::{Actor, Rights};
use super::settings::ChannelKind;
use super::shards::ShardPair;
use super::sink::Sink;
use crate::base::sync::lock;
use crate::base::{DeflatedData, Epoch, Fd, MessageBody, Position};

/// Bytes of an id at the most: a UUID has 36, a SHA-256 in hexadecimal has 64.
const ID_BYTES_MAX: usize = 64;

/// The outcome of a message that was let through.
#[derive(Debug, Clone)]
pub enum SayOutcome {
    /// The message is said.
    Said(Receipt<'static>),
    /// The message has to be stored first; then it is said.
    Pending(PendingMessage),
}

/// The one who says something, as the rights have it.
struct Speaker<'a> {
    from: Option<User>,
    /// The API key, if the key speaks and not the connection's own user.
    key: Option<Cow<'a, str>>,
    /// Whether an API key gives the right to it, or open mode by HTTP.
    is_back_end: bool,
}

impl Speaker<'_> {
    /// The bound against which channels count that the speaker opens.
    fn capacity(&self) -> Capacity<'_> {
        match (&self.from, self.is_back_end) {
            (Some(from), false) => Capacity::User(from),
            _ => Capacity::BackEnd,
        }
    }

    fn id_owner(&self) -> IdOwner<'_> {
        let from = self.from.as_ref().map(User::uid);
        match (&self.key, from) {
            (None, Some(uid)) => IdOwner::User(uid),
            (key, from) => IdOwner::Key {
                key: key.as_deref().unwrap_or_default(),
                from,
            },
        }
    }
}

/// A message that was let through, and isn't kept anywhere yet.
#[derive(Clone, Copy)]
struct Envelope<'a> {
    body: MessageBody<&'a str>,
    /// The user of `body.from`.
    from: Option<&'a User>,
    /// The user of `body.to`.
    to: Option<&'a User>,
    keep: Keep,
    except: &'a [Fd],
    /// The compressed form of the data.
    deflated: Option<&'a DeflatedData>,
    /// The bound against which a channel counts that it opens.
    capacity: Capacity<'a>,
}

impl<'a> Envelope<'a> {
    fn kept(&self) -> Arc<KeptMessage> {
        let (from, to) = (self.from.cloned(), self.to.cloned());
        let message = KeptMessage::new(&self.body, from, to);
        Arc::new(message.with_deflated(self.deflated.cloned()))
    }

    /// Whether a user says it, and no back end.
    fn is_users(&self) -> bool {
        self.capacity != Capacity::BackEnd
    }

    /// The bound against which the line of `uid` counts. A user who is here has one already, and
    /// shall not be refused for it.
    fn capacity_to(&self, uid: &str) -> Capacity<'a> {
        match self.capacity {
            Capacity::User(user) if user.uid() == uid => Capacity::Reserved,
            capacity => capacity,
        }
    }

    fn addressed(self, to: &'a User) -> Self {
        let body = MessageBody {
            to: Some(to.uid()),
            ..self.body
        };
        Self {
            body,
            to: Some(to),
            ..self
        }
    }

    /// Decides how the message is placed in a channel that isn't stored.
    fn placement<'b>(&self, kept: Option<&'b Arc<KeptMessage>>) -> Placement<'b>
    where
        'a: 'b,
    {
        match kept {
            Some(message) => Placement::Memory(message),
            None => {
                let (body, deflated) = (self.body, self.deflated);
                Placement::Unkept(UnkeptMessage { body, deflated }, self.except)
            }
        }
    }
}

impl Chat {
    /// Says something to one room, user or connection, or to everyone. In a channel that is stored,
    /// gives the message that is to be stored first.
    ///
    /// A repeat isn't delivered again: its receipt has the position of the first message.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nobody got it then.
    pub fn say(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        actor: Actor<'_>,
        to: Recipient<'_>,
        message: &NewMessage<'_>,
    ) -> Result<SayOutcome, ChatError> {
        self.check(to, message)?;
        let speaker = self.speaker(actor, to, message)?;
        let deflated = self.deflated(sink, &[to], message);
        let call = &mut self.call(sink, now.tick);
        let what = (message, deflated.as_ref());
        self.say_as(call, now.unix_ms, &speaker, to, what)
    }

    /// Says the same to several receivers, one after the other, as a message of its own for each.
    /// All receivers are checked before the first one gets the message.
    ///
    /// # Errors
    ///
    /// [`ChatError`] of the whole request, before anybody got the message; an inner [`ChatError`]
    /// is that of one receiver.
    pub fn say_to_each(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        actor: Actor<'_>,
        to: &[Recipient<'_>],
        message: &NewMessage<'_>,
    ) -> Result<Vec<Result<SayOutcome, ChatError>>, ChatError> {
        let max = self.common.settings.receivers_max();
        if to.is_empty() || to.len() > max {
            return Err(ChatError::Receivers(max));
        }
        let mut speakers = Vec::with_capacity(to.len());
        for to in to {
            self.check(*to, message)?;
            speakers.push(self.speaker(actor, *to, message)?);
        }
        let deflated = self.deflated(sink, to, message);
        let call = &mut self.call(sink, now.tick);
        let what = (message, deflated.as_ref());
        let each = to.iter().zip(&speakers);
        Ok(each
            .map(|(to, speaker)| self.say_as(call, now.unix_ms, speaker, *to, what))
            .collect())
    }

    fn check(&self, to: Recipient<'_>, message: &NewMessage<'_>) -> Result<(), ChatError> {
        match to {
            Recipient::Room(room) => check_room("to.room", room)?,
            Recipient::User(uid) => check_uid("to.user", uid)?,
            Recipient::Fd(_) | Recipient::All => {}
        }
        if let Some(id) = &message.id
            && !(1..=ID_BYTES_MAX).contains(&id.len())
        {
            return Err(ChatError::Id(ID_BYTES_MAX));
        }
        let except_max = self.common.settings.receivers_max();
        if message.except.len() > except_max {
            return Err(ChatError::Except(except_max));
        } else if message.keep == Keep::Yes && !message.except.is_empty() {
            return Err(ChatError::ExceptOfStored);
        }
        Ok(())
    }

    /// Judges the rights of an actor to say something.
    fn speaker<'a>(
        &self,
        actor: Actor<'a>,
        to: Recipient<'_>,
        message: &NewMessage<'_>,
    ) -> Result<Speaker<'a>, ChatError> {
        let from = message.from.as_deref();
        if let Some(from) = from {
            check_uid("from", from)?;
        }
        let from = from.map(User::new);
        let fd = match actor {
            Actor::Connection(fd) => fd,
            Actor::Key(name) => {
                return Ok(Speaker {
                    from,
                    key: Some(name.into()),
                    is_back_end: true,
                });
            }
            Actor::User(user) => {
                check_uid("uid", user.uid)?;
                user.may_say(to, message)?;
                return Ok(Speaker {
                    from: Some(User::new(user.uid)),
                    key: None,
                    is_back_end: false,
                });
            }
        };
        let mut shard = self.connections.lock_number(fd.0);
        let own = shard.login_of(fd)?;
        match (&*own.rights, to) {
            (Rights::ApiKey { name }, _) => {
                let key = from.is_some().then(|| name.to_string().into());
                return Ok(Speaker {
                    from: Some(from.unwrap_or_else(|| own.user.clone())),
                    key,
                    is_back_end: true,
                });
            }
            _ if from.is_some() => return Err(ChatError::KeyNeeded("from")),
            (_, Recipient::Fd(_) | Recipient::All) => return Err(ChatError::KeyNeeded("to")),
            (Rights::Token { .. }, Recipient::Room(room)) if !own.rooms.contains(room) => {
                return Err(ChatError::NotJoined(room.into()));
            }
            (Rights::Open | Rights::Token { .. }, Recipient::Room(_) | Recipient::User(_)) => {}
        }
        Ok(Speaker {
            from: Some(own.user.clone()),
            key: None,
            is_back_end: false,
        })
    }

    fn say_as(
        &self,
        call: &mut Call<'_>,
        ts: u64,
        speaker: &Speaker<'_>,
        to: Recipient<'_>,
        (message, deflated): (&NewMessage<'_>, Option<&DeflatedData>),
    ) -> Result<SayOutcome, ChatError> {
        let own_id = message.id.as_deref();
        let made_id = own_id.is_none().then(|| self.common.ids.id());
        let id = own_id.or(made_id.as_deref()).unwrap_or_default();
        let from = speaker.from.as_ref();
        let envelope = Envelope {
            body: MessageBody {
                id,
                from: from.map(User::uid),
                to: None,
                ts,
                data: message.data,
            },
            from,
            to: None,
            keep: message.keep,
            except: &message.except,
            deflated,
            capacity: speaker.capacity(),
        };
        // An id that was made here is nobody else's: there is nothing to remember.
        let key_in = |channel: &str| {
            Some((self.common.hasher).idempotency_key(channel, speaker.id_owner(), own_id?))
        };
        if self.common.in_cluster()
            && let Some(pending) = self.pending_in_cluster(to, envelope, speaker.id_owner(), key_in)
        {
            return Ok(SayOutcome::Pending(pending));
        }
        let outcome = match to {
            Recipient::Room(room) => self.say_in_room(call, room, &envelope, key_in(room)),
            Recipient::User(uid) => self.say_to_user(call, uid, envelope, key_in),
            Recipient::All => Ok(self.say_to_all(call, &envelope, key_in(EVERYONE))),
            Recipient::Fd(fd) => push(call, fd, &envelope.body).map(SayOutcome::Said),
        }?;
        let SayOutcome::Said(receipt) = &outcome else {
            // A message counts once it is said.
            return Ok(outcome);
        };
        let totals = &self.common.totals;
        if receipt.duplicate {
            totals.duplicates.add(1);
        } else {
            totals.messages.add(1);
            totals.deliveries.add(receipt.receivers as u64);
        }
        Ok(outcome)
    }

    fn say_in_room(
        &self,
        call: &mut Call<'_>,
        room: &str,
        envelope: &Envelope<'_>,
        key: Option<IdempotencyKey>,
    ) -> Result<SayOutcome, ChatError> {
        let (kind, scope, id) = (self.kind(room, envelope.keep), call.scope, envelope.body.id);
        let channels = &mut self.rooms.lock(room).channels;
        if kind == ChannelKind::Stored {
            let (name, found) = channels.ensure_for_later(scope, room, envelope.capacity)?;
            let (epoch, is_opened) = (found.log.position().epoch, found.log.has_opener);
            let destination = Destination::Room(Arc::clone(name));
            let pending = self.pending(destination, envelope, key, (Some(epoch), None));
            return Ok(SayOutcome::Pending(
                pending.opened(is_opened && envelope.is_users()),
            ));
        }
        if let Some(first) = self.recent_ids.find(scope, key) {
            return Ok(SayOutcome::Said(Receipt::repeat(
                room.into(),
                id.to_owned(),
                first,
            )));
        }
        let kept = (kind == ChannelKind::Memory).then(|| envelope.kept());
        let place = match kept {
            Some(_) => Some(channels.ensure(scope, room, envelope.capacity)?),
            None => channels.by_name.place_of(room),
        };
        let placement = envelope.placement(kept.as_ref());
        let (channel, position, receivers) = match place {
            Some(place) => {
                let (name, position, receivers) = channels.say_at(call, place, &placement);
                (Arc::clone(name), position, receivers)
            }
            None => (room.into(), None, 0),
        };
        self.remember(scope, key, envelope, position);
        let receipt = Receipt::new(Some(channel), id.to_owned(), position, receivers);
        Ok(SayOutcome::Said(receipt))
    }

    /// Says one message in two inboxes, the receiver's and the sender's; to oneself, in one.
    fn say_to_user(
        &self,
        call: &mut Call<'_>,
        uid: &str,
        envelope: Envelope<'_>,
        key_in: impl Fn(&str) -> Option<IdempotencyKey>,
    ) -> Result<SayOutcome, ChatError> {
        let (scope, id) = (call.scope, envelope.body.id);
        let sender = envelope.from.filter(|from| from.uid() != uid);
        let mut pair = self.inboxes.lock_two(uid, sender.map_or(uid, User::uid));
        let user = pair.first().channels.key(uid);
        let (kind, kind_of_sender) = (
            self.kind(user.inbox(), envelope.keep),
            sender.map_or(ChannelKind::None, |sender| {
                self.kind(sender.inbox(), envelope.keep)
            }),
        );
        let key = key_in(user.inbox());
        let is_stored = kind == ChannelKind::Stored || kind_of_sender == ChannelKind::Stored;
        if !is_stored && let Some(first) = self.recent_ids.find(scope, key) {
            let inbox = Arc::clone(user.inbox());
            return Ok(SayOutcome::Said(Receipt::repeat(
                inbox,
                id.to_owned(),
                first,
            )));
        }
        let with_room = (kind != ChannelKind::None).then_some(uid);
        let of_sender = sender.filter(|_| kind_of_sender != ChannelKind::None);
        make_room(call.scope, &mut pair, with_room, of_sender, &envelope)?;
        if !envelope.is_users() {
            pair.first().claim(call, uid);
        } else if let Some(sender) = envelope.from {
            // A user may come by HTTP alone.
            pair.second().claim(call, sender.uid());
        }
        let envelope = envelope.addressed(&user);
        if is_stored {
            let line = pair.first().channels.find(uid);
            let is_opened = line.is_some_and(|(_, line)| line.log.has_opener);
            let of_receiver = stored_epoch(&mut pair.first().channels, scope, uid, kind);
            let of_sender = sender.and_then(|sender| {
                let inboxes = &mut pair.second().channels;
                stored_epoch(inboxes, scope, sender.uid(), kind_of_sender)
            });
            let epochs = (of_receiver, of_sender);
            let to = Destination::User(user.clone());
            let pending = self.pending(to, &envelope, key, epochs);
            return Ok(SayOutcome::Pending(
                pending.opened(is_opened && of_receiver.is_some()),
            ));
        }
        let is_kept = [kind, kind_of_sender].contains(&ChannelKind::Memory);
        let message = is_kept.then(|| envelope.kept());
        let placement = |kind| {
            let message = message.as_ref();
            envelope.placement(message.filter(|_| kind == ChannelKind::Memory))
        };
        let inboxes = &mut pair.first().channels;
        let said = inboxes.say(call, uid, &placement(kind));
        let (position, receivers) =
            said.map_or((None, 0), |(_, position, receivers)| (position, receivers));
        self.remember(scope, key, &envelope, position);
        let inbox = Some(Arc::clone(user.inbox()));
        let receipt = Receipt::new(inbox, id.to_owned(), position, receivers);
        if let Some(sender) = sender {
            call.sink.said(&receipt);
            let inboxes = &mut pair.second().channels;
            inboxes.say(call, sender.uid(), &placement(kind_of_sender));
        }
        Ok(SayOutcome::Said(receipt))
    }

    fn say_to_all(
        &self,
        call: &mut Call<'_>,
        envelope: &Envelope<'_>,
        key: Option<IdempotencyKey>,
    ) -> SayOutcome {
        let (scope, id) = (call.scope, envelope.body.id);
        let kind = self.kind(EVERYONE, envelope.keep);
        let fds: Vec<Fd> = match envelope.except {
            [] => Vec::new(),
            _ => self.logged_in(),
        };
        let name = &self.everyone_name;
        let everyone = &mut *lock(&self.everyone);
        if kind == ChannelKind::Stored {
            let destination = Destination::Everyone(Arc::clone(name));
            let epochs = (Some(everyone.log.position().epoch), None);
            return SayOutcome::Pending(self.pending(destination, envelope, key, epochs));
        }
        if let Some(first) = self.recent_ids.find(scope, key) {
            return SayOutcome::Said(Receipt::repeat(Arc::clone(name), id.to_owned(), first));
        }
        let kept = (kind == ChannelKind::Memory).then(|| envelope.kept());
        let placement = envelope.placement(kept.as_ref());
        let (position, receivers) = everyone.say(call, name, &placement, fds);
        self.remember(scope, key, envelope, position);
        let channel = Some(Arc::clone(name));
        SayOutcome::Said(Receipt::new(channel, id.to_owned(), position, receivers))
    }

    /// Remembers the id of a message that was said, under the lock of its channel.
    #[inline]
    fn remember(
        &self,
        scope: Scope<'_>,
        key: Option<IdempotencyKey>,
        envelope: &Envelope<'_>,
        position: Option<Position>,
    ) {
        if let Some(key) = key {
            let from = envelope.body.from;
            (self.recent_ids).remember(scope, key, from, position);
        }
    }

    /// Makes a message that is to be stored. To be called under the locks under which the epochs
    /// were read.
    fn pending(
        &self,
        destination: Destination,
        envelope: &Envelope<'_>,
        key: Option<IdempotencyKey>,
        epochs: (Option<Epoch>, Option<Epoch>),
    ) -> PendingMessage {
        PendingMessage {
            destination,
            message: envelope.kept(),
            idempotency_key: key.map(|key| key.0),
            id_owner: 0,
            epochs,
            forgets: self.common.forgets.load(Relaxed),
            is_opened: false,
            is_kept: true,
            except: Box::default(),
        }
    }

    /// Makes a message for the log of a cluster, which sends it to all nodes: its channels needn't be here,
    /// and one that the log doesn't know begins in the epoch that comes with it. `None` for one connection.
    fn pending_in_cluster(
        &self,
        to: Recipient<'_>,
        envelope: Envelope<'_>,
        owner: IdOwner<'_>,
        key_in: impl Fn(&str) -> Option<IdempotencyKey>,
    ) -> Option<PendingMessage> {
        let user = match to {
            Recipient::User(uid) => Some(User::new(uid)),
            _ => None,
        };
        let destination = match (to, &user) {
            (Recipient::Fd(_), _) => return None,
            (Recipient::Room(room), _) => Destination::Room(room.into()),
            (_, Some(user)) => Destination::User(user.clone()),
            (_, None) => Destination::Everyone(Arc::clone(&self.everyone_name)),
        };
        let user = user.as_ref();
        let has_two = user.is_some() && envelope.from.is_some_and(|from| Some(from) != user);
        let envelope = user.map_or(envelope, |user| envelope.addressed(user));
        let epochs = [true, has_two].map(|has| has.then(|| self.common.ids.epoch()));
        let pending = self.pending(destination, &envelope, None, epochs.into());
        let key = key_in(pending.channel());
        Some(PendingMessage {
            idempotency_key: key.map(|key| key.0),
            id_owner: key.map_or(0, |_| self.common.hasher.id_owner(owner)),
            is_kept: envelope.keep == Keep::Yes,
            except: envelope.except.into(),
            ..pending
        })
    }

    pub(super) fn logged_in(&self) -> Vec<Fd> {
        let mut fds = Vec::new();
        for part in 0..self.connections.len() {
            fds.extend(self.connections.lock_part(part).logged_in());
        }
        fds
    }

    /// Decides what a channel does with a message.
    fn kind(&self, channel: &str, keep: Keep) -> ChannelKind {
        match keep {
            Keep::Yes => self.common.settings.kind_of(channel),
            Keep::No => ChannelKind::None,
        }
    }
}

/// Makes sure that the inboxes of a private message exist; both have room for it, or neither gets it.
fn make_room(
    scope: Scope<'_>,
    pair: &mut ShardPair<'_, InboxShard>,
    uid: Option<&str>,
    sender: Option<&User>,
    envelope: &Envelope<'_>,
) -> Result<(), ChatError> {
    if let Some(uid) = uid {
        (pair.first().channels).ensure(scope, uid, envelope.capacity_to(uid))?;
    }
    let Some(sender) = sender.map(User::uid) else {
        return Ok(());
    };
    let of_sender = &mut pair.second().channels;
    let opened = of_sender.ensure(scope, sender, envelope.capacity_to(sender));
    if opened.is_err()
        && let Some(uid) = uid
    {
        pair.first().channels.schedule_removal(scope, uid);
    }
    opened.map(drop)
}

/// Returns the epoch of a channel, if the channel is stored; schedules its removal, since a new
/// channel has no message until one is stored.
fn stored_epoch<K: ChannelKey, A: Audience>(
    channels: &mut Channels<K, A>,
    scope: Scope<'_>,
    name: &str,
    kind: ChannelKind,
) -> Option<Epoch> {
    channels.schedule_removal(scope, name);
    let (_, found) = channels.find(name)?;
    (kind == ChannelKind::Stored).then(|| found.log.position().epoch)
}
