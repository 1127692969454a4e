//! The way of a node to its cluster's Redis.

use redis::ProtocolVersion;

use super::bus::RedisBus;
use super::connection::RedisConnection;
use super::failure::of_opening;
use super::keys::RedisKeys;
use super::log::RedisLog;
use crate::cluster::EngineSettings;
use crate::cluster::engine::{Bus, Engine, EngineError, EngineSource};

/// The way to a Redis that is a cluster's engine.
pub(in crate::cluster) struct RedisSource(pub(in crate::cluster) EngineSettings);

impl EngineSource for RedisSource {
    fn open(&self) -> Result<Box<dyn Engine>, EngineError> {
        let connection = RedisConnection::open(&self.0).map_err(of_opening)?;
        let keys = RedisKeys(self.0.prefix.clone());
        Ok(Box::new(RedisLog::new(connection, keys, &self.0)))
    }

    fn bus(&self, generation: u64) -> Result<Box<dyn Bus>, EngineError> {
        let connection = RedisConnection::open_with(&self.0, ProtocolVersion::RESP3);
        let connection = connection.map_err(of_opening)?.into_inner();
        let inbox = RedisKeys(self.0.prefix.clone()).inbox(generation);
        let bus = RedisBus::subscribe(connection, &inbox, self.0.answer_max)?;
        Ok(Box::new(bus))
    }
}
