//! What the chat of a node of a cluster knows beside: the kinds of channels in the log that all nodes share,
//! and what is on its way between the two.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use foldhash::fast::RandomState;

use super::pattern::Pattern;
use super::settings::{ChannelKind, ChatSettings};
use crate::base::Position;
use crate::base::sync::lock;

/// Channels that aren't here of which the newest position is noted; beyond it, whatever is attached is
/// looked at.
const EARLY_MAX: usize = 100_000;

/// Changes of lasting memberships that are remembered for logins under way.
const MEMBERS_HEARD_MAX: usize = 10_000;

/// What the chat of a node knows beside.
pub(super) struct ClusterState {
    /// What each channel keeps in the log that all nodes share.
    kinds: Vec<(Pattern, ChannelKind)>,
    kind: ChannelKind,
    /// Channels that have left memory, and whose route isn't known to be gone.
    detaching: Mutex<HashSet<Arc<str>, RandomState>>,
    early: Mutex<EarlyPositions>,
    members: Mutex<HeardMembers>,
}

/// The changes of lasting memberships that came of late.
#[derive(Debug, Default)]
struct HeardMembers {
    heard: u64,
    /// The last ones: the user, the room, and whether the membership lasts.
    recent: VecDeque<(Box<str>, Box<str>, bool)>,
}

/// The newest positions of messages that came before their channel was here.
#[derive(Debug, Default)]
struct EarlyPositions {
    newest: HashMap<Box<str>, Position, RandomState>,
    /// Whether there were too many since this was last empty.
    is_over: bool,
}

/// The settings of a chat whose node takes every log as kept elsewhere.
pub(super) fn of_node(settings: &ChatSettings) -> ChatSettings {
    let shared = |kind| match kind {
        ChannelKind::Memory => ChannelKind::Stored,
        kind => kind,
    };
    let kinds = settings.kinds.iter();
    ChatSettings {
        kinds: kinds
            .map(|(pattern, kind)| (pattern.clone(), shared(*kind)))
            .collect(),
        kind: shared(settings.kind),
        channel_ttl_ms: settings.cluster_linger_ms.unwrap_or_default(),
        ..settings.clone()
    }
}

impl ClusterState {
    /// Makes the state of a node's chat, if it is one, and the settings by which that goes.
    pub(super) fn of(settings: ChatSettings) -> (ChatSettings, Option<Self>) {
        if settings.cluster_linger_ms.is_none() {
            return (settings, None);
        }
        let of_node = of_node(&settings);
        let state = Self {
            kinds: settings.kinds,
            kind: settings.kind,
            detaching: Mutex::default(),
            early: Mutex::default(),
            members: Mutex::default(),
        };
        (of_node, Some(state))
    }

    /// Returns what the shared log keeps of a channel.
    pub(super) fn kind_of(&self, channel: &str) -> ChannelKind {
        let mut kinds = self.kinds.iter();
        let found = kinds.find(|(pattern, _)| pattern.matches(channel));
        found.map_or(self.kind, |(_, kind)| *kind)
    }

    /// Notes that a message of a channel came that isn't here, under the lock of the channel's shard.
    pub(super) fn note_early(&self, channel: &str, position: Position) {
        let mut early = lock(&self.early);
        if let Some(newest) = early.newest.get_mut(channel) {
            *newest = position;
        } else if early.newest.len() < EARLY_MAX {
            early.newest.insert(channel.into(), position);
        } else {
            early.newest = HashMap::default();
            early.is_over = true;
        }
    }

    /// Whether messages behind `newest` came before the channel was here; they count as known from now on.
    pub(super) fn is_behind(&self, channel: &str, newest: Position) -> bool {
        let mut early = lock(&self.early);
        let is_over = early.is_over;
        let came = early.newest.remove(channel);
        is_over
            || came.is_some_and(|came| came.epoch != newest.epoch || came.offset > newest.offset)
    }

    /// Whether a channel has left memory, and its route may still be there.
    pub(super) fn is_detaching(&self, channel: &str) -> bool {
        lock(&self.detaching).contains(channel)
    }

    /// Notes that the route of a channel is gone.
    pub(super) fn detached(&self, channel: &str) {
        lock(&self.detaching).remove(channel);
    }

    /// Counts the changes of lasting memberships so far.
    pub(super) fn members_heard(&self) -> u64 {
        lock(&self.members).heard
    }

    /// Remembers a change of a lasting membership.
    pub(super) fn note_member(&self, uid: &str, room: &str, lasting: bool) {
        lock(&self.members).note(uid, room, lasting);
    }

    /// Changes the lasting rooms of a user by what came since there were `heard` changes.
    pub(super) fn follow_members(&self, uid: &str, heard: u64, rooms: &mut Vec<Arc<str>>) {
        lock(&self.members).follow(uid, heard, rooms);
    }

    /// Notes that a channel leaves memory, under the lock of its shard.
    pub(super) fn detach(&self, channel: &Arc<str>) {
        lock(&self.detaching).insert(Arc::clone(channel));
    }
}

/// Adds a room to a user's lasting ones, or takes it out.
pub(super) fn change_member(rooms: &mut Vec<Arc<str>>, room: &str, lasting: bool) {
    rooms.retain(|known| **known != *room);
    if lasting {
        rooms.push(room.into());
    }
}

impl HeardMembers {
    fn note(&mut self, uid: &str, room: &str, lasting: bool) {
        if self.recent.len() == MEMBERS_HEARD_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((uid.into(), room.into(), lasting));
        self.heard += 1;
    }

    /// Changes the rooms of a user by what came since there were `heard` changes.
    fn follow(&self, uid: &str, heard: u64, rooms: &mut Vec<Arc<str>>) {
        let since = usize::try_from(self.heard - heard).unwrap_or(usize::MAX);
        let first = self.recent.len().saturating_sub(since);
        for (of, room, lasting) in self.recent.range(first..) {
            if **of == *uid {
                change_member(rooms, room, *lasting);
            }
        }
    }
}
