//! A message for channels that are stored: let through, but said only once it is on disk.
//!
//! [`Chat::say`] gives a [`PendingMessage`]. Whoever stores it gives the places that it got back to
//! [`Chat::deliver_stored`], in the order in which they were given: then it is posted, under the lock of
//! its shard, and answered.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::chat::Chat;
use super::common::{Capacity, Envelope, Placement};
use super::message::{KeptMessage, Receipt};
use super::name::User;
use super::shards::lock;
use super::sink::Sink;
use crate::base::Tick;
use crate::base::{Epoch, Position};

/// See the module.
#[derive(Debug, Clone)]
pub struct PendingMessage {
    pub(super) receiver: Receiver,
    pub(super) message: Arc<KeptMessage>,
    pub(super) sameness: Option<u128>,
    /// The receiver's channel is stored.
    pub(super) first: bool,
    /// The line of a private message's sender is.
    pub(super) second: bool,
    /// The epochs of the receiver's channel and of the sender's inbox at that moment.
    pub(super) epochs: (Epoch, Epoch),
    /// [`Common::forgets`](super::common::Common) at that moment.
    pub(super) forgets: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Receiver {
    Room(Arc<str>),
    User(User),
    Everyone(Arc<str>),
}

impl PendingMessage {
    /// What is said.
    #[must_use]
    pub fn message(&self) -> &Arc<KeptMessage> {
        &self.message
    }

    /// What a repeat has in common with it; `None` when its id was made here.
    #[must_use]
    pub fn sameness(&self) -> Option<u128> {
        self.sameness
    }

    /// The channels that it is to be written to: one, or two at once.
    #[must_use]
    pub fn channels(&self) -> (&str, Option<&str>) {
        let first = self.first.then(|| &**self.channel());
        let sender = self.message.from.as_ref().filter(|_| self.second);
        let second = sender.map(|sender| &**sender.line());
        match (first, second) {
            (Some(first), second) => (first, second),
            (None, Some(second)) => (second, None),
            (None, None) => unreachable!("a draft has a channel that is stored"),
        }
    }

    /// Bytes that it keeps, nearly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.message.size() + size_of::<Self>()
    }

    /// The receiver's channel.
    pub(super) fn channel(&self) -> &Arc<str> {
        match &self.receiver {
            Receiver::Room(name) | Receiver::Everyone(name) => name,
            Receiver::User(user) => user.line(),
        }
    }
}

impl Chat {
    /// Posts a draft that is stored now, in the places that it got: those of [`PendingMessage::channels`].
    /// To be called in the order in which they were stored.
    pub fn deliver_stored(
        &self,
        post: &mut dyn Sink,
        now: Tick,
        draft: &PendingMessage,
        places: (Position, Option<Position>),
    ) -> Receipt {
        let (first, second) = match draft.first {
            true => (Some(places.0), places.1),
            false => (None, Some(places.0)),
        };
        let message = Envelope::of(&draft.message);
        let (position, receivers) = match &draft.receiver {
            Receiver::Room(room) => self.settle_in_room(post, now, room, &message, draft, first),
            Receiver::User(user) => {
                self.settle_in_lines(post, now, user, &message, draft, (first, second))
            }
            Receiver::Everyone(name) => {
                let mut everyone = lock(&self.everyone);
                let connections = everyone.connections;
                let standing = Placement::of(first, &draft.message, false);
                let position = self.common.place(now, &mut everyone.log, standing);
                message.publish(post, name, position, connections, [].into_iter());
                (position, connections)
            }
        };
        let totals = &self.common.totals;
        totals.messages.add(1);
        totals.deliveries.add(receivers as u64);
        let channel = Some(Arc::clone(draft.channel()));
        Receipt::new(channel, &draft.message.id, position, receivers)
    }

