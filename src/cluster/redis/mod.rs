//! Redis, or Valkey.

mod bindings;
mod connection;
mod keys;

pub(super) use connection::RedisStore;
