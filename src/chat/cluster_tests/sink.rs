//! The connections of a node, as far as the tests need them: who hears what, and what each was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::{Epoch, Fd, Position};
use crate::chat::{Missing, Notice, Sink, Welcome};

/// What a connection was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    Message {
        channel: String,
        position: Option<Position>,
        data: String,
    },
    Gap(String, Position),
    /// Anything that is neither.
    Other(String),
}

/// The connections of a node.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) sent: BTreeMap<Fd, Vec<Sent>>,
    topics: BTreeMap<Arc<str>, BTreeSet<Fd>>,
    /// Replays that were begun.
    pub(super) replays: Vec<(Fd, Arc<str>, Missing)>,
    /// Channels whose routes are to go.
    pub(super) forgotten: Vec<Arc<str>>,
    /// The positions of the last answer.
    pub(super) welcomes: Vec<Welcome>,
}

impl Listeners {
    /// Takes what a connection was sent so far.
    pub(super) fn take(&mut self, fd: u64) -> Vec<Sent> {
        self.sent.remove(&Fd(fd)).unwrap_or_default()
    }

    /// Takes the texts of the messages that a connection was sent so far.
    pub(super) fn take_texts(&mut self, fd: u64) -> Vec<String> {
        let sent = self.take(fd).into_iter();
        let texts = sent.filter_map(|sent| match sent {
            Sent::Message { data, .. } => Some(data),
            _ => None,
        });
        texts.collect()
    }

    fn note(&mut self, fd: Fd, notice: &Notice<'_>) {
        let sent = match *notice {
            Notice::Message(message) => Sent::Message {
                channel: message.channel.unwrap_or_default().into(),
                position: message.position,
                data: message.body.data.into(),
            },
            Notice::Gap { channel, position } => Sent::Gap(channel.into(), position),
            ref other => Sent::Other(format!("{other:?}")),
        };
        self.sent.entry(fd).or_default().push(sent);
    }
}

impl Sink for Listeners {
    fn publish(&mut self, topic: &Arc<str>, notice: &Notice<'_>) {
        let fds: Vec<Fd> = self
            .topics
            .get(topic)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for fd in fds {
            self.note(fd, notice);
        }
    }

    fn push(&mut self, fd: Fd, notice: &Notice<'_>) -> bool {
        self.note(fd, notice);
        true
    }

    fn welcome(&mut self, _: Fd, channels: &[Welcome]) {
        self.welcomes = channels.to_vec();
    }

    fn subscribe(&mut self, fd: Fd, topic: &Arc<str>, first: &[Notice<'_>]) {
        first.iter().for_each(|notice| self.note(fd, notice));
        self.topics.entry(Arc::clone(topic)).or_default().insert(fd);
    }

    fn replay(&mut self, fd: Fd, topic: &Arc<str>, missing: Missing) {
        self.replays.push((fd, Arc::clone(topic), missing));
    }

    fn forget(&mut self, topic: &Arc<str>) {
        self.forgotten.push(Arc::clone(topic));
    }

    fn claim(&mut self, topic: &Arc<str>) {
        panic!("{topic} is nobody's to claim in a cluster");
    }

    fn drop_channel(&mut self, topic: &Arc<str>, _: Epoch) {
        panic!("{topic} isn't a node's to drop");
    }

    fn unsubscribe(&mut self, fd: Fd, topic: &Arc<str>) {
        if let Some(fds) = self.topics.get_mut(topic) {
            fds.remove(&fd);
        }
        self.replays
            .retain(|(of, channel, _)| (*of, channel) != (fd, topic));
    }
}
