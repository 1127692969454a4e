//! The chat: who is there, what was said, and who may hear it, as pure state.
//!
//! [`Chat`] knows users, rooms, channels, presence and permissions; it is the authority, and the
//! topics of the reactors are its index. Nothing in here does I/O, reads a clock or looks into a
//! message. Any number of threads call it with the time and a [`Sink`] that takes what is to be
//! sent. A call goes [`Chat`] (rights) → `connections` → `inboxes` or `rooms` (who is there) →
//! `channels` → `log` (offsets, what is kept) → [`Sink`].
//!
//! The methods of [`Chat`] stand in files by what they do:
//! - `login`: opened, closed, login, logout, join, leave;
//! - `lasting_members`: check_member, add_member, remove_member;
//! - `say`: say, say_to_each;
//! - `pending`: epochs_of, epoch_of_new, deliver_stored, answer_repeat;
//! - `catch_up`: posted, catch_up;
//! - `query`: history, ack, who, online, rooms, room, members, user, connection;
//! - `binding_rows`: feed, binding, note_connection, note_lasting, each_binding, set_session, session,
//!   logged_in_at;
//! - `purge`: purge, purged;
//! - `restore`: restore, forget_channel;
//! - `attached`: is_in_cluster, hash_by, kind_in_log, kind_of_shared, new_epoch, login_channels, attach, detached,
//!   members_heard, set_lasting_rooms, hear_member;
//! - `hear`: hear, reset, attached_channels;
//! - `handover`: hand_over, take_over;
//! - here: new, with_stored_index, settings, stats, expire.
//!
//! Invariants:
//! - **Everything that is sent in a channel is given to the [`Sink`] under the lock of its shard**,
//!   in the order of the offsets. A join takes what was missed and the subscription as one command
//!   under the same lock: no hole, no repeat.
//! - Locks are taken in the order connections → inboxes → rooms → everyone, and of each kind one at
//!   a time, but for a private message, which takes two shards of inboxes, and a login, which takes
//!   those of all its rooms: the lower ones first. Nothing waits for anything else under a lock.
//! - A connection's lock is held while it logs in, joins, leaves or ends, so that its own list of
//!   channels and the members of those channels agree.
//! - Every table has a bound in [`ChatSettings`].

mod attached;
mod binding_queue;
mod binding_rows;
mod bindings;
mod call;
mod catch_up;
mod channel_table;
mod channels;
mod cluster_state;
mod common;
mod connections;
mod deflated;
mod error;
mod everyone;
mod expiry;
mod fds;
mod handover;
mod hasher;
mod hear;
mod hearing;
mod history;
mod id_source;
mod inboxes;
mod lasting_members;
mod live_settings;
mod log;
mod login;
mod members;
mod message;
mod moment;
mod name;
mod nodes;
mod notice;
mod openers;
mod pattern;
mod pending;
mod placement;
mod presence;
mod purge;
mod query;
mod receipt;
mod recent_ids;
mod restore;
mod resume;
mod rights;
mod rooms;
mod say;
mod settings;
mod shards;
mod sink;
mod stats;
mod stored_index;
mod subscription;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::base::HashKeys;
pub use crate::base::{Epoch, MessageBody, Position};
pub use attached::Attached;
pub use binding_queue::{BindingQueue, TakenRows, UntoldMembers};
pub use bindings::{
    BindingChange, BindingError, BindingKey, BindingNode, BindingScope, BindingStore, Bindings,
    ConnectionRecord, GenerationState,
};
pub use catch_up::{CatchUp, ReplayPage};
pub use error::{ChatError, ErrorCode, NameProblem};
pub use handover::CHAT_FORMAT;
pub use hearing::{
    CatchUpOrders, Heard, HeardMessage, Hearing, NodeAnswer, NodeFigures, NodeRequest,
};
pub use history::{HistoryPage, HistoryRange};
pub use live_settings::{ChannelWay, LiveChatSettings};
pub use login::{LoggedIn, Login};
pub use message::{Keep, KeptMessage, NewMessage, Recipient};
pub use moment::Moment;
pub use name::{EVERYONE, NAME_BYTES_MAX, User, check_room, check_uid};
pub use nodes::{
    FarConnection, FarRoom, FarUser, NodeState, NodeView, Nodes, NodesError, NodesHealth, RoomDepth,
};
pub use notice::{Delivered, Notice};
pub use pattern::Pattern;
pub use pending::{PendingMessage, StoredDelivery};
pub use presence::QuietRoom;
pub use purge::PurgeOutcome;
pub use query::{ConnectionView, History, HistorySource, MemberView, RoomView, UserView, Who};
pub use receipt::Receipt;
pub use restore::Restored;
pub use resume::Resume;
pub use rights::{Actor, Rights, TokenUser};
pub use say::SayOutcome;
pub use settings::{ChannelKind, ChatSettings};
pub use sink::{Missing, Sink, Welcome};
pub use stats::ChatStats;
pub use stored_index::StoredIndex;

