//! What servers share: the engine in which several nodes are one server, and tables of who is where, which
//! other programs read (`docs/bindings.md`). Engines are Redis, and MySQL for the tables.
//!
//! A node keeps nothing on disk. Its log is the engine's: what is said goes there in calls, and comes back over
//! the bus to all nodes that hear the channel, this one included. The files, in the order in which a newcomer
//! may read them:
//!
//! - what a node says to an engine: `call` and its answers, `engine`, `frame` and `payload` of the bus;
//!   `model` is an engine in memory, for tests, and `redis` the real one, with its scripts in `redis/lua`;
//! - the log, as a [`Store`](crate::store::Store): `store` gathers a `batch`, `pipe` makes the call of it until
//!   it is known what became of it (`retry`), `reader` reads;
//! - whether all is still there: `life`, `promise`;
//! - the bus: `bus`;
//! - who is there: `register`, `membership` and its `member_thread`, `lease`, `cleaning`, `presence`;
//! - the node as a whole: `node`, what its threads share (`shared`), what the next image of the program goes on
//!   with (`kept`); `check` looks at an engine before it is used, `rights` says what a node is to be allowed.
//!
//! Invariants:
//! - Every wait for an engine has a limit, and an error never has a password in it.
//! - A call takes effect once, however often it was made, in the life for which it was made, and only while its
//!   generation stands.
//! - Nobody is shown or told what the engine could still lose, as far as the promise goes.

mod address;
mod batch;
pub mod bus;
pub mod call;
pub mod check;
pub mod cleaning;
pub mod clock;
pub mod engine;
pub mod frame;
pub mod kept;
pub mod lease;
pub mod life;
pub mod member_thread;
pub mod membership;
#[doc(hidden)]
pub mod model;
#[cfg(feature = "mysql")]
mod mysql;
pub mod node;
mod owed;
pub mod payload;
mod pipe;
pub mod presence;
pub mod promise;
mod reader;
#[cfg(feature = "cluster")]
mod redis;
pub mod register;
mod retry;
pub mod rights;
mod settings;
pub mod shared;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use address::{AddressFlaw, EnginePlace, StoreAddress};
pub use node::ClusterNode;
pub use settings::{ClusterPromise, ClusterSettings};

use crate::chat::BindingStore;
use presence::PresenceSource;
use register::RegisterSource;
use shared::NodeShared;

/// An engine that can hold the bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreEngine {
    /// Redis 7.0 or newer, or Valkey.
    Redis,
    /// MySQL 8.0 or newer, or MariaDB 10.5 or newer.
    MySql,
}

impl StoreEngine {
    /// Returns the milliseconds between two writes of bindings at least: a database gets statements of many
    /// rows, and Redis what a page of people does at once.
    #[must_use]
    pub const fn gather_ms(self) -> u64 {
        match self {
            Self::MySql => 100,
            Self::Redis => 50,
        }
    }
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

/// Makes the way to the engine of a cluster; nothing is opened yet.
///
/// # Errors
///
/// The engine can't be a cluster's, or the program was built without it; the text says so.
pub fn source(settings: EngineSettings) -> Result<Arc<dyn engine::EngineSource>, String> {
    match settings.engine {
        #[cfg(feature = "cluster")]
        StoreEngine::Redis => Ok(Arc::new(redis::RedisSource(settings))),
        #[cfg(not(feature = "cluster"))]
        StoreEngine::Redis => {
            Err("this program was built without Redis (feature `cluster`)".into())
        }
        StoreEngine::MySql => Err("the log of a cluster is in Redis".into()),
    }
}

/// Deletes every key behind the prefix of these settings.
fn erase(settings: &EngineSettings) -> Result<(), String> {
    match settings.engine {
        #[cfg(feature = "cluster")]
        StoreEngine::Redis => redis::erase(settings).map_err(|error| error.to_string()),
        _ => Err("nodes share a Redis (feature `cluster`)".into()),
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
        StoreEngine::MySql => Ok(Arc::new(mysql::MySqlStore(settings))),
        #[cfg(not(feature = "mysql"))]
        StoreEngine::MySql => Err("this program was built without MySQL (feature `mysql`)".into()),
    }
}

/// Makes the way of a node of a cluster to its rows; nothing is opened yet.
///
/// # Errors
///
/// The program was built without this engine; the text says so.
pub fn node_store(shared: &Arc<NodeShared>) -> Result<Arc<dyn BindingStore>, String> {
    match shared.settings.engine.engine {
        #[cfg(feature = "cluster")]
        StoreEngine::Redis => Ok(Arc::new(redis::RedisNodeStore {
            settings: shared.settings.engine.clone(),
            shared: Arc::clone(shared),
        })),
        _ => Err("nodes share a Redis (feature `cluster`)".into()),
    }
}

/// Makes the way of a node of a cluster to tables that it writes besides; nothing is opened yet.
///
/// # Errors
///
/// The program was built without this engine, or the engine isn't one beside a cluster; the text says so.
pub fn node_tables(
    settings: EngineSettings,
    shared: &Arc<NodeShared>,
) -> Result<Arc<dyn BindingStore>, String> {
    match settings.engine {
        #[cfg(all(feature = "cluster", feature = "mysql"))]
        StoreEngine::MySql => Ok(Arc::new(mysql::MySqlNodeStore {
            settings,
            shared: Arc::clone(shared),
        })),
        #[cfg(not(all(feature = "cluster", feature = "mysql")))]
        StoreEngine::MySql => {
            let _ = shared;
            Err("this program was built without MySQL beside a cluster (feature `mysql`)".into())
        }
        StoreEngine::Redis => Err("rows of a node are in the Redis of its cluster".into()),
    }
}

/// Makes the way to the register of a cluster's nodes; nothing is opened yet.
///
/// # Errors
///
/// The program was built without this engine; the text says so.
pub fn register_source(settings: EngineSettings) -> Result<Arc<dyn RegisterSource>, String> {
    match settings.engine {
        #[cfg(feature = "cluster")]
        StoreEngine::Redis => Ok(Arc::new(redis::RedisRegisterSource(settings))),
        _ => Err("nodes share a Redis (feature `cluster`)".into()),
    }
}

/// Makes the way to the rows of a cluster's nodes; nothing is opened yet.
///
/// # Errors
///
/// The program was built without this engine; the text says so.
pub fn presence_source(settings: EngineSettings) -> Result<Arc<dyn PresenceSource>, String> {
    match settings.engine {
        #[cfg(feature = "cluster")]
        StoreEngine::Redis => Ok(Arc::new(redis::RedisPresenceSource(settings))),
        _ => Err("nodes share a Redis (feature `cluster`)".into()),
    }
}

#[cfg(test)]
mod tests;
