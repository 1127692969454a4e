//! What stands in the engine, as plain tables.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::super::call::{Answer, Line, Outcome, Sameness};
use super::super::engine::{CallBounds, LifeState};
use crate::base::{ChannelKind, Epoch, Fd, Position};
use crate::store::ChannelState;

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelState {
    pub(super) life: Option<LifeState>,
    /// Runs that are over, the last one first, and the calls that the life after each began with.
    pub(super) past: Vec<(Box<str>, u64)>,
    /// Which of the windows is open, and since when; `None` before the first id.
    pub(super) open: Option<(usize, u64)>,
    /// The ids of messages in two windows.
    pub(super) windows: [BTreeMap<u128, Option<Position>>; 2],
    /// Ids of each owner among the last quarter of each window.
    pub(super) shares: [BTreeMap<u64, u64>; 2],
    pub(super) channels: BTreeMap<Box<str>, ModelChannel>,
    /// The generations that hear a channel, with their connections there.
    pub(super) routes: BTreeMap<Box<str>, BTreeMap<u64, u64>>,
    pub(super) acks: BTreeMap<Box<str>, ChannelAcks>,
    pub(super) calls: BTreeMap<u64, KeptCall>,
    pub(super) marks: BTreeMap<Box<str>, u64>,
    /// The generation that stands under each name.
    pub(super) nodes: BTreeMap<Box<str>, u64>,
    /// A generation's connections, with their users.
    pub(super) connections: BTreeMap<u64, BTreeMap<Fd, Box<str>>>,
    /// A user's connections.
    pub(super) users: BTreeMap<Box<str>, BTreeMap<Fd, UserConnection>>,
    /// Lasting members by room, and rooms by lasting member.
    pub(super) members: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    pub(super) memberships: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// Names of further keys of each generation.
    pub(super) index: BTreeMap<u64, BTreeSet<String>>,
    pub(super) block: u64,
    pub(super) blocks: BTreeMap<u64, u64>,
    pub(super) hasher_key: Option<[u64; 2]>,
    /// Who does the upkeep, and until when nobody else does.
    pub(super) tidier: Option<(u64, u64)>,
}

/// The users who have acknowledged a channel, and up to where.
type ChannelAcks = BTreeMap<Box<str>, (Epoch, u64)>;

/// A connection of a user, as a login writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserConnection {
    pub(super) generation: u64,
    pub(super) since_ms: u64,
    pub(super) session: Box<str>,
}

/// The last call of a generation.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptCall {
    pub(super) number: u64,
    /// `None` for one that failed in the middle.
    pub(super) answer: Option<Answer>,
    pub(super) is_dead: bool,
    /// Repeats that were answered.
    pub(super) again: u64,
}

/// A channel.
#[derive(Debug, Clone)]
pub(super) struct ModelChannel {
    pub(super) epoch: Epoch,
    pub(super) era: u64,
    pub(super) newest: u64,
    pub(super) size: u64,
    pub(super) is_memory: bool,
    /// The newest offset when the channel was found idle, and when that was.
    pub(super) idle: Option<(u64, u64)>,
    pub(super) producers: BTreeMap<Box<str>, u64>,
    pub(super) messages: VecDeque<Arc<[u8]>>,
}

impl ModelChannel {
    pub(super) fn new(epoch: Epoch, era: u64) -> Self {
        Self {
            epoch,
            era,
            newest: 0,
            size: 0,
            is_memory: false,
            idle: None,
            producers: BTreeMap::new(),
            messages: VecDeque::new(),
        }
    }

    pub(super) fn floor(&self) -> u64 {
        self.newest - self.messages.len() as u64
    }

    pub(super) fn state(&self) -> ChannelState {
        ChannelState {
            epoch: self.epoch,
            newest: self.newest,
            floor: self.floor(),
        }
    }

    pub(super) fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.newest,
        }
    }

    /// Lets go of the oldest messages.
    pub(super) fn drop_oldest(&mut self, count: usize) {
        let count = count.min(self.messages.len());
        let gone = self.messages.drain(..count);
        self.size -= gone.map(|payload| payload.len() as u64).sum::<u64>();
    }
}

