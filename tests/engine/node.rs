//! The log of a node in a real Redis: killed in the middle of calls, emptied, set back, promoted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis::Commands as _;
use rustix::process::Signal;
use tidings::base::{ChannelKind, Epoch, MessageBody, Position};
use tidings::cluster::clock::Clock;
use tidings::cluster::engine::EngineSource;
use tidings::cluster::shared::NodeShared;
use tidings::cluster::{
    ClusterNode, ClusterPromise, ClusterSettings, EngineSettings, StoreEngine, source,
};
use tidings::store::{Appended, Channel, MessageRecord, Record, Store, StoreError, StoreSettings};

use super::support::installed::is_there;
use super::support::redis_server::RedisServer;
use super::support::sentinel::SentinelGroup;
use super::support::wait::until;
use super::world::{PREFIX, redis, register, way};

const DURABLE: [&str; 2] = ["--appendfsync", "always"];

/// Rounds of a test whose moment of trouble is by chance.
fn rounds() -> usize {
    let rounds = std::env::var("TIDINGS_ENGINE_ROUNDS").ok();
    rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(3)
}

/// The system's clock, which a test can put ahead.
#[derive(Debug)]
struct AheadClock {
    began: Instant,
    ahead_ms: AtomicU64,
}

impl AheadClock {
    fn new() -> Arc<Self> {
        let (began, ahead_ms) = (Instant::now(), AtomicU64::new(0));
        Arc::new(Self { began, ahead_ms })
    }

    fn skip(&self, time: Duration) {
        let ms = time.as_millis() as u64;
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for AheadClock {
    fn now(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed))
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.began.elapsed().as_millis() as u64
    }

    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// The log of node `one`.
struct Log {
    node: ClusterNode,
    store: Box<dyn Store>,
    clock: Arc<AheadClock>,
}

impl Log {
    fn join(
        way: Arc<dyn EngineSource>,
        promise: ClusterPromise,
        register: impl Fn(&NodeShared),
    ) -> Self {
        let clock = AheadClock::new();
        let bits = Mutex::new(1_u64);
        let random = Arc::new(move || {
            let mut bits = bits.lock().unwrap();
            *bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            *bits ^ (*bits >> 29)
        });
        let joined = ClusterNode::join(
            settings(promise),
            way,
            (Arc::clone(&clock) as Arc<dyn Clock>, random),
            ChannelKind::Stored,
            &|shared| {
                register(shared);
                Ok(())
            },
        );
        let node = joined.unwrap();
        let store = node.store(StoreSettings::new("unused"));
        Self { node, store, clock }
    }

    /// The log of a node on this Redis alone.
    fn on(redis: &RedisServer, promise: ClusterPromise) -> Self {
        Self::join(way(redis, "", ""), promise, |shared| {
            register(redis, "one", shared.generation());
        })
    }

    fn shared(&self) -> Arc<NodeShared> {
        Arc::clone(self.node.shared())
    }

    fn era(&self) -> u64 {
        self.node.shared().life().era
    }

    /// Says a message in the room `tea`.
    fn say(&mut self, data: &str) -> Result<Position, StoreError> {
        let record = Record::Message(MessageRecord {
            channel: Channel::stored("tea", Epoch::from_bits(1)),
            second: None,
            body: MessageBody {
                id: data,
                from: None,
                to: None,
                ts: 1,
                data,
            },
            idempotency_key: Some(text_hash(data)),
            id_owner: 0,
            opens: false,
            mark: None,
            except: &[],
        });
        let mut told = [self.store.append(0, &record)];
        self.store.commit().unwrap();
        self.store.settle(&mut told);
        match told {
            [
                Ok(Appended::Sent {
                    first: Some(at), ..
                }),
            ] => Ok(at),
            [Ok(Appended::Repeat(at))] => Ok(at),
            [Err(error)] => Err(error),
            other => panic!("it was answered {other:?}"),
        }
    }

