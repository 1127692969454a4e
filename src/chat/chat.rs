//! The chat itself: what it is made of, and what time and back ends do to it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use super::common::{Common, Moment};
use super::connections::ConnectionShard;
use super::dedup::{Hasher, Recent};
use super::error::ChatError;
use super::id_source::IdSource;
use super::inboxes::InboxShard;
use super::log::Log;
use super::message::PurgeOutcome;
use super::name::{EVERYONE, check_room};
use super::rooms::RoomShard;
use super::settings::{ChannelKind, ChatSettings};
use super::shards::{Shards, lock};
use super::sink::Sink;
use super::stats::{ChatStats, Totals};
use super::stored_index::{Empty, StoredIndex};
use crate::base::{Epoch, Position};

/// Steps of [`Chat::expire`] after which a lock is let go for a moment.
const EXPIRE_STEPS_MAX: usize = 256;

/// Everything that the server knows of its users. Shared by reference among all threads.
pub struct Chat {
    pub(super) common: Common,
    pub(super) connections: Shards<ConnectionShard>,
    pub(super) inboxes: Shards<InboxShard>,
    pub(super) rooms: Shards<RoomShard>,
    pub(super) everyone: Mutex<Everyone>,
    pub(super) everyone_name: Arc<str>,
}

/// The channel of all who logged in.
#[derive(Debug)]
pub(super) struct Everyone {
    pub(super) log: Log,
    pub(super) connections: usize,
    pub(super) recent: Recent,
}

impl Chat {
    /// An empty chat. Epochs and ids are made from `seed`: give a random one, or the same for the
    /// same run.
    #[must_use]
    pub fn new(settings: ChatSettings, seed: u64) -> Self {
        let keys = [seed, seed.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15];
        Self::with_stored_index(settings, seed, Arc::new(Empty), keys)
    }

    /// The same for a chat whose stored channels are on this shelf. `keys` are the same after each
    /// restart, and random: repeats are known, and the epochs of new channels made, by hashes with
    /// them. What the shelf knows is brought in by [`Chat::restore`].
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
            source: IdSource::new(seed),
            hasher: Hasher::new(keys),
            stored,
            forgets: AtomicU64::new(0),
        };
        let everyone = Everyone {
            log: Log::new(common.epoch_of(EVERYONE)),
            connections: 0,
            recent: Recent::default(),
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

    /// The bounds.
    #[must_use]
    pub fn settings(&self) -> &ChatSettings {
        &self.common.settings
    }

    /// The numbers of this moment.
    #[must_use]
    pub fn stats(&self) -> ChatStats {
        self.common.totals.stats()
    }

    /// Does what is due: tells rooms who left, lets go of what is too old. To be called several
    /// times a second; costs nearly nothing when nothing is due.
    pub fn expire(&self, post: &mut dyn Sink, now: Moment) {
        let (common, now) = (&self.common, now.tick);
        for part in 0..self.rooms.len() {
            while self
                .rooms
                .lock_part(part)
                .expire(common, post, now, EXPIRE_STEPS_MAX)
            {}
        }
        for part in 0..self.inboxes.len() {
            while self
                .inboxes
                .lock_part(part)
                .expire(common, post, now, EXPIRE_STEPS_MAX)
            {}
        }
        let mut everyone = lock(&self.everyone);
        let (settings, totals) = (&common.settings, &common.totals);
        everyone.recent.forget_old(now, settings, totals);
        everyone.log.forget_old(now, settings, totals);
    }

    /// Begins the log of a room anew, under another epoch; those who hear it are told by a gap.
    /// Where it is stored, gives the epoch that is to be written, and nothing has changed yet:
    /// then [`Chat::purged`].
    ///
    /// # Errors
    ///
    /// [`ChatError::NoRoom`], [`ChatError::NotKept`].
    pub fn purge(&self, post: &mut dyn Sink, room: &str) -> Result<PurgeOutcome, ChatError> {
        check_room("room", room)?;
        let epoch = self.common.source.epoch();
        let mut shard = self.rooms.lock(room);
        let purged = match self.common.settings.kind_of(room) {
            ChannelKind::None => return Err(ChatError::NotKept),
            ChannelKind::Memory => shard
                .purge(&self.common, post, room, epoch)
                .map(PurgeOutcome::Done),
            ChannelKind::Stored => shard.find(room).map(|_| PurgeOutcome::Stored(epoch)),
        };
        purged.ok_or_else(|| ChatError::NoRoom(room.into()))
    }

    /// The disk has begun the log of a room anew.
    pub fn purged(&self, post: &mut dyn Sink, room: &str, epoch: Epoch) -> Position {
        let mut shard = self.rooms.lock(room);
        let purged = shard.purge(&self.common, post, room, epoch);
        purged.unwrap_or(Position { epoch, offset: 0 })
    }

    pub(super) fn keeps_in_memory(&self, channel: &str) -> bool {
        self.common.settings.kind_of(channel) == ChannelKind::Memory
    }
}