impl ModelState {
    pub(super) fn era(&self) -> u64 {
        self.life.as_ref().map_or(0, |life| life.life.era)
    }

    /// Calls so far.
    pub(super) fn n(&self) -> u64 {
        self.life.as_ref().map_or(0, |life| life.n)
    }

    /// The channel, which begins now if it isn't there, and in a new epoch if its era is over.
    pub(super) fn channel(&mut self, line: &Line) -> &mut ModelChannel {
        let era = self.era();
        let new = || ModelChannel::new(line.new_epoch, era);
        let channel = self
            .channels
            .entry(line.channel.clone())
            .or_insert_with(new);
        if channel.era != era {
            (channel.era, channel.epoch) = (era, line.new_epoch);
        }
        if line.kind != ChannelKind::None {
            channel.is_memory = line.kind == ChannelKind::Memory;
        }
        channel
    }

    /// The channel, unless its era is over.
    pub(super) fn present(&self, channel: &str) -> Option<&ModelChannel> {
        let channel = self.channels.get(channel)?;
        (channel.era == self.era()).then_some(channel)
    }

    /// The generations that hear a channel.
    pub(super) fn hearers(&self, channel: &str) -> Vec<u64> {
        let routes = self.routes.get(channel);
        routes.map_or_else(Vec::new, |routes| routes.keys().copied().collect())
    }

    pub(super) fn add_route(&mut self, channel: &str, generation: u64) {
        let routes = self.routes.entry(channel.into()).or_default();
        routes.entry(generation).or_insert(0);
        let index = self.index.entry(generation).or_default();
        index.insert(format!("r:{channel}"));
    }

    pub(super) fn take_route(&mut self, channel: &str, generation: u64) {
        if let Some(routes) = self.routes.get_mut(channel) {
            routes.remove(&generation);
            if routes.is_empty() {
                self.routes.remove(channel);
            }
        }
        if let Some(index) = self.index.get_mut(&generation) {
            index.remove(&format!("r:{channel}"));
        }
    }

    /// Changes the windows if the open one is old enough, one step at the most.
    pub(super) fn change_windows(&mut self, now_ms: u64, repeat_ms: u64) {
        match &mut self.open {
            Some((open, since)) => {
                if now_ms < *since {
                    *since = now_ms;
                } else if now_ms - *since >= repeat_ms {
                    *open = 1 - *open;
                    *since = now_ms;
                    self.windows[*open].clear();
                    self.shares[*open].clear();
                }
            }
            None => self.open = Some((0, now_ms)),
        }
    }

    /// Why no id of an owner can be remembered in the open window, if none can.
    pub(super) fn refusal_of(&self, owner: u64, bounds: &CallBounds) -> Option<Outcome> {
        let open = self.open.map_or(0, |(open, _)| open);
        let ids = self.windows[open].len() as u64;
        let own = self.shares[open].get(&owner).copied().unwrap_or(0);
        if ids >= bounds.ids_max {
            return Some(Outcome::TooManyIds);
        }
        let is_over = ids >= bounds.ids_unshared() && own >= bounds.ids_per_sender_max;
        is_over.then_some(Outcome::TooManyOwnIds)
    }

    /// Remembers the id of a message that stands there.
    pub(super) fn remember(&mut self, id: Sameness, place: Option<Position>, bounds: &CallBounds) {
        let open = self.open.map_or(0, |(open, _)| open);
        let window = &mut self.windows[open];
        if window.len() as u64 >= bounds.ids_unshared() {
            *self.shares[open].entry(id.owner).or_default() += 1;
        }
        window.insert(id.key, place);
    }

    /// Where the message stands that has this id; `None` for a new one.
    pub(super) fn repeat_of(&self, sameness: u128) -> Option<Option<Position>> {
        let mut windows = self.windows.iter();
        windows.find_map(|window| window.get(&sameness).copied())
    }
}
