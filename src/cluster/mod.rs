//! The engines that servers share with each other and with programs beside them: Redis, MySQL.
//!
//! So far there is one thing in them: who is connected, as whom, in which rooms (`docs/bindings.md`). The
//! chat knows a store only as [`BindingStore`]; which engine that is, is decided here.
//!
//! Invariant: every wait for an engine has a limit, and an error never has a password in it.

mod address;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "cluster")]
mod redis;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use address::{AddressFlaw, EnginePlace, StoreAddress};

use crate::chat::BindingStore;

/// An engine that can hold the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreEngine {
    /// Redis 7.0 or newer, or Valkey.
    Redis,
    /// MySQL 8.0 or newer, or MariaDB 10.5 or newer.
    MySql,
}

/// Where a store is, and how it is used; its `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// The engine.
    pub engine: StoreEngine,
    /// Its place, and who comes.
    pub address: StoreAddress,
    /// The password; empty where none is asked for.
    pub password: String,
    /// The beginning of the names of all keys and tables.
    pub prefix: String,
    /// The longest wait for an answer.
    pub answer_max: Duration,
}

impl fmt::Debug for EngineSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineSettings")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Makes the way to a store; nothing is opened yet.
///
/// # Errors
///
/// The program was built without this engine; the text says so.
pub fn store(settings: EngineSettings) -> Result<Arc<dyn BindingStore>, String> {
    match settings.engine {
        #[cfg(feature = "cluster")]
        StoreEngine::Redis => Ok(Arc::new(redis::RedisStore(settings))),
        #[cfg(not(feature = "cluster"))]
        StoreEngine::Redis => {
            Err("this program was built without Redis (feature `cluster`)".into())
        }
        #[cfg(feature = "mysql")]
        #[cfg(feature = "mysql")]
        StoreEngine::MySql => Ok(Arc::new(mysql::MySqlStore(settings))),
        #[cfg(not(feature = "mysql"))]
        StoreEngine::MySql => Err("this program was built without MySQL (feature `mysql`)".into()),
    }
}
