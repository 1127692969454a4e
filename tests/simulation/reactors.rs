//! The reactors as the chat sees them: topics, their members, and the messages of each connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tidings::chat::{Epoch, Missing, Notice, Position, Resume, Sink, Welcome};
use tidings::server::Fd;

/// What a connection gets, or what becomes of it, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An answer to a login or a join, with what had been asked for.
    Welcome(Vec<Welcome>, Wishes),
    Message(Line),
    Gap {
        channel: String,
        position: Position,
    },
    Joined {
        room: String,
        uid: String,
    },
    Left {
        room: String,
        uid: String,
    },
    /// Users are told of no more; or again, beginning with these, of so many.
    Presence {
        room: String,
        users: Option<(Vec<String>, usize)>,
    },
    Subscribed {
        channel: String,
        /// By the call that answered it; not by the back end, which says nothing to it.
        answered: bool,
    },
    Unsubscribed(String),
}

/// From where on the channels were to be heard.
pub type Wishes = Vec<(String, Resume)>;

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub channel: Option<String>,
    pub position: Option<Position>,
    pub id: String,
    pub from: Option<String>,
    pub to: Option<String>,
    pub ts: u64,
    pub data: String,
}

impl Heard {
    pub fn of(frame: &Notice<'_>) -> Self {
        let text = |text: &str| text.to_owned();
        match frame {
            Notice::Message(posted) => Self::Message(Line {
                channel: posted.channel.map(text),
                position: posted.position,
                id: posted.body.id.into(),
                from: posted.body.from.map(text),
                to: posted.body.to.map(text),
                ts: posted.body.ts,
                data: posted.body.data.into(),
            }),
            Notice::Gap { channel, position } => Self::Gap {
                channel: text(channel),
                position: *position,
            },
            Notice::Joined { room, uid } => Self::Joined {
                room: text(room),
                uid: text(uid),
            },
            Notice::PresenceOff { room } => Self::Presence {
                room: text(room),
                users: None,
            },
            Notice::PresenceOn {
                room,
                users,
                users_total,
            } => {
                let users = users.iter().map(|user| text(user.uid())).collect();
                Self::Presence {
                    room: text(room),
                    users: Some((users, *users_total)),
                }
            }
            Notice::Left { room, uid } => Self::Left {
                room: text(room),
                uid: text(uid),
            },
        }
    }
}

/// All reactors. A command is carried out as it comes, under the reactor's lock: the mailboxes keep
/// the order, so that this is what happens there, only earlier.
#[derive(Debug)]
pub struct Reactors(Vec<Mutex<Reactor>>);

#[derive(Debug, Default)]
struct Reactor {
    topics: BTreeMap<Arc<str>, BTreeSet<Fd>>,
    /// The connections that can be reached, and what they got.
    inboxes: BTreeMap<Fd, Vec<Heard>>,
}

impl Reactors {
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| Mutex::default()).collect())
    }

    pub fn open(&self, fd: Fd) {
        self.of(fd).inboxes.insert(fd, Vec::new());
    }

    /// Closes a connection, which hears nothing from then on, and gives what it got.
    pub fn close(&self, fd: Fd) -> Vec<Heard> {
        let mut reactor = self.of(fd);
        for members in reactor.topics.values_mut() {
            members.remove(&fd);
        }
        reactor.inboxes.remove(&fd).unwrap_or_default()
    }

    pub fn is_open(&self, fd: Fd) -> bool {
        self.of(fd).inboxes.contains_key(&fd)
    }

    /// What a connection got so far.
    pub fn inbox(&self, fd: Fd) -> Vec<Heard> {
        self.of(fd).inboxes.get(&fd).cloned().unwrap_or_default()
    }

    /// What a connection got behind its first `from`.
    pub fn inbox_from(&self, fd: Fd, from: usize) -> Vec<Heard> {
        let reactor = self.of(fd);
        let inbox = reactor.inboxes.get(&fd);
        inbox.map_or(Vec::new(), |inbox| inbox[from..].to_vec())
    }

    /// A connection gets what it missed of a topic, before it hears what is new.
    pub fn catch_up(&self, fd: Fd, topic: &Arc<str>) {
        let subscribed = Heard::Subscribed {
            channel: (**topic).into(),
            answered: true,
        };
        self.of(fd).give(fd, subscribed);
    }

    /// It has everything that it missed, but for these; from now on it hears what is new.
    pub fn go_on(&self, fd: Fd, topic: &Arc<str>, rest: &[Notice<'_>]) {
        let mut reactor = self.of(fd);
        if reactor.inboxes.contains_key(&fd) {
            for frame in rest {
                reactor.give(fd, Heard::of(frame));
            }
            let topic = Arc::clone(topic);
            assert!(reactor.topics.entry(topic).or_default().insert(fd), "twice");
        }
    }

    fn of(&self, fd: Fd) -> MutexGuard<'_, Reactor> {
        self.0[fd.0 as usize % self.0.len()].lock().unwrap()
    }
}