use crate::base::Tick;
use crate::base::sync::lock;
use call::{Call, Scope};
use cluster_state::ClusterState;
use common::Common;
use connections::ConnectionShard;
use everyone::Everyone;
use hasher::Hasher;
use id_source::IdSource;
use inboxes::InboxShard;
use log::MessageLog;
use openers::Openers;
use recent_ids::RecentIds;
use rooms::RoomShard;
use shards::Shards;
use stats::Totals;
use stored_index::NothingStored;

/// Steps of [`Chat::expire`] after which the lock of a shard is released for a moment. A step takes
/// about a microsecond, so a message waits a fraction of a millisecond at the most.
const EXPIRE_STEPS_MAX: usize = 256;

/// One of so many places for lines of users who never came is free again soon: a user who writes to
/// the first such one finds room, whatever others did.
const FREE_LINES_ONE_IN: usize = 8;

/// Lines that one call of [`Chat::expire`] drops at the most: some hundred microseconds' work, a lock for
/// each.
const LINES_DROPPED_MAX: usize = 256;

/// Remembered ids that one call of [`Chat::expire`] forgets at the most, in less time than that.
const IDS_FORGOTTEN_MAX: usize = 512;

/// Steps of one call of [`Chat::expire`]: half a millisecond of its thread, which may be a reactor. With
/// a hundred calls a second, what a crowd leaves is swept at 50,000 a second.
const EXPIRE_STEPS_A_CALL_MAX: usize = 512;

/// The state of all users, rooms and channels, which all threads share by reference.
pub struct Chat {
    common: Common,
    recent_ids: RecentIds,
    connections: Shards<ConnectionShard>,
    inboxes: Shards<InboxShard>,
    rooms: Shards<RoomShard>,
    everyone: Mutex<Everyone>,
    everyone_name: Arc<str>,
    /// The part of the rooms and inboxes with which [`Chat::expire`] begins.
    expires_from: AtomicUsize,
}

impl Chat {
    /// Makes an empty chat, whose epochs and ids depend on `seed`: give a random one, or the same
    /// one to repeat a run.
    #[must_use]
    pub fn new(settings: ChatSettings, seed: u64) -> Self {
        let keys = [seed, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15];
        Self::with_stored_index(settings, seed, Arc::new(NothingStored), keys)
    }

    /// Makes a chat with channels that are stored. `keys` are random, and the same after each
    /// restart: hashes under these keys recognise repeats and make the epochs of new channels.
    /// [`Chat::restore`] brings in what is stored already.
    #[must_use]
    pub fn with_stored_index(
        settings: ChatSettings,
        seed: u64,
        stored: Arc<dyn StoredIndex>,
        keys: impl Into<HashKeys>,
    ) -> Self {
        let (settings, cluster) = ClusterState::of(settings);
        let shards = settings.shards;
        let recent_ids = RecentIds::new(settings.dedup_entries_max);
        let common = Common {
            settings: LiveChatSettings::new(&settings),
            totals: Totals::default(),
            ids: IdSource::new(seed),
            hasher: Hasher::new(keys.into()),
            stored,
            openers: Openers::default(),
            forgets: AtomicU64::new(0),
            bindings: Vec::new(),
            cluster,
        };
        let everyone = Everyone {
            log: MessageLog::new(common.epoch_of(EVERYONE)),
            connections: 0,
        };
        Self {
            common,
            recent_ids,
            connections: Shards::new(shards, seed),
            inboxes: Shards::new(shards, seed),
            rooms: Shards::new(shards, seed),
            everyone: Mutex::new(everyone),
            everyone_name: EVERYONE.into(),
            expires_from: AtomicUsize::new(0),
        }
    }

