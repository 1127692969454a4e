//! What a Redis does with calls and nothing else: the measure of a node, taken in the same run on the same
//! engine. Only where it is asked for: `TIDINGS_BARE_S=3`, and `TIDINGS_REDIS` for a Redis that runs already.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Connection;
use tidings::base::{ChannelKind, Epoch};
use tidings::cluster::call::{Answer, Call, Caller, Entry, Life, Line, MessageEntry};
use tidings::cluster::engine::{Engine, EngineSource};
use tidings::cluster::{EnginePlace, EngineSettings, StoreEngine, source};

use super::support::number_in_env;
use super::support::random::Random;
use super::support::redis_server::RedisServer;
use super::world::{adopt, payload, redis};

const CHANNELS: usize = 16;
const PREFIX: &str = "bare";

struct Bare {
    /// Kept while it is used.
    _redis: Option<RedisServer>,
    connection: Connection,
    engine: Box<dyn Engine>,
    source: Arc<dyn EngineSource>,
    life: Life,
    number: u64,
    generation: u64,
}

impl Bare {
    fn new() -> Option<Self> {
        let given = std::env::var("TIDINGS_REDIS").ok();
        let own = match &given {
            Some(_) => None,
            None => Some(redis(&["--appendfsync", "always"])?),
        };
        let text = given.unwrap_or_else(|| own.as_ref().expect("it was started").url());
        let address = StoreEngine::Redis.address(&text).unwrap();
        let place = match &address.place {
            EnginePlace::Unix(path) => format!("redis+unix://{}", path.display()),
            EnginePlace::Tcp(host, port) => format!("redis://{host}:{port}"),
            EnginePlace::Sentinel { .. } => panic!("name the Redis itself"),
        };
        let connection = redis::Client::open(place).unwrap().get_connection();
        let mut connection = connection.unwrap();
        let source = source(EngineSettings {
            engine: StoreEngine::Redis,
            address,
            password: String::new(),
            prefix: PREFIX.into(),
            answer_max: Duration::from_secs(10),
        });
        let source = source.unwrap();
        let mut engine = source.open().unwrap();
        let life = adopt(&mut *engine, &Life::default(), 0, true);
        // Another run's numbers would be greater.
        let generation = Random::new(u64::from(std::process::id())).next() >> 14;
        let mut register = redis::cmd("HSET");
        register.arg(format!("{PREFIX}:nodes")).arg("bare");
        let register = register.arg(generation);
        register.exec(&mut connection).unwrap();
        Some(Self {
            _redis: own,
            connection,
            engine,
            source,
            life,
            number: 0,
            generation,
        })
    }

    /// Makes one call.
    fn call(&mut self, entries: Vec<Entry>) {
        self.number += 1;
        let call = Call {
            life: self.life.clone(),
            caller: Caller {
                node: "bare".into(),
                generation: self.generation,
            },
            number: self.number,
            alive: [self.generation].into(),
            entries,
        };
        let answer = self.engine.call(&call).unwrap();
        assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    }

    /// Seconds of the processor that the Redis has used.
    fn cpu(&mut self) -> f64 {
        let mut info = redis::cmd("INFO");
        let text: String = info.arg("cpu").query(&mut self.connection).unwrap();
        let seconds = ["used_cpu_user:", "used_cpu_sys:"].map(|name| {
            let mut lines = text.lines();
            let number = lines.find_map(|line| line.strip_prefix(name));
            number.unwrap().trim().parse::<f64>().unwrap()
        });
        seconds.iter().sum()
    }

    /// Has so many nodes hear the channels; each reads its frames on a thread of its own, which ends with the
    /// connection.
    fn hear(&mut self, from: u64, to: u64) {
        for node in from..to {
            let generation = self.generation + 1 + node;
            let mut bus = self.source.bus(generation).unwrap();
            std::thread::spawn(move || while bus.next(Duration::from_secs(60)).is_ok() {});
            for at in 0..CHANNELS {
                let mut route = redis::cmd("HSET");
                route.arg(format!("{PREFIX}:r:room{at}"));
                let route = route.arg(generation).arg(1);
                route.exec(&mut self.connection).unwrap();
            }
        }
    }

    fn measure(&mut self, nodes: u64, batch: usize, time: Duration) {
        let payload = payload(1, 190);
        let message = |at: usize| {
            Entry::Message(MessageEntry {
                first: Line {
                    channel: format!("room{}", at % CHANNELS).into(),
                    kind: ChannelKind::Stored,
                    new_epoch: Epoch::from_bits(7),
                },
                second: None,
                payload: Arc::clone(&payload),
                sameness: None,
                mark: None,
            })
        };
        let (before, began) = (self.cpu(), Instant::now());
        let mut messages = 0;
        while began.elapsed() < time {
            self.call((messages..messages + batch).map(message).collect());
            messages += batch;
        }
        let rate = messages as f64 / began.elapsed().as_secs_f64();
        let cpu = (self.cpu() - before) * 1e6 / messages as f64;
        println!(
            "bare: {nodes} nodes hear, {batch} messages a call: {rate:.0} messages/s, {cpu:.2} µs of Redis a message"
        );
    }
}

#[test]
fn a_bare_redis_is_measured_where_it_is_asked_for() {
    let Some(seconds) = number_in_env("TIDINGS_BARE_S") else {
        return;
    };
    let Some(mut bare) = Bare::new() else {
        return;
    };
    let time = Duration::from_secs(seconds);
    let mut heard = 0;
    for nodes in [0, 1, 3] {
        bare.hear(heard, nodes);
        heard = nodes;
        for batch in [256, 1] {
            bare.measure(nodes, batch, time);
        }
    }
}
