//! The way to a Redis.

use std::sync::Arc;

use super::bindings::{NodeRows, RedisBindings};
use super::connection::RedisConnection;
use super::keys::RedisKeys;
use crate::chat::{BindingError, BindingScope, BindingStore, Bindings};
use crate::cluster::EngineSettings;
use crate::cluster::shared::NodeShared;

/// The way to a Redis.
pub(in crate::cluster) struct RedisStore(pub(in crate::cluster) EngineSettings);

impl BindingStore for RedisStore {
    fn open(&self) -> Result<Box<dyn Bindings>, BindingError> {
        let mut connection = RedisConnection::open(&self.0)?;
        connection.check()?;
        let keys = RedisKeys(self.0.prefix.clone());
        Ok(Box::new(RedisBindings::new(connection, keys, None)?))
    }
}

/// The way of a node of a cluster to its rows.
pub(in crate::cluster) struct RedisNodeStore {
    pub(in crate::cluster) settings: EngineSettings,
    pub(in crate::cluster) shared: Arc<NodeShared>,
}

impl BindingStore for RedisNodeStore {
    fn scope(&self) -> BindingScope {
        BindingScope::Register
    }

    fn open(&self) -> Result<Box<dyn Bindings>, BindingError> {
        let mut connection = RedisConnection::open(&self.settings)?;
        connection.check()?;
        let keys = RedisKeys(self.settings.prefix.clone());
        let node = NodeRows {
            generation: self.shared.generation(),
            shared: Arc::clone(&self.shared),
        };
        Ok(Box::new(RedisBindings::new(connection, keys, Some(node))?))
    }
}