    /// Says it until it is taken.
    fn say_at_last(&mut self, data: &str) -> Position {
        let mut at = None;
        until("the message is taken", || {
            self.store.maintain(0).unwrap();
            at = self.say(data).ok();
            at.is_some()
        });
        at.expect("it was taken")
    }
}

pub fn settings(promise: ClusterPromise) -> ClusterSettings {
    let address = StoreEngine::Redis.address("redis://127.0.0.1").unwrap();
    let engine = EngineSettings {
        engine: StoreEngine::Redis,
        address,
        password: String::new(),
        prefix: PREFIX.into(),
        answer_max: Duration::from_secs(5),
    };
    ClusterSettings {
        promise,
        replicas: usize::from(promise == ClusterPromise::Replicated),
        ..settings_at(engine)
    }
}

/// The settings of a node whose engine is there.
pub fn settings_at(engine: EngineSettings) -> ClusterSettings {
    ClusterSettings {
        address: "127.0.0.1:1".into(),
        behind_bytes_max: 1 << 20,
        held_bytes_max: 1 << 20,
        held_logins_max: 100,
        lookups_max: 100,
        ..ClusterSettings::new(engine, "one")
    }
}

/// Recognises a text that is said again.
fn text_hash(text: &str) -> u128 {
    let bytes = text.bytes();
    bytes.fold(7, |hash, byte| hash * 131 + u128::from(byte))
}

/// The texts that stand in the room `tea`.
fn texts(redis: &RedisServer) -> Vec<String> {
    let list: Vec<Vec<u8>> = redis
        .connection()
        .lrange(format!("{PREFIX}:l:tea"), 0, -1)
        .unwrap();
    let texts = list.iter().map(|bytes| {
        let payload = tidings::cluster::payload::Payload::decode(bytes).unwrap();
        payload.body.data.to_owned()
    });
    texts.collect()
}

/// Whatever was answered stands where the answer said, and nothing stands twice.
#[track_caller]
fn stands(redis: &RedisServer, told: &[(String, Position)]) {
    let texts = texts(redis);
    for (text, at) in told {
        let place = usize::try_from(at.offset).unwrap() - 1;
        assert_eq!(texts.get(place), Some(text), "of {}", texts.len());
    }
    let mut once = texts.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), texts.len(), "something stands twice");
}

#[test]
fn killed_in_the_middle_of_calls_redis_has_all_that_was_answered_once_and_in_one_epoch() {
    let Some(mut redis) = redis(&DURABLE) else {
        return;
    };
    let mut log = Log::on(&redis, ClusterPromise::Synced);
    let (era, mut told) = (log.era(), Vec::new());
    let said = AtomicU64::new(0);
    for round in 0..rounds() {
        let is_over = AtomicU64::new(0);
        let last = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let mut last = None;
                for number in 0.. {
                    let text = format!("{round}-{number}");
                    if let Ok(at) = log.say(&text) {
                        said.fetch_add(1, Ordering::Relaxed);
                        told.push((text, at));
                        last = Some(at);
                    }
                    if is_over.load(Ordering::Relaxed) > 0 {
                        break;
                    }
                }
                last
            });
            for _ in 0..3 {
                let before = said.load(Ordering::Relaxed);
                until("messages are taken", || {
                    said.load(Ordering::Relaxed) > before + 20
                });
                redis.kill();
                redis.start();
            }
            let before = said.load(Ordering::Relaxed);
            until("messages are taken again", || {
                said.load(Ordering::Relaxed) > before + 20
            });
            is_over.store(1, Ordering::Relaxed);
            sender.join().unwrap()
        });
        let epoch = last.map(|at: Position| at.epoch);
        assert!(
            told.iter().all(|(_, at)| Some(at.epoch) == epoch),
            "one epoch"
        );
        stands(&redis, &told);
    }
    assert_eq!(log.era(), era, "every life was trusted");
    let again = log.node.shared().counters.numbers().calls_again;
    assert!(again > 0, "no call was in the air");
}

#[test]
fn an_emptied_redis_is_told_by_an_era_that_was_never_there_and_the_node_goes_on() {
    let Some(redis) = redis(&DURABLE) else {
        return;
    };
    let mut log = Log::on(&redis, ClusterPromise::Synced);
    let (before, era) = (log.say("one").unwrap(), log.era());
    let key = log.node.reader().key();
    redis::cmd("FLUSHALL")
        .exec(&mut redis.connection())
        .unwrap();
    let shared = log.shared();
    let after = thread::scope(|scope| {
        scope.spawn(|| {
            until("the generation is missed", || shared.has_lost_generation());
            let next = shared.draw_generation();
            register(&redis, "one", next);
            shared.set_generation(next);
        });
        log.say_at_last("two")
    });
    assert_eq!(after.offset, 1);
    assert_ne!(after.epoch, before.epoch);
    assert!(log.era() > era);
    let next = Log::on(&redis, ClusterPromise::Synced);
    assert_eq!(
        next.node.reader().key(),
        key,
        "repeats are known by the same key"
    );
}

