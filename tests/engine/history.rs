//! One random history, told to a real Redis and to the model at once.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::Commands as _;
use tidings::cluster::call::{Call, Life};
use tidings::cluster::clock::Clock;
use tidings::cluster::engine::{Bus, Engine, EngineFacts, EngineSource};
use tidings::cluster::model::{LifeChange, LostCalls, Model, ModelValue};

use super::chance::{Chance, NODES, caller, frame};
use super::keys::keys;
use super::support::redis_server::RedisServer;
use super::world::{PREFIX, register, way};

/// The time of the engine, as the test has read it.
#[derive(Debug)]
struct EngineClock(AtomicU64);

impl Clock for EngineClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn pause(&self, _: Duration) {}
}

/// Both engines, and the nodes that call them.
struct Twins<'a> {
    redis: &'a RedisServer,
    connection: redis::Connection,
    source: Arc<dyn EngineSource>,
    real: Box<dyn Engine>,
    clock: Arc<EngineClock>,
    model: Model,
    modelled: Box<dyn Engine>,
    life: Life,
    /// The facts of the real engine, with the run that the test says.
    facts: EngineFacts,
    runs: u64,
    /// Of each node the generation, and the number of its last call.
    nodes: [(u64, u64); NODES.len()],
    /// Generations that others took the place of, each with its node and the number of its last call.
    former: Vec<(usize, u64, u64)>,
    last: Vec<Call>,
    buses: BTreeMap<u64, [Box<dyn Bus>; 2]>,
    /// Frames that were sent to be the last of each bus so far.
    fences: u64,
}

/// Runs a history; panics with its seed where the two differ.
pub fn run(redis: &RedisServer, seed: u64) {
    let mut twins = Twins::new(redis);
    let now_ms = twins.clock.unix_ms();
    let mut chance = Chance::new(seed, now_ms);
    let bounds = chance.bounds();
    twins.real.set_bounds(&bounds);
    twins.modelled.set_bounds(&bounds);
    let steps = chance.random.within(5..=25);
    for step in 0..steps {
        let what = format!("seed {seed}, step {step}");
        twins.step(&mut chance, &what);
        let (real, modelled) = twins.keys();
        assert_eq!(real, modelled, "{what}");
        twins.compare_frames(&what);
    }
}

impl<'a> Twins<'a> {
    fn new(redis: &'a RedisServer) -> Self {
        let mut connection = redis.connection();
        redis::cmd("FLUSHALL").exec(&mut connection).unwrap();
        let clock = Arc::new(EngineClock(AtomicU64::new(0)));
        let model = Model::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let source = way(redis, "", "");
        let mut real = source.open().unwrap();
        let facts = real.facts().unwrap();
        let modelled = model.source(0).open().unwrap();
        let mut twins = Self {
            redis,
            connection,
            source,
            real,
            clock,
            modelled,
            model,
            life: Life::default(),
            facts,
            runs: 0,
            nodes: [(1, 0), (2, 0), (3, 0)],
            former: Vec::new(),
            last: Vec::new(),
            buses: BTreeMap::new(),
            fences: 0,
        };
        twins.tell_time();
        for node in 0..NODES.len() {
            twins.register(node, node as u64 + 1);
        }
        twins.adopt(0, true, "the first life");
        twins
    }