    /// Returns the bounds of the chat.
    #[must_use]
    pub fn settings(&self) -> &LiveChatSettings {
        &self.common.settings
    }

    /// Changes the bounds of the chat, but not the kinds of its channels and the number of its shards.
    ///
    /// Whatever is asked for from now on is judged by them; what is kept goes as they say at the next
    /// calls of [`Chat::expire`].
    pub fn set_settings(&self, settings: &ChatSettings) {
        let of_node = self
            .common
            .in_cluster()
            .then(|| cluster_state::of_node(settings));
        let settings = of_node.as_ref().unwrap_or(settings);
        self.recent_ids.set_max(settings.dedup_entries_max);
        if !self.common.settings.set(settings) {
            return;
        }
        for part in 0..self.rooms.len() {
            self.rooms.lock_part(part).sweep_all();
        }
        for part in 0..self.inboxes.len() {
            self.inboxes.lock_part(part).sweep_all();
        }
    }

    /// Reads the numbers of this moment.
    #[must_use]
    pub fn stats(&self) -> ChatStats {
        self.common.totals.stats()
    }

    /// Does what is due: tells rooms who left, removes what is too old; returns whether more of it is
    /// left to the next call, since it is too much for one.
    ///
    /// To be called several times a second, and soon again while there is more; costs nearly nothing
    /// when nothing is due.
    pub fn expire(&self, sink: &mut dyn Sink, now: Moment) -> bool {
        let call = &mut self.call(sink, now.tick);
        let mut has_more = self.drop_lines_over(call) == LINES_DROPPED_MAX;
        has_more |= self.recent_ids.forget_old(call.scope, IDS_FORGOTTEN_MAX) == IDS_FORGOTTEN_MAX;
        let mut everyone = lock(&self.everyone);
        everyone.log.forget_excess(call.scope);
        everyone.log.forget_old(call.scope);
        drop(everyone);
        let parts = self.rooms.len() + self.inboxes.len();
        let (first, mut left) = (self.expires_from.load(Relaxed), EXPIRE_STEPS_A_CALL_MAX);
        for part in (first..first + parts).map(|number| number % parts) {
            loop {
                let steps = left.min(EXPIRE_STEPS_MAX);
                let done = self.expire_part(call, part, steps);
                left -= done;
                if left == 0 {
                    // The others come first next time.
                    self.expires_from.store((part + 1) % parts, Relaxed);
                    return true;
                }
                if done < steps {
                    break;
                }
            }
        }
        has_more
    }

    /// Does up to `steps` of what is due in one part of the rooms or inboxes; how many it did.
    fn expire_part(&self, call: &mut Call<'_>, part: usize, steps: usize) -> usize {
        match part.checked_sub(self.rooms.len()) {
            None => self.rooms.lock_part(part).expire(call, steps),
            Some(part) => self.inboxes.lock_part(part).expire(call, steps),
        }
    }

    /// Drops lines of users who never came, where there is hardly room for more; returns how many.
    fn drop_lines_over(&self, call: &mut Call<'_>) -> usize {
        let common = &self.common;
        let max = common.settings.unclaimed_lines_max();
        let enough = max - max / FREE_LINES_ONE_IN;
        if common.totals.unclaimed_lines.now() <= enough {
            return 0;
        }
        let lines = common.openers.lines_over(enough, LINES_DROPPED_MAX);
        for line in &lines {
            if let Some(uid) = line.strip_prefix('@') {
                self.inboxes.lock(uid).drop_unclaimed(call, uid);
            }
        }
        lines.len()
    }

    fn scope(&self, now: Tick) -> Scope<'_> {
        let common = &self.common;
        Scope { common, now }
    }

    fn call<'a>(&'a self, sink: &'a mut dyn Sink, now: Tick) -> Call<'a> {
        let scope = self.scope(now);
        Call { scope, sink }
    }

    fn keeps_in_memory(&self, channel: &str) -> bool {
        self.common.settings.kind_of(channel) == ChannelKind::Memory
    }
}