#[test]
fn a_redis_with_an_older_file_is_told_by_a_new_epoch() {
    let Some(mut redis) = redis(&DURABLE) else {
        return;
    };
    let mut log = Log::on(&redis, ClusterPromise::Synced);
    let (first, era) = (log.say("one").unwrap(), log.era());
    let (kept, files) = (
        redis.folder().join("kept"),
        redis.folder().join("appendonlydir"),
    );
    copy(&files, &kept);
    log.say("two").unwrap();
    redis.kill();
    std::fs::remove_dir_all(&files).unwrap();
    copy(&kept, &files);
    redis.start();
    let third = log.say_at_last("three");
    assert!(log.era() > era);
    assert_ne!(third.epoch, first.epoch);
    assert_eq!(texts(&redis), ["one", "three"], "history stays");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_redis_that_was_set_back_in_place_is_told_by_a_new_epoch() {
    let Some(redis) = redis(&DURABLE) else {
        return;
    };
    let mut log = Log::on(&redis, ClusterPromise::Synced);
    for text in ["one", "two", "three"] {
        log.say(text).unwrap();
    }
    let (epoch, era) = (log.say("four").unwrap().epoch, log.era());
    let _: u64 = redis
        .connection()
        .hset(format!("{PREFIX}:life"), "n", 1)
        .unwrap();
    // Its answer is the proof, and comes with the position that it had.
    log.say("five").unwrap();
    assert!(log.era() > era);
    assert_ne!(log.say("six").unwrap().epoch, epoch);
    assert!(
        log.node.shared().seen() > 5,
        "the count goes on above what was seen"
    );
}

#[test]
fn a_redis_that_syncs_no_more_is_said_and_its_next_life_isnt_trusted() {
    let Some(mut redis) = redis(&DURABLE) else {
        return;
    };
    let mut log = Log::on(&redis, ClusterPromise::Synced);
    let (first, era) = (log.say("one").unwrap(), log.era());
    assert_eq!(log.node.shared().flaw(), None);
    redis.set("appendfsync", "everysec");
    log.clock.skip(Duration::from_secs(61));
    log.store.maintain(0).unwrap();
    let flaw = log.node.shared().flaw().unwrap_or_default();
    assert!(flaw.contains("appendfsync is everysec"), "{flaw}");
    assert!(log.node.shared().unready().is_some());
    // Redis syncs within a second or two, so the message itself isn't lost.
    redis.set("appendfsync", "always");
    log.say("two").unwrap();
    redis.set("appendfsync", "everysec");
    redis.kill();
    redis.start();
    let third = log.say_at_last("three");
    assert!(log.era() > era);
    assert_ne!(third.epoch, first.epoch);
    log.clock.skip(Duration::from_secs(61));
    log.store.maintain(0).unwrap();
    assert_eq!(log.node.shared().flaw(), None, "it was started as promised");
}

#[test]
fn a_redis_that_isnt_set_as_promised_is_refused_by_name() {
    let Some(redis) = redis(&[]) else {
        return;
    };
    let joined = ClusterNode::join(
        settings(ClusterPromise::Synced),
        way(&redis, "", ""),
        (AheadClock::new() as Arc<dyn Clock>, Arc::new(|| 7)),
        ChannelKind::Stored,
        &|_| Ok(()),
    );
    let said = joined.map(|_| ()).unwrap_err().to_string();
    assert!(
        said.contains("appendfsync is everysec, but has to be always"),
        "{said}"
    );
    let fast = Log::on(&redis, ClusterPromise::Fast);
    assert_eq!(fast.node.shared().flaw(), None);
}

/// The log of a node that asks Sentinels where its Redis is.
fn by_sentinel(group: &SentinelGroup, promise: ClusterPromise) -> Log {
    let mut settings = settings(promise).engine;
    settings.address = StoreEngine::Redis.address(&group.url()).unwrap();
    Log::join(source(settings).unwrap(), promise, |shared| {
        register(&group.servers[group.primary()], "one", shared.generation());
    })
}

#[test]
fn a_replica_that_takes_over_has_all_that_was_answered_where_that_is_promised() {
    if !is_there("redis-sentinel") || !is_there("redis-server") {
        return;
    }
    for (promise, is_believed) in [
        (ClusterPromise::Replicated, true),
        (ClusterPromise::Synced, false),
    ] {
        let mut group = SentinelGroup::new(&DURABLE);
        let mut log = by_sentinel(&group, promise);
        let mut told = Vec::new();
        for number in 0..20 {
            let text = number.to_string();
            let at = log.say(&text).unwrap();
            told.push((text, at));
        }
        let (era, old) = (log.era(), group.primary());
        group.servers[old].kill();
        group.until_replaced(old);
        // What waits for a replica goes on once there is one again.
        group.servers[old].start();
        let at = log.say_at_last("after");
        assert_eq!(log.era() == era, is_believed, "{promise:?}");
        assert_eq!(at.epoch == told[0].1.epoch, is_believed, "{promise:?}");
        if is_believed {
            told.push(("after".into(), at));
            stands(&group.servers[1 - old], &told);
        }
    }
}

#[test]
fn while_no_replica_answers_nothing_is_answered_either() {
    if !is_there("redis-sentinel") || !is_there("redis-server") {
        return;
    }
    let group = SentinelGroup::new(&DURABLE);
    let mut log = by_sentinel(&group, ClusterPromise::Replicated);
    log.say("one").unwrap();
    let replica = 1 - group.primary();
    let seen = log.node.shared().seen();
    group.servers[replica].signal(Signal::STOP);
    assert!(matches!(log.say("two"), Err(StoreError::Unsettled)));
    assert!(matches!(log.say("three"), Err(StoreError::Away(_))));
    assert_eq!(log.node.shared().seen(), seen);
    group.go_on(replica);
    let at = log.say_at_last("four");
    assert_eq!(at.offset, 3);
    assert_eq!(texts(&group.servers[1 - replica]), ["one", "two", "four"]);
}
