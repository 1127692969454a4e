//! Layer 4: who is there, what was said, and who may hear it, as pure state.
//!
//! [`Chat`] knows users, rooms, channels, presence and permissions; it is the authority, and the
//! topics of the reactors are its index. Nothing in here does I/O, reads a clock or looks into a
//! message. Any number of threads call it with the time and a [`Post`] that takes what is to be
//! sent. A call goes `chat` (rights) → `connections` → `lines` or `rooms` (who is there) → `log`
//! (offsets, what is kept) → [`Post`].
//!
//! Invariants:
//! - **Everything that is sent in a channel is given to the [`Post`] under the lock of its shard**,
//!   in the order of the offsets. A join takes what was missed and the subscription as one command
//!   under the same lock: no hole, no repeat.
//! - Locks are taken in the order connections → lines → rooms → everyone, and of each kind one at
//!   a time, but for a private message, which takes two shards of lines, the lower one first.
//!   Nothing waits for anything else under a lock.
//! - A connection's lock is held while it logs in, joins, leaves or goes, so that what it thinks
//!   it hears and who the channels think is there are the same.
//! - Every table has a bound in [`ChatSettings`].

mod ask;
mod audience;
mod catch_up;
#[expect(clippy::module_inception, reason = "the noun of this file is the chat")]
mod chat;
mod come;
mod common;
mod connections;
mod draft;
mod error;
mod fds;
mod lasting;
mod lines;
mod log;
mod message;
mod name;
mod pattern;
mod position;
mod post;
mod recent;
mod restore;
mod rights;
mod rooms;
mod settings;
mod shards;
mod shelf;
mod stats;

pub use ask::{Asked, ConnectionView, History, MemberView, RoomView, UserView, Who};
pub use catch_up::CatchUp;
pub use chat::Chat;
pub use come::{LoggedIn, Login};
pub use common::Moment;
pub use draft::Draft;
pub use error::{ChatError, ErrorCode, NameProblem};
pub use log::{Page, Range, Resume};
pub use message::{Frame, Keep, Message, Posted, Purging, Said, Say, Saying, To};
pub use name::{EVERYONE, NAME_BYTES_MAX, User, check_room, check_uid};
pub use pattern::Pattern;
pub use position::{Epoch, Position};
pub use post::{Missing, Post, Welcome};
pub use restore::Restored;
pub use rights::{Actor, Rights};
pub use settings::{ChatSettings, Kind};
pub use shelf::Shelf;
pub use stats::ChatStats;
