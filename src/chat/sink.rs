//! The sink to which the chat sends its notices.

use std::sync::Arc;

use super::notice::{Delivered, Notice};
use super::receipt::Receipt;
use crate::base::{DeflatedData, Epoch, Fd, Position};

/// Takes what the chat sends, in the order in which it is to arrive.
///
/// All but [`Sink::deflate`], and [`Sink::welcome`] of a login, is called **under the lock of the channel's shard**: an
/// implementation puts commands into the mailboxes of the reactors **at once**, and neither waits
/// nor calls the chat. Commands that gather until a batch is done would undo the order.
///
/// The topic of a channel is its name: `lobby`, `@ann`, `*`.
pub trait Sink {
    /// Compresses the data of a message that is about to be said, if any who may hear it understands that;
    /// called before any lock is taken, once a message, however many its receivers.
    fn deflate(&mut self, _data: &str) -> Option<DeflatedData> {
        None
    }

    /// Sends to all that hear a topic.
    fn publish(&mut self, topic: &Arc<str>, notice: &Notice<'_>);

    /// Sends a message to all that hear its channel, with the newest position of the channel's log:
    /// that of the message itself where it has one.
    fn publish_message(&mut self, topic: &Arc<str>, message: Delivered<'_>, _newest: Position) {
        self.publish(topic, &Notice::Message(message));
    }

    /// Sends to one connection; `false` when there is none of this name.
    fn push(&mut self, fd: Fd, notice: &Notice<'_>) -> bool;

    /// Takes the receipt of a private message before the sender's own connections get the message.
    /// Whoever says it has the receipt afterwards as well.
    fn said(&mut self, _: &Receipt<'_>) {}

    /// Answers a login or a join of `fd`; called before everything else of these channels.
    fn welcome(&mut self, fd: Fd, channels: &[Welcome]);

    /// Has a connection hear a topic, after the connection got `first`, as one command.
    fn subscribe(&mut self, fd: Fd, topic: &Arc<str>, first: &[Notice<'_>]);

    /// Has a connection hear a topic once the connection got what it missed, which is on disk: the
    /// implementation reads pages, beginning behind `missing.after`, and gives them to
    /// [`super::Chat::catch_up`].
    fn replay(&mut self, fd: Fd, topic: &Arc<str>, missing: Missing);

    /// Tells that a stored channel has neither messages nor members: the disk may forget the
    /// channel, and [`super::Chat::forget_channel`] is called then.
    fn forget(&mut self, topic: &Arc<str>);

    /// The line of a user, which another user opened, counts as its own user's from now on: the disk
    /// notes that.
    fn claim(&mut self, topic: &Arc<str>);

    /// A stored channel goes with its messages: the disk resets it to this epoch and forgets it, and
    /// then [`super::Chat::forget_channel`] does.
    fn drop_channel(&mut self, topic: &Arc<str>, epoch: Epoch);

    /// Has a connection hear a topic no more; a replay of it ends.
    fn unsubscribe(&mut self, fd: Fd, topic: &Arc<str>);
}

/// The place behind which a connection misses messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The position of the last message that the connection has.
    pub after: Position,
    /// Whether messages before that are missing for good, which the receiver has to be told.
    pub gap: bool,
}

/// A channel that a connection hears from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The name of the channel.
    pub channel: Arc<str>,
    /// The newest message at this moment, offset 0 before the first one; `None` where nothing is
    /// kept.
    pub position: Option<Position>,
    /// Whether nothing is missing between what was asked for and what follows.
    pub recovered: bool,
    /// Users in the room, with this one; `None` for `@uid` and `*`.
    pub members: Option<usize>,
    /// Whether the room has so many users that nobody is told who comes and goes.
    pub is_quiet: bool,
}