impl Reactor {
    fn give(&mut self, fd: Fd, heard: Heard) -> bool {
        let inbox = self.inboxes.get_mut(&fd);
        inbox.map(|inbox| inbox.push(heard)).is_some()
    }
}

/// The chat's way to the reactors, for one call.
#[derive(Debug)]
pub struct Poster<'a> {
    reactors: &'a Reactors,
    wishes: Wishes,
    answered: Option<Fd>,
}

impl<'a> Poster<'a> {
    pub fn new(reactors: &'a Reactors) -> Self {
        Self::wishing(reactors, &[])
    }

    /// For a call that asks for what was missed.
    pub fn wishing(reactors: &'a Reactors, wishes: &[(&str, Resume)]) -> Self {
        let owned = wishes.iter().map(|(name, wish)| ((*name).into(), *wish));
        let wishes = owned.collect();
        Self {
            reactors,
            wishes,
            answered: None,
        }
    }
}

impl Sink for Poster<'_> {
    fn publish(&mut self, topic: &Arc<str>, frame: &Notice<'_>) {
        for reactor in &self.reactors.0 {
            let mut reactor = reactor.lock().unwrap();
            for fd in reactor.topics.get(topic).cloned().unwrap_or_default() {
                reactor.give(fd, Heard::of(frame));
            }
        }
    }

    fn push(&mut self, fd: Fd, frame: &Notice<'_>) -> bool {
        self.reactors.of(fd).give(fd, Heard::of(frame))
    }

    fn welcome(&mut self, fd: Fd, channels: &[Welcome]) {
        self.answered = Some(fd);
        let welcome = Heard::Welcome(channels.to_vec(), self.wishes.clone());
        self.reactors.of(fd).give(fd, welcome);
    }

    fn subscribe(&mut self, fd: Fd, topic: &Arc<str>, first: &[Notice<'_>]) {
        let mut reactor = self.reactors.of(fd);
        let subscribed = Heard::Subscribed {
            channel: (**topic).into(),
            answered: self.answered == Some(fd),
        };
        if !reactor.give(fd, subscribed) {
            return;
        }
        for frame in first {
            reactor.give(fd, Heard::of(frame));
        }
        let topic = Arc::clone(topic);
        assert!(reactor.topics.entry(topic).or_default().insert(fd), "twice");
    }

    fn replay(&mut self, _: Fd, topic: &Arc<str>, missing: Missing) {
        panic!("{topic} isn't stored: {missing:?}");
    }

    fn forget(&mut self, topic: &Arc<str>) {
        panic!("{topic} isn't stored");
    }

    fn claim(&mut self, topic: &Arc<str>) {
        panic!("{topic} isn't stored");
    }

    fn drop_channel(&mut self, topic: &Arc<str>, _: Epoch) {
        panic!("{topic} isn't stored");
    }

    fn unsubscribe(&mut self, fd: Fd, topic: &Arc<str>) {
        let mut reactor = self.reactors.of(fd);
        if let Some(members) = reactor.topics.get_mut(topic) {
            members.remove(&fd);
        }
        reactor.give(fd, Heard::Unsubscribed((**topic).into()));
    }
}
