//! The engine as a model: in memory, in one process, without input or output, for simulations, and as the
//! measure of the real engine's scripts.
//!
//! A [`Model`] is one engine, whatever its clones. Each owner (a node of a test) reaches it by a
//! [`Model::source`] of its own, so that faults can be of one owner: a call that is lost before or after it
//! took effect, a copy of it that comes late, a bus that is cut or stalled. Others are the engine's: another
//! life, with or without the newest calls; no room.
//!
//! Invariant: what it does depends on what it is told, and on its clock, alone.

mod adoption;
mod bus;
mod calls;
mod connection;
mod dump;
mod faults;
mod state;
mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use dump::ModelValue;
pub use faults::{CallFault, LifeChange, LostCalls};

use self::bus::{ModelBus, ModelInboxes};
use self::connection::ModelConnection;
use self::faults::OwnerFaults;
use self::state::ModelState;
use super::call::Call;
use super::clock::Clock;
use super::engine::{Bus, CallBounds, Engine, EngineError, EngineFacts, EngineSource};
use super::{EnginePlace, EngineSettings, StoreAddress, StoreEngine};
use crate::base::Epoch;
use crate::base::sync::lock;

/// States of before the newest calls that can be gone back to.
const TAIL_MAX: usize = 16;

/// The messages of a channel, with their offsets.
pub type OffsetPayloads = Vec<(u64, Arc<[u8]>)>;

/// An engine; a clone is the same one.
#[derive(Debug, Clone)]
pub struct Model(Arc<ModelInner>);

#[derive(Debug)]
struct ModelInner {
    clock: Arc<dyn Clock>,
    engine: Mutex<ModelEngine>,
}

/// All that changes.
#[derive(Debug)]
struct ModelEngine {
    state: ModelState,
    /// States before the newest calls, the newest last.
    tail: VecDeque<ModelState>,
    /// Starts of the engine: whoever connected before is cut off.
    starts: u64,
    replid: u64,
    replid_before: u64,
    syncs_always: bool,
    replicas: usize,
    is_full: bool,
    /// Milliseconds by which the engine's clock is ahead.
    clock_ahead_ms: u64,
    inboxes: ModelInboxes,
    faults: BTreeMap<u64, OwnerFaults>,
    late: VecDeque<(Call, CallBounds)>,
}

impl Model {
    /// Returns what a node is told of an engine of which there is only a model.
    #[must_use]
    pub fn engine_settings() -> EngineSettings {
        EngineSettings {
            engine: StoreEngine::Redis,
            address: StoreAddress {
                place: EnginePlace::Tcp("model".into(), 1),
                user: String::new(),
                database: String::new(),
            },
            password: String::new(),
            prefix: "tidings".into(),
            answer_max: Duration::from_secs(1),
        }
    }

    /// Makes an engine without anything in it, which goes by this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let engine = ModelEngine {
            state: ModelState::default(),
            tail: VecDeque::new(),
            starts: 1,
            replid: 1,
            replid_before: 0,
            syncs_always: true,
            replicas: 0,
            is_full: false,
            clock_ahead_ms: 0,
            inboxes: ModelInboxes::default(),
            faults: BTreeMap::new(),
            late: VecDeque::new(),
        };
        Self(Arc::new(ModelInner {
            clock,
            engine: Mutex::new(engine),
        }))
    }

    /// Makes the way of an owner to the engine.
    #[must_use]
    pub fn source(&self, owner: u64) -> Arc<dyn EngineSource> {
        let model = self.clone();
        Arc::new(ModelSource { model, owner })
    }

    /// Has a generation stand under the name of a node; the one before doesn't stand any more.
    pub fn register(&self, node: &str, generation: u64) {
        let mut engine = self.engine();
        engine.state.nodes.insert(node.into(), generation);
    }

    /// Has no call of a generation be taken any more; its last one can still be asked for.
    pub fn declare_dead(&self, generation: u64) {
        let mut engine = self.engine();
        engine.state.calls.entry(generation).or_default().is_dead = true;
    }

    /// Sets the connections of a generation in a channel, if it hears the channel.
    pub fn count_connections(&self, channel: &str, generation: u64, count: u64) {
        let mut engine = self.engine();
        let routes = engine.state.routes.get_mut(channel);
        if let Some(route) = routes.and_then(|routes| routes.get_mut(&generation)) {
            *route = count;
        }
    }

    /// Returns the epoch of a channel and its messages, with their offsets.
    #[must_use]
    pub fn log(&self, channel: &str) -> Option<(Epoch, OffsetPayloads)> {
        let engine = self.engine();
        let channel = engine.state.channels.get(channel)?;
        let offsets = channel.floor() + 1..;
        let messages = offsets.zip(channel.messages.iter().cloned()).collect();
        Some((channel.epoch, messages))
    }

    /// Returns the names of all channels.
    #[must_use]
    pub fn channels(&self) -> Vec<Box<str>> {
        self.engine().state.channels.keys().cloned().collect()
    }

    fn engine(&self) -> MutexGuard<'_, ModelEngine> {
        lock(&self.0.engine)
    }

    fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    fn unix_ms(&self, engine: &ModelEngine) -> u64 {
        self.clock().unix_ms() + engine.clock_ahead_ms
    }
}

impl ModelEngine {
    fn facts(&self, unix_ms: u64) -> EngineFacts {
        // An engine that was never promoted names a history of zeros before its own.
        let replid = |number: u64| format!("{number:040}").into();
        EngineFacts {
            run: format!("run-{}", self.starts).into(),
            replids: [replid(self.replid), replid(self.replid_before)],
            is_primary: true,
            syncs_always: self.syncs_always,
            keeps_file: true,
            replicas: self.replicas,
            replicas_known: Some(self.replicas),
            unix_ms,
            version: (7, 0),
            ..EngineFacts::default()
        }
    }

    /// Keeps the state of before a call, so that the call can be lost.
    fn keep_tail(&mut self, before: ModelState) {
        if self.tail.len() == TAIL_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(before);
    }
}

/// The way of an owner to a model.
struct ModelSource {
    model: Model,
    owner: u64,
}

impl EngineSource for ModelSource {
    fn open(&self) -> Result<Box<dyn Engine>, EngineError> {
        ModelConnection::open(&self.model, self.owner).map(|open| Box::new(open) as _)
    }

    fn bus(&self, generation: u64) -> Result<Box<dyn Bus>, EngineError> {
        ModelBus::open(&self.model, self.owner, generation).map(|open| Box::new(open) as _)
    }
}

#[cfg(test)]
mod tests;
