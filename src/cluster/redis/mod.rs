//! Redis, or Valkey.

mod answers;
mod bindings;
mod bus;
mod connection;
mod entries;
mod facts;
mod failure;
mod keys;
mod log;
mod membership;
mod presence;
mod scripts;
mod sentinel;
mod source;
mod store;
mod trial;
#[cfg(feature = "mysql")]
mod truth;

pub(super) use membership::RedisRegisterSource;
pub(super) use presence::RedisPresenceSource;
pub(super) use source::RedisSource;
pub(super) use store::{RedisNodeStore, RedisStore};
pub(super) use trial::erase;
#[cfg(feature = "mysql")]
pub(super) use truth::{LastingMember, RedisTruth};
