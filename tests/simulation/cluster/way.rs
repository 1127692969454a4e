//! The way of a node to the engine: everything on it takes time, and others run meanwhile.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::cluster::call::{Answer, Call, Caller, Life};
use tidings::cluster::engine::{
    Bus, CallBounds, Engine, EngineError, EngineFacts, EnginePage, EngineSource, LastCall,
    LifeState, Looked, Tidied,
};
use tidings::store::PageRange;

use super::super::random::Random;
use super::baton::Baton;

/// Milliseconds between two looks for a frame at most.
const LOOK_MS_MAX: u64 = 128;

/// The way of one node.
pub struct Way {
    inner: Arc<dyn EngineSource>,
    road: Arc<Road>,
}

/// What takes time on it.
struct Road {
    baton: Arc<Baton>,
    random: Mutex<Random>,
    /// Whether a frame has come.
    heard: AtomicBool,
}

impl Road {
    /// Something is on its way.
    fn travel(&self) {
        let ms = {
            let mut random = self.random.lock().unwrap();
            match random.below(40_u64) {
                0 => 20 + random.below(200_u64),
                1..10 => 1 + random.below(5_u64),
                _ => 0,
            }
        };
        self.baton.pause(ms);
    }
}

impl Way {
    pub fn new(inner: Arc<dyn EngineSource>, baton: &Arc<Baton>, seed: u64) -> Arc<Self> {
        let road = Road {
            baton: Arc::clone(baton),
            random: Mutex::new(Random::new(seed)),
            heard: AtomicBool::new(false),
        };
        Arc::new(Self {
            inner,
            road: Arc::new(road),
        })
    }
}

impl Way {
    /// Whether a frame has come since somebody asked.
    pub fn has_heard(&self) -> bool {
        self.road.heard.swap(false, Relaxed)
    }
}

impl EngineSource for Way {
    fn open(&self) -> Result<Box<dyn Engine>, EngineError> {
        self.road.travel();
        let inner = self.inner.open()?;
        let road = Arc::clone(&self.road);
        Ok(Box::new(EngineOnWay { inner, road }))
    }

    fn bus(&self, generation: u64) -> Result<Box<dyn Bus>, EngineError> {
        self.road.travel();
        let inner = self.inner.bus(generation)?;
        let road = Arc::clone(&self.road);
        Ok(Box::new(BusOnWay {
            inner,
            road,
            wait: 1,
        }))
    }
}

/// A connection over the way.
struct EngineOnWay {
    inner: Box<dyn Engine>,
    road: Arc<Road>,
}

impl EngineOnWay {
    /// There and back.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut dyn Engine) -> T) -> T {
        self.road.travel();
        let answer = ask(&mut *self.inner);
        self.road.travel();
        answer
    }
}

impl Engine for EngineOnWay {
    fn facts(&mut self) -> Result<EngineFacts, EngineError> {
        self.ask(|engine| engine.facts())
    }

    fn life(&mut self) -> Result<Option<LifeState>, EngineError> {
        self.ask(|engine| engine.life())
    }

    fn adopt(
        &mut self,
        facts: &EngineFacts,
        known: &Life,
        seen: u64,
        trusted: bool,
    ) -> Result<LifeState, EngineError> {
        self.ask(|engine| engine.adopt(facts, known, seen, trusted))
    }

    fn renew(&mut self) -> Result<Option<LifeState>, EngineError> {
        self.ask(|engine| engine.renew())
    }

    fn set_bounds(&mut self, bounds: &CallBounds) {
        self.inner.set_bounds(bounds);
    }

    fn call(&mut self, call: &Call) -> Result<Answer, EngineError> {
        self.ask(|engine| engine.call(call))
    }

    fn last_call(&mut self, generation: u64) -> Result<Option<LastCall>, EngineError> {
        self.ask(|engine| engine.last_call(generation))
    }

    fn wait(&mut self, replicas: usize, patience: Duration) -> Result<usize, EngineError> {
        self.ask(|engine| engine.wait(replicas, patience))
    }

    fn mark_safe(&mut self, n: u64, nodes: &[u64]) -> Result<(), EngineError> {
        self.road.travel();
        self.inner.mark_safe(n, nodes)
    }

    fn send(&mut self, node: u64, frame: &[u8]) -> Result<(), EngineError> {
        self.road.travel();
        self.inner.send(node, frame)
    }

    fn page(&mut self, channel: &str, range: PageRange) -> Result<EnginePage, EngineError> {
        self.ask(|engine| engine.page(channel, range))
    }

    fn look(&mut self, caller: &Caller, channels: &[&str]) -> Result<Vec<Looked>, EngineError> {
        self.ask(|engine| engine.look(caller, channels))
    }

    fn producer_mark(&mut self, producer: &str) -> Result<u64, EngineError> {
        self.ask(|engine| engine.producer_mark(producer))
    }

    fn tidy(
        &mut self,
        caller: &Caller,
        after: Option<&str>,
        channels_max: usize,
    ) -> Result<Tidied, EngineError> {
        self.ask(|engine| engine.tidy(caller, after, channels_max))
    }

    fn hasher_key(&mut self, ours: [u64; 2]) -> Result<[u64; 2], EngineError> {
        self.ask(|engine| engine.hasher_key(ours))
    }

    fn reserve_block(&mut self, caller: &Caller, at_least: u64) -> Result<u64, EngineError> {
        self.ask(|engine| engine.reserve_block(caller, at_least))
    }

    fn block_owner(&mut self, block: u64) -> Result<Option<u64>, EngineError> {
        self.ask(|engine| engine.block_owner(block))
    }
}

/// A bus over the way.
struct BusOnWay {
    inner: Box<dyn Bus>,
    road: Arc<Road>,
    /// Milliseconds until it is looked again.
    wait: u64,
}

impl Bus for BusOnWay {
    /// Looks often while something comes, and then less and less often.
    fn next(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, EngineError> {
        let mut left = patience.as_millis() as u64;
        loop {
            if let Some(frame) = self.inner.next(Duration::ZERO)? {
                self.wait = 1;
                self.road.heard.store(true, Relaxed);
                return Ok(Some(frame));
            }
            let pause = self.wait.min(left);
            self.road.baton.pause(pause);
            if left == 0 {
                return Ok(None);
            }
            left -= pause;
            self.wait = (self.wait * 2).min(LOOK_MS_MAX);
        }
    }
}
