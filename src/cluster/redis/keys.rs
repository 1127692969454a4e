//! The names of the keys.

use std::fmt::Display;

/// The names of all keys that begin with one prefix.
#[derive(Debug, Clone)]
pub(super) struct RedisKeys(pub(super) String);

impl RedisKeys {
    /// Hash: the name of each server, its generation.
    pub(super) fn nodes(&self) -> String {
        self.one("nodes")
    }

    /// Set: generations that are over and not yet cleaned up.
    pub(super) fn gone(&self) -> String {
        self.one("gone")
    }

    /// Set: rooms with lasting members.
    pub(super) fn lasting(&self) -> String {
        self.one("lasting")
    }

    /// Hash: a generation, its server and its counter.
    pub(super) fn generation(&self, generation: u64) -> String {
        self.one(format_args!("n:{generation}"))
    }

    /// Hash: a generation's connections, each with its user.
    pub(super) fn connections(&self, generation: u64) -> String {
        self.one(format_args!("c:{generation}"))
    }

    /// Set: the kinds and names of a generation's further keys.
    pub(super) fn index(&self, generation: u64) -> String {
        self.one(format_args!("x:{generation}"))
    }

    /// Hash: a user's connections.
    pub(super) fn user(&self, uid: &str) -> String {
        self.one(format_args!("u:{uid}"))
    }

    /// Hash: the users in a room, with their connections there.
    pub(super) fn room(&self, room: &str, generation: u64) -> String {
        self.indexed(&format!("w:{room}"), generation)
    }

    /// Hash: the rooms of a user, with the user's connections there.
    pub(super) fn rooms(&self, uid: &str, generation: u64) -> String {
        self.indexed(&format!("j:{uid}"), generation)
    }

    /// The key that stands in a generation's index under this name.
    pub(super) fn indexed(&self, name: &str, generation: u64) -> String {
        self.one(format_args!("{name}:{generation}"))
    }

    /// Set: the lasting members of a room.
    pub(super) fn members(&self, room: &str) -> String {
        self.one(format_args!("sm:{room}"))
    }

    /// Set: the rooms of which a user is a lasting member.
    pub(super) fn memberships(&self, uid: &str) -> String {
        self.one(format_args!("s:{uid}"))
    }

    /// Hash: the engine's life.
    pub(super) fn life(&self) -> String {
        self.one("life")
    }

    /// Hash: a generation's last call.
    pub(super) fn call(&self, generation: u64) -> String {
        self.one(format_args!("call:{generation}"))
    }

    /// The node that cleans a generation away at the moment.
    pub(super) fn cleaning(&self, generation: u64) -> String {
        self.one(format_args!("clean:{generation}"))
    }

    /// Hash: the generations that hear a channel, with their connections there.
    pub(super) fn routes(&self, channel: &str) -> String {
        self.one(format_args!("r:{channel}"))
    }

    /// Hash: the facts of a channel.
    pub(super) fn channel(&self, name: &str) -> String {
        self.one(format_args!("m:{name}"))
    }

    /// List: the messages of a channel.
    pub(super) fn list(&self, name: &str) -> String {
        self.one(format_args!("l:{name}"))
    }

    /// Sorted set: the names of channels.
    pub(super) fn names(&self) -> String {
        self.one("k")
    }

    /// Hash: the number up to which each producer is settled.
    pub(super) fn marks(&self) -> String {
        self.one("marks")
    }

    /// The generation that does the upkeep.
    pub(super) fn upkeep(&self) -> String {
        self.one("upkeep")
    }

    /// The key of hashes that all nodes make alike.
    pub(super) fn hasher(&self) -> String {
        self.one("hasher")
    }

    /// The newest block of serial numbers.
    pub(super) fn serials(&self) -> String {
        self.one("serials")
    }

    /// Hash: a block of serial numbers, its generation.
    pub(super) fn blocks(&self) -> String {
        self.one("blocks")
    }

    /// The channel on which a generation hears.
    pub(super) fn inbox(&self, generation: u64) -> String {
        self.one(format_args!("inbox:{generation}"))
    }

    fn one(&self, name: impl Display) -> String {
        format!("{}:{name}", self.0)
    }
}
