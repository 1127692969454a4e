//! Layer 4: who is there, what was said, and who may hear it, as pure state.
//!
//! [`Chat`] knows users, rooms, channels, presence and permissions; it is the authority, and the
//! topics of the reactors are its index. Nothing in here does I/O, reads a clock or looks into a
//! message. Any number of threads call it with the time and a [`Sink`] that takes what is to be
//! sent. A call goes `chat` (rights) → `connections` → `inboxes` or `rooms` (who is there) → `log`
//! (offsets, what is kept) → [`Sink`].
//!
//! Invariants:
//! - **Everything that is sent in a channel is given to the [`Sink`] under the lock of its shard**,
//!   in the order of the offsets. A join takes what was missed and the subscription as one command
//!   under the same lock: no hole, no repeat.
//! - Locks are taken in the order connections → lines → rooms → everyone, and of each kind one at
//!   a time, but for a private message, which takes two shards of lines, and a login, which takes
//!   those of all its rooms: the lower ones first. Nothing waits for anything else under a lock.
//! - A connection's lock is held while it logs in, joins, leaves or goes, so that what it thinks
//!   it hears and who the channels think is there are the same.
//! - Every table has a bound in [`ChatSettings`].

mod catch_up;
#[expect(clippy::module_inception, reason = "the noun of this file is the chat")]
mod chat;
mod common;
mod connections;
mod dedup;
mod error;
mod fds;
mod id_source;
mod inboxes;
mod lasting_members;
mod log;
mod login;
mod members;
mod message;
mod name;
mod pattern;
mod pending;
mod query;
mod restore;
mod rights;
mod rooms;
mod say;
mod settings;
mod shards;
mod sink;
mod stats;
mod stored_index;

pub use catch_up::CatchUp;
pub use chat::Chat;
pub use common::Moment;
pub use error::{ChatError, ErrorCode, NameProblem};
pub use log::{HistoryPage, HistoryRange, Resume};
pub use login::{LoggedIn, Login};
pub use message::{
    Delivered, Keep, KeptMessage, NewMessage, Notice, PurgeOutcome, Receipt, Recipient,
};
pub use name::{EVERYONE, NAME_BYTES_MAX, User, check_room, check_uid};
pub use pattern::Pattern;
pub use pending::PendingMessage;
pub use query::{Asked, ConnectionView, History, MemberView, RoomView, UserView, Who};

pub use crate::base::{Epoch, Position};
pub use restore::Restored;
pub use rights::{Actor, Rights};
pub use say::SayOutcome;
pub use settings::{ChannelKind, ChatSettings};
pub use sink::{Missing, Sink, Welcome};
pub use stats::ChatStats;
pub use stored_index::StoredIndex;
