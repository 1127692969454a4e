//! A message for channels that are stored: let through, but said only once it is on disk.
//!
//! [`Chat::say`] gives a [`PendingMessage`]. When it is written, [`Chat::epochs_of`] says in which
//! epochs new channels begin. [`Chat::deliver_stored`] gets the places of the messages in the order
//! in which the disk gave them: it delivers each message under the lock of its shard, and returns
//! the answer.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard};

use super::Chat;
use super::call::Call;
use super::message::KeptMessage;
use super::name::User;
use super::placement::{Placement, UnkeptMessage};
use super::receipt::Receipt;
use super::rooms::RoomShard;
use super::sink::Sink;
use crate::base::sync::lock;
use crate::base::{Epoch, Fd, Position, Tick};

/// A message that was let through and is to be written, to one or two channels.
#[derive(Debug, Clone)]
pub struct PendingMessage {
    pub(super) destination: Destination,
    pub(super) message: Arc<KeptMessage>,
    pub(super) idempotency_key: Option<u128>,
    /// The hash of the owner of its id; 0 where nobody counts that.
    pub(super) id_owner: u32,
    /// The epochs of the destination and of the sender's inbox, each where that is stored.
    pub(super) epochs: (Option<Epoch>, Option<Epoch>),
    /// `Common::forgets` at the moment in which the epochs were read.
    pub(super) forgets: u64,
    /// Whether its first channel counts for the sender if the disk doesn't know the channel yet.
    pub(super) is_opened: bool,
    /// Whether channels that keep anything keep the message; only a cluster is given one that isn't.
    pub(super) is_kept: bool,
    /// Connections that don't get the message, where it isn't kept.
    pub(super) except: Box<[Fd]>,
}

/// The channel in which a pending message is said.
#[derive(Debug, Clone)]
pub(super) enum Destination {
    Room(Arc<str>),
    User(User),
    Everyone(Arc<str>),
}

impl PendingMessage {
    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> &Arc<KeptMessage> {
        &self.message
    }

    /// Returns the key that a repeat of the message has too; `None` when the chat made the id.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<u128> {
        self.idempotency_key
    }

    /// Returns the hash of the user or the API key that gave the message its id; 0 outside of a cluster.
    #[must_use]
    pub fn id_owner(&self) -> u64 {
        self.id_owner.into()
    }

    /// Returns the channels to which the message is to be written: one, or two at once.
    #[must_use]
    pub fn channels(&self) -> (&str, Option<&str>) {
        let sender = self.message.from.as_ref();
        let of_sender = || sender.map(|sender| &**sender.inbox());
        match self.epochs {
            (Some(_), None) => (self.channel(), None),
            (Some(_), Some(_)) => (self.channel(), of_sender()),
            (None, _) => (
                of_sender().expect("a pending message has a channel that is stored"),
                None,
            ),
        }
    }

    /// Whether the sender opens the first of [`PendingMessage::channels`], if it is new on disk: the
    /// channel counts for the sender after a restart, too.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        self.is_opened
    }

    /// Returns the connections that don't get the message, which isn't kept then.
    #[must_use]
    pub fn except(&self) -> &[Fd] {
        &self.except
    }

    /// Says the same of a channel that counts for the one who opened it.
    pub(super) fn opened(self, is_opened: bool) -> Self {
        Self { is_opened, ..self }
    }

    /// Returns about how many bytes the message keeps.
    #[must_use]
    pub fn size(&self) -> usize {
        self.message.size() + size_of::<Self>()
    }

    /// Returns the channel in which the message is said.
    pub(super) fn channel(&self) -> &Arc<str> {
        match &self.destination {
            Destination::Room(name) | Destination::Everyone(name) => name,
            Destination::User(user) => user.inbox(),
        }
    }
}

impl Chat {
    /// Returns the epochs in which the channels of [`PendingMessage::channels`] are to begin where
    /// the disk doesn't know them. To be called by the thread that writes, after its calls of
    /// [`Chat::forget_channel`] for all channels that it forgot before.
    ///
    /// A position must never mean two messages, so a channel that was forgotten must not begin
    /// again in the epoch that it had. The epochs were read under the locks of [`Chat::say`]. As
    /// long as no channel has been forgotten since, these epochs are right: a channel that the disk
    /// doesn't know now wasn't known then either, and nothing was ever stored in its epoch.
    ///
    /// A purge doesn't matter: the disk knows a channel that was purged, and keeps its epoch. A
    /// channel that has left memory since and come back with another epoch doesn't matter either:
    /// the disk's epoch counts, and clients that were told the other epoch get a gap.
    ///
    /// If a channel was forgotten since, which is rare and ends a batch of the disk, the chat looks
    /// up the channels as they are now, which takes the locks of their shards.
    #[must_use]
    pub fn epochs_of(&self, pending: &PendingMessage) -> (Epoch, Option<Epoch>) {
        let (first, second) = pending.channels();
        // The same thread counts the channels that were forgotten, so this is exact.
        let was_any_forgotten = pending.forgets != self.common.forgets.load(Relaxed);
        match pending.epochs {
            (Some(of_first), of_second) if !was_any_forgotten => (of_first, of_second),
            (None, Some(of_first)) if !was_any_forgotten => (of_first, None),
            _ => (
                self.epoch_of_new(first),
                second.map(|second| self.epoch_of_new(second)),
            ),
        }
    }

    /// Returns the epoch of a channel that the disk doesn't know yet: the one that its connections
    /// were told, or, if the channel isn't in memory either, the one that it will begin with.
    #[must_use]
    pub fn epoch_of_new(&self, channel: &str) -> Epoch {
        let told = self.posted(channel).map(|position| position.epoch);
        told.unwrap_or_else(|| self.common.epoch_of(channel))
    }