    /// The epochs in which the channels of [`PendingMessage::channels`] are to begin where the disk
    /// doesn't know them. To be called by the thread that writes, once every [`Forget`] that it
    /// wrote before was told by [`Chat::forget_channel`].
    ///
    /// A position must never mean two messages, so a channel that was forgotten must not begin
    /// again in the epoch that it had. The epochs were read under the locks of [`Chat::say`], and
    /// hold as long as no channel has been forgotten since: then a channel that the disk doesn't
    /// know at the time of writing wasn't known at the time of saying either, and nothing was
    /// ever stored in its epoch. A purge doesn't matter: the disk knows a channel that was purged,
    /// and has its epoch. Nor does it matter if the channel has gone from memory since, and come
    /// again with another epoch: what is delivered is the disk's, and those who were told another
    /// epoch are told by a gap. If anything was forgotten, which happens seldom and ends a batch
    /// of the disk, the channels are asked again, which takes their locks.
    ///
    /// [`Forget`]: super::Sink::forget
    #[must_use]
    pub fn epochs_of(&self, pending: &PendingMessage) -> (Epoch, Option<Epoch>) {
        let (first, second) = pending.channels();
        if pending.forgets != self.common.forgets.load(Relaxed) {
            let epoch = |channel: &str| self.epoch_of_new(channel);
            return (epoch(first), second.map(epoch));
        }
        match (pending.first, pending.second) {
            (true, second) => (pending.epochs.0, second.then_some(pending.epochs.1)),
            (false, _) => (pending.epochs.1, None),
        }
    }

    /// The epoch of a channel that the disk doesn't know yet: what those in there were told, or,
    /// where it isn't here either, what they will be.
    #[must_use]
    pub fn epoch_of_new(&self, channel: &str) -> Epoch {
        let told = self.posted(channel).map(|position| position.epoch);
        told.unwrap_or_else(|| self.common.epoch_of(channel))
    }

    /// What a draft is answered that had been stored before, at `first`.
    pub fn answer_repeat(&self, draft: &PendingMessage, first: Position) -> Receipt {
        self.common.totals.duplicates.add(1);
        let channel = Arc::clone(draft.channel());
        Receipt::repeat(channel, &draft.message.id, Some(first))
    }

    fn settle_in_room(
        &self,
        post: &mut dyn Sink,
        now: Tick,
        room: &str,
        message: &Envelope<'_>,
        draft: &PendingMessage,
        place: Option<Position>,
    ) -> (Option<Position>, usize) {
        let common = &self.common;
        let shard = &mut *self.rooms.lock(room);
        // It may have gone away meanwhile; what is stored brings it back.
        shard
            .ensure(common, now, room, Capacity::Promised)
            .expect("what was promised asks for no bound");
        let standing = Placement::of(place, &draft.message, false);
        shard.say(common, post, now, room, message, standing)
    }

    fn settle_in_lines(
        &self,
        post: &mut dyn Sink,
        now: Tick,
        user: &User,
        message: &Envelope<'_>,
        draft: &PendingMessage,
        (first, second): (Option<Position>, Option<Position>),
    ) -> (Option<Position>, usize) {
        let (common, uid) = (&self.common, user.uid());
        let from = draft.message.from.as_ref();
        let sender = from.map(User::uid).filter(|from| *from != uid);
        let mut pair = self.inboxes.lock_two(uid, sender.unwrap_or(uid));
        let mut say = |inboxes: &mut super::inboxes::InboxShard, user: &User, place| {
            inboxes
                .ensure(common, now, user.uid(), Capacity::Promised)
                .expect("what was promised asks for no bound");
            let in_memory = self.keeps_in_memory(user.line());
            let standing = Placement::of(place, &draft.message, in_memory);
            inboxes.say(common, post, now, user.uid(), message, standing)
        };
        let told = say(pair.first(), user, first);
        if let Some(sender) = from.filter(|_| sender.is_some()) {
            say(pair.second(), sender, second);
        }
        told
    }
}