    /// Has the model have the time of Redis.
    fn tell_time(&mut self) {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut self.connection).unwrap();
        let now_ms = seconds * 1000 + micros / 1000;
        self.clock.0.store(now_ms, Ordering::Relaxed);
    }

    fn register(&mut self, node: usize, generation: u64) {
        register(self.redis, NODES[node], generation);
        self.model.register(NODES[node], generation);
        self.nodes[node] = (generation, 0);
        let buses = [
            self.source.bus(generation).unwrap(),
            self.model.source(0).bus(generation).unwrap(),
        ];
        self.buses.insert(generation, buses);
    }

    /// Asks both the same.
    #[track_caller]
    fn both<T: PartialEq + Debug>(&mut self, what: &str, ask: impl Fn(&mut dyn Engine) -> T) -> T {
        let real = ask(&mut *self.real);
        let modelled = ask(&mut *self.modelled);
        assert_eq!(real, modelled, "{what}");
        real
    }

    fn adopt(&mut self, seen: u64, trusted: bool, what: &str) {
        let (facts, known) = (self.facts.clone(), self.life.clone());
        let adopted = self.both(what, |engine| {
            engine.adopt(&facts, &known, seen, trusted).unwrap()
        });
        self.life = adopted.life;
        self.both(what, |engine| engine.life().unwrap());
    }

    fn step(&mut self, chance: &mut Chance, what: &str) {
        self.tell_time();
        let node = chance.random.below(NODES.len());
        let (generation, number) = self.nodes[node];
        let own = caller(node, generation);
        match chance.random.below(26_u8) {
            0 => self.another_life(chance, what),
            1 => {
                self.former.push((node, generation, number));
                self.register(node, chance.random.below(1_u64 << 40) + 10);
            }
            2 => self.end(generation),
            3 => {
                // A copy of an older call.
                let copy = chance.random.one_of(&self.last).cloned();
                if let Some(copy) = copy {
                    self.call(&copy, what);
                }
            }
            4 => {
                let life = self.both(what, |engine| engine.renew().unwrap());
                if chance.random.one_in(2) {
                    self.life = life.expect("a life stands").life;
                }
            }
            5 => self.count(chance, generation),
            6 => self.make_old(),
            7 => {
                let after = chance.random.one_in(2).then(|| chance.channel());
                let channels_max = chance.random.within(1..=8);
                for _ in 0..2 {
                    self.both(what, |engine| {
                        engine.tidy(&own, after.as_deref(), channels_max).unwrap()
                    });
                }
            }
            8 => {
                let (ours, at_least) = (chance.alike(), chance.random.below(9_u64));
                self.both(what, |engine| {
                    let key = engine.hasher_key(ours).unwrap();
                    let block = engine.reserve_block(&own, at_least).unwrap();
                    (key, block, engine.block_owner(block).unwrap())
                });
            }
            9 => {
                // One who doesn't know that another has its place.
                if let Some((node, generation, number)) = chance.random.one_of(&self.former) {
                    let own = caller(*node, *generation);
                    let call = chance.call(&self.life, own, number + 1);
                    self.call(&call, what);
                }
            }
            _ => {
                let skips = u64::from(chance.random.one_in(8));
                let call = chance.call(&self.life, own, number + 1 + skips);
                self.nodes[node].1 = call.number;
                self.call(&call, what);
                self.last.push(call);
            }
        }
        self.read(chance, what);
    }

    fn call(&mut self, call: &Call, what: &str) {
        let what = format!("{what}: {call:?}");
        self.both(&what, |engine| engine.call(call).unwrap());
    }

    /// Another run, which may have lost calls.
    fn another_life(&mut self, chance: &mut Chance, what: &str) {
        if chance.random.one_in(2) && self.runs > 0 {
            // One who finds it late, when others have made calls in it.
            let n = self.both(what, |engine| engine.life().unwrap());
            let seen = chance.random.below(n.map_or(1, |life| life.n + 2));
            self.life.run = format!("run {}", self.runs - 1).into();
            return self.adopt(seen, true, what);
        }
        self.runs += 1;
        self.facts.run = format!("run {}", self.runs).into();
        self.facts.syncs_always = chance.random.one_in(2);
        let n = self.both(what, |engine| engine.life().unwrap());
        let seen_max = n.map_or(0, |life| life.n) + 3;
        let seen = chance.random.below(seen_max);
        let trusted = chance.random.one_in(2);
        let before = self.life.clone();
        self.adopt(seen, trusted, what);
        if chance.random.one_in(2) {
            // A second node finds it, too, and has seen more or less.
            self.life = before;
            self.adopt(chance.random.below(seen_max), trusted, what);
        }
    }

    /// Takes a generation for dead.
    fn end(&mut self, generation: u64) {
        let key = format!("{PREFIX}:call:{generation}");
        let _: u64 = self.connection.hset(key, "dead", 1).unwrap();
        self.model.declare_dead(generation);
    }

    /// Says how many connections a node has in a channel that it hears.
    fn count(&mut self, chance: &mut Chance, generation: u64) {
        let (channel, count) = (chance.channel(), chance.random.below(5_u64));
        let key = format!("{PREFIX}:r:{channel}");
        if self.connection.hexists(&key, generation).unwrap() {
            let _: u64 = self.connection.hset(&key, generation, count).unwrap();
        }
        self.model.count_connections(&channel, generation, count);
    }

    /// Has the open window of ids be an hour older.
    fn make_old(&mut self) {
        let key = format!("{PREFIX}:life");
        if self.connection.hexists(&key, "opened").unwrap() {
            let _: i64 = self
                .connection
                .hincr(&key, "opened", -3_600_000_i64)
                .unwrap();
            self.model.age_window(3_600_000);
        }
    }

    /// Reads everything that can be read.
    fn read(&mut self, chance: &mut Chance, what: &str) {
        let (channel, range) = (chance.channel(), chance.range());
        self.both(&format!("{what}: {channel} {range:?}"), |engine| {
            engine.page(&channel, range).unwrap()
        });
        let names = chance.names();
        for (node, (generation, _)) in self.nodes.into_iter().enumerate() {
            let own = caller(node, generation);
            self.both(what, |engine| engine.look(&own, &names).unwrap());
            self.both(what, |engine| engine.last_call(generation).unwrap());
        }
        self.both(what, |engine| engine.producer_mark("g1").unwrap());
    }

    /// What stands in both; times are taken out, which the engine reads itself.
    fn keys(&mut self) -> (BTreeMap<String, ModelValue>, BTreeMap<String, ModelValue>) {
        let mut both = [keys(&mut self.connection), self.model.dump()];
        for all in &mut both {
            for (key, value) in all {
                let ModelValue::Hash(fields) = value else {
                    continue;
                };
                if key == "life" {
                    fields.remove(&b"opened"[..]);
                }
                if key.starts_with("m:")
                    && let Some(idle) = fields.get_mut(&b"i"[..])
                {
                    let end = idle.iter().position(|byte| *byte == b' ').unwrap();
                    idle.truncate(end);
                }
            }
        }
        let [real, modelled] = both;
        (real, modelled)
    }

    /// Reads what came to each bus since the last time.
    fn compare_frames(&mut self, what: &str) {
        self.fences += 1;
        let fence = frame(self.fences);
        let generations: Vec<u64> = self.buses.keys().copied().collect();
        self.both(what, |engine| {
            engine.mark_safe(7, &generations).unwrap();
            for generation in &generations {
                engine.send(*generation, &fence).unwrap();
            }
        });
        for (generation, buses) in &mut self.buses {
            let [real, modelled] = buses.each_mut().map(|bus| until_fence(&mut **bus, &fence));
            assert_eq!(real, modelled, "{what}: frames of {generation}");
        }
    }
}

/// The frames before a fence.
fn until_fence(bus: &mut dyn Bus, fence: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(frame) = bus.next(Duration::from_secs(10)).unwrap() {
        if frame == fence {
            return frames;
        }
        frames.push(frame);
    }
    panic!("the fence didn't come: {frames:?}");
}

/// What a restart of the model is, for those who simulate one.
#[test]
fn the_model_loses_what_it_is_told_to_lose() {
    let clock = Arc::new(EngineClock(AtomicU64::new(5)));
    let model = Model::new(clock);
    model.register("one", 1);
    model.new_life(LifeChange::Restart, LostCalls::All);
    assert!(model.dump().is_empty());
}
