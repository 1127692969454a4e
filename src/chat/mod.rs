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
//! - `purge`: purge, purged;
//! - `restore`: restore, forget_channel;
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

mod call;
mod catch_up;
mod channels;
mod common;
mod connections;
mod error;
mod everyone;
mod expiry;
mod fds;
mod hasher;
mod history;
mod id_source;
mod inboxes;
mod lasting_members;
mod log;
mod login;
mod members;
mod message;
mod moment;
mod name;
mod notice;
mod pattern;
mod pending;
mod placement;
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

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

pub use crate::base::{Epoch, MessageBody, Position};
pub use catch_up::{CatchUp, ReplayPage};
pub use error::{ChatError, ErrorCode, NameProblem};
pub use history::{HistoryPage, HistoryRange};
pub use login::{LoggedIn, Login};
pub use message::{Keep, KeptMessage, NewMessage, Recipient};
pub use moment::Moment;
pub use name::{EVERYONE, NAME_BYTES_MAX, User, check_room, check_uid};
pub use notice::{Delivered, Notice};
pub use pattern::Pattern;
pub use pending::PendingMessage;
pub use purge::PurgeOutcome;
pub use query::{ConnectionView, History, HistorySource, MemberView, RoomView, UserView, Who};
pub use receipt::Receipt;
pub use restore::Restored;
pub use resume::Resume;
pub use rights::{Actor, Rights};
pub use say::SayOutcome;
pub use settings::{ChannelKind, ChatSettings};
pub use sink::{Missing, Sink, Welcome};
pub use stats::ChatStats;
pub use stored_index::StoredIndex;

use crate::base::Tick;
use crate::base::sync::lock;
use call::{Call, Scope};
use common::Common;
use connections::ConnectionShard;
use everyone::Everyone;
use hasher::Hasher;
use id_source::IdSource;
use inboxes::InboxShard;
use log::MessageLog;
use recent_ids::RecentIds;
use rooms::RoomShard;
use shards::Shards;
use stats::Totals;
use stored_index::NothingStored;

/// Steps of [`Chat::expire`] after which the lock of a shard is released for a moment. A step takes
/// about a microsecond, so a message waits a fraction of a millisecond at the most.
const EXPIRE_STEPS_MAX: usize = 256;

/// The state of all users, rooms and channels, which all threads share by reference.
pub struct Chat {
    common: Common,
    connections: Shards<ConnectionShard>,
    inboxes: Shards<InboxShard>,
    rooms: Shards<RoomShard>,
    everyone: Mutex<Everyone>,
    everyone_name: Arc<str>,
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
        keys: [u64; 2],
    ) -> Self {
        let shards = settings.shards;
        let common = Common {
            settings,
            totals: Totals::default(),
            ids: IdSource::new(seed),
            hasher: Hasher::new(keys),
            stored,
            forgets: AtomicU64::new(0),
        };
        let everyone = Everyone {
            log: MessageLog::new(common.epoch_of(EVERYONE)),
            connections: 0,
            recent_ids: RecentIds::default(),
        };
        Self {
            common,
            connections: Shards::new(shards, seed),
            inboxes: Shards::new(shards, seed),
            rooms: Shards::new(shards, seed),
            everyone: Mutex::new(everyone),
            everyone_name: EVERYONE.into(),
        }
    }

    /// Returns the bounds of the chat.
    #[must_use]
    pub fn settings(&self) -> &ChatSettings {
        &self.common.settings
    }

    /// Reads the numbers of this moment.
    #[must_use]
    pub fn stats(&self) -> ChatStats {
        self.common.totals.stats()
    }

    /// Does what is due: tells rooms who left, removes what is too old. To be called several times
    /// a second; costs nearly nothing when nothing is due.
    pub fn expire(&self, sink: &mut dyn Sink, now: Moment) {
        let call = &mut self.call(sink, now.tick);
        for part in 0..self.rooms.len() {
            while (self.rooms.lock_part(part)).expire(call, EXPIRE_STEPS_MAX) {}
        }
        for part in 0..self.inboxes.len() {
            while (self.inboxes.lock_part(part)).expire(call, EXPIRE_STEPS_MAX) {}
        }
        let mut everyone = lock(&self.everyone);
        everyone.recent_ids.forget_old(call.scope);
        everyone.log.forget_old(call.scope);
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
