//! Redis, or Valkey.

mod bindings;
mod connection;
mod keys;
mod store;

pub(super) use store::RedisStore;
