//! The way to a Redis.

use super::bindings::RedisBindings;
use super::connection::RedisConnection;
use super::keys::RedisKeys;
use crate::chat::{BindingError, BindingStore, Bindings};
use crate::cluster::EngineSettings;

/// The way to a Redis.
pub(in crate::cluster) struct RedisStore(pub(in crate::cluster) EngineSettings);

impl BindingStore for RedisStore {
    fn open(&self) -> Result<Box<dyn Bindings>, BindingError> {
        let mut connection = RedisConnection::open(&self.0)?;
        connection.check()?;
        let keys = RedisKeys(self.0.prefix.clone());
        Ok(Box::new(RedisBindings::new(connection, keys)?))
    }
}