#[cfg(test)]
mod cluster_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Fd;

    /// Nobody hears it.
    struct Nowhere;

    impl Sink for Nowhere {
        fn publish(&mut self, _: &Arc<str>, _: &Notice<'_>) {}

        fn push(&mut self, _: Fd, _: &Notice<'_>) -> bool {
            true
        }

        fn welcome(&mut self, _: Fd, _: &[Welcome]) {}

        fn subscribe(&mut self, _: Fd, _: &Arc<str>, _: &[Notice<'_>]) {}

        fn replay(&mut self, _: Fd, _: &Arc<str>, _: Missing) {}

        fn forget(&mut self, _: &Arc<str>) {}

        fn claim(&mut self, _: &Arc<str>) {}
        fn drop_channel(&mut self, _: &Arc<str>, _: Epoch) {}
        fn unsubscribe(&mut self, _: Fd, _: &Arc<str>) {}
    }

    #[test]
    fn an_old_id_is_unknown_however_many_old_ones_are_still_to_be_forgotten() {
        let chat = Chat::new(ChatSettings::default(), 1);
        let say = |at, number: u64| {
            let id = format!("m{number}");
            let message = NewMessage {
                from: None,
                id: Some(id.as_str().into()),
                keep: Keep::No,
                except: Vec::new(),
                data: "1",
            };
            let now = Moment {
                tick: Tick(at),
                unix_ms: at,
            };
            let (shop, room) = (Actor::Key("shop"), Recipient::Room("tea"));
            chat.say(&mut Nowhere, now, shop, room, &message).unwrap();
        };
        (0..1_000).for_each(|number| say(1, number));
        say(2, 999);
        assert_eq!(chat.stats().duplicates, 1, "it is known");
        let late = 2 + chat.settings().dedup_ms();
        say(late, 999);
        assert_eq!((chat.stats().duplicates, chat.stats().messages), (1, 1_001));
        say(late, 999);
        say(late, 0);
        assert_eq!((chat.stats().duplicates, chat.stats().messages), (2, 1_002));
        let now = Moment {
            tick: Tick(late),
            unix_ms: late,
        };
        while chat.expire(&mut Nowhere, now) {}
        assert_eq!(chat.stats().dedup_entries, 2, "each old one went once");
    }

    #[test]
    fn the_name_of_a_user_who_logs_in_is_in_memory_once() {
        let chat = Chat::new(ChatSettings::default(), 1);
        chat.opened(Fd(64));
        let login = Login {
            fd: Fd(64),
            uid: "ann",
            rights: Arc::new(Rights::Open),
            rooms: &[],
            resume: &[],
        };
        let now = Moment {
            tick: Tick(1),
            unix_ms: 1,
        };
        chat.login(&mut Nowhere, now, &login).unwrap();
        let of_login = chat.user_of(Fd(64)).unwrap();
        let mut shard = chat.inboxes.lock("ann");
        let (of_inbox, _) = shard.channels.find("ann").unwrap();
        assert!(Arc::ptr_eq(of_login.inbox(), of_inbox.inbox()));
    }

    #[test]
    fn what_a_crowd_leaves_is_swept_in_bounded_steps_and_none_of_it_is_left() {
        const ROOMS: u64 = 10_000;
        let chat = Chat::new(ChatSettings::default(), 1);
        let moment = |tick| Moment {
            tick: Tick(tick),
            unix_ms: tick,
        };
        for number in 0..ROOMS {
            let message = NewMessage {
                from: None,
                id: None,
                keep: Keep::Yes,
                except: Vec::new(),
                data: "1",
            };
            let room = format!("r{number}");
            let said = chat.say(
                &mut Nowhere,
                moment(1),
                Actor::Key("shop"),
                Recipient::Room(&room),
                &message,
            );
            said.unwrap();
        }
        let late = moment(100 * 86_400_000);
        let mut calls = 0;
        while chat.stats().channels > 0 {
            let before = chat.stats().channels;
            let has_more = chat.expire(&mut Nowhere, late);
            let swept = before - chat.stats().channels;
            assert!(swept <= EXPIRE_STEPS_A_CALL_MAX, "{swept} at once");
            assert!(has_more || swept == before, "{before} are left to nobody");
            calls += 1;
            assert!(calls < 40, "{before} are left");
        }
        assert!(calls >= ROOMS as usize / EXPIRE_STEPS_A_CALL_MAX);
    }
}