    /// Delivers a message that is stored now, at its places in [`PendingMessage::channels`]. To be
    /// called in the order in which the messages were stored.
    pub fn deliver_stored<'a>(
        &self,
        sink: &mut dyn Sink,
        now: Tick,
        pending: &'a PendingMessage,
        places: (Position, Option<Position>),
    ) -> Receipt<'a> {
        self.delivery(sink, now).deliver(pending, places)
    }

    /// Begins to deliver messages that are stored now.
    pub fn delivery<'a>(&'a self, sink: &'a mut dyn Sink, now: Tick) -> StoredDelivery<'a> {
        StoredDelivery {
            chat: self,
            call: self.call(sink, now),
            rooms: None,
        }
    }

    /// Answers a message that is on disk already, at `first`: nobody gets it again. Without a place it was
    /// sent before, and isn't kept.
    pub fn answer_repeat<'a>(&self, pending: &'a PendingMessage, first: Position) -> Receipt<'a> {
        self.common.totals.duplicates.add(1);
        let channel = Arc::clone(pending.channel());
        let first = (first.epoch != Epoch::NONE).then_some(first);
        Receipt::repeat(channel, pending.message.id(), first)
    }

    /// Answers a message that the log of a cluster has sent to all nodes.
    pub fn answer_sent<'a>(
        &self,
        pending: &'a PendingMessage,
        first: Option<Position>,
        receivers: usize,
    ) -> Receipt<'a> {
        self.common.totals.messages.add(1);
        let channel = Some(Arc::clone(pending.channel()));
        Receipt::new(channel, pending.message.id(), first, receivers)
    }

    /// Decides how a message is placed in one of its channels: at its place on disk, or, in a
    /// channel that isn't stored, as that channel keeps messages.
    fn placement<'a>(
        &self,
        pending: &'a PendingMessage,
        channel: &str,
        place: Option<Position>,
    ) -> Placement<'a> {
        let message = &pending.message;
        match place {
            Some(position) => Placement::Stored(position, message),
            None if self.keeps_in_memory(channel) => Placement::Memory(message),
            None => Placement::Unkept(UnkeptMessage::of(message), &[]),
        }
    }
}

/// Delivers messages that were stored together.
///
/// What several messages in a row say in the rooms of one shard is said under one lock; so whoever
/// holds a delivery doesn't wait for anything.
pub struct StoredDelivery<'a> {
    chat: &'a Chat,
    call: Call<'a>,
    /// The shard of the last message's room, with its place.
    rooms: Option<(usize, MutexGuard<'a, RoomShard>)>,
}

impl StoredDelivery<'_> {
    /// Delivers a message, at its places in [`PendingMessage::channels`]. To be called in the order
    /// in which the messages were stored.
    pub fn deliver<'b>(
        &mut self,
        pending: &'b PendingMessage,
        places: (Position, Option<Position>),
    ) -> Receipt<'b> {
        let (first, second) = match pending.epochs.0 {
            Some(_) => (Some(places.0), places.1),
            None => (None, Some(places.0)),
        };
        let (position, receivers) = match &pending.destination {
            Destination::Room(name) => self.deliver_to_room(pending, name, first),
            Destination::User(user) => self.deliver_to_user(pending, user, (first, second)),
            Destination::Everyone(name) => {
                self.rooms = None;
                let placement = self.chat.placement(pending, name, first);
                lock(&self.chat.everyone).say(&mut self.call, name, &placement, Vec::new())
            }
        };
        let totals = &self.chat.common.totals;
        totals.messages.add(1);
        totals.deliveries.add(receivers as u64);
        let channel = Some(Arc::clone(pending.channel()));
        Receipt::new(channel, pending.message.id(), position, receivers)
    }

    fn deliver_to_room(
        &mut self,
        pending: &PendingMessage,
        name: &Arc<str>,
        place: Option<Position>,
    ) -> (Option<Position>, usize) {
        let rooms = &self.chat.rooms;
        let part = rooms.part_of(name);
        if self.rooms.as_ref().is_none_or(|(held, _)| *held != part) {
            // One at a time, or two threads could wait for each other.
            self.rooms = None;
        }
        let (_, shard) = (self.rooms).get_or_insert_with(|| (part, rooms.lock_part(part)));
        let placement = self.chat.placement(pending, name, place);
        // The room may have left memory meanwhile; a stored message brings it back.
        (shard.channels).say_reserved(&mut self.call, name, &placement)
    }

    fn deliver_to_user(
        &mut self,
        pending: &PendingMessage,
        user: &User,
        (first, second): (Option<Position>, Option<Position>),
    ) -> (Option<Position>, usize) {
        let sender = pending.message.from.as_ref();
        let sender = sender.filter(|sender| *sender != user);
        self.rooms = None;
        let (chat, call) = (self.chat, &mut self.call);
        let mut pair = (chat.inboxes).lock_two(user.uid(), sender.unwrap_or(user).uid());
        let inboxes = &mut pair.first().channels;
        let placement = chat.placement(pending, user.inbox(), first);
        let said = inboxes.say_reserved(call, user.uid(), &placement);
        if let Some(sender) = sender {
            let (channel, id) = (Some(Arc::clone(user.inbox())), pending.message.id());
            (call.sink).said(&Receipt::new(channel, id, said.0, said.1));
            let inboxes = &mut pair.second().channels;
            let placement = chat.placement(pending, sender.inbox(), second);
            inboxes.say_reserved(call, sender.uid(), &placement);
        }
        said
    }
}
