//! Nodes as members of their cluster, on a real Redis and on a clock that the test moves.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::Commands as _;
use tidings::base::Fd;
use tidings::chat::{BindingChange, BindingNode, Bindings, ConnectionRecord, User};
use tidings::cluster::clock::Clock;
use tidings::cluster::engine::{Bus, EngineError};
use tidings::cluster::membership::Membership;
use tidings::cluster::shared::NodeShared;
use tidings::cluster::{ClusterSettings, node_store, register_source};

use super::node::settings_at;
use super::support::redis_server::RedisServer;
use super::world::{PREFIX, redis, settings, way};

/// A clock that all nodes of a test share; only the test moves it.
#[derive(Debug, Default)]
pub struct HandClock(Mutex<Option<(Instant, Duration)>>);

impl HandClock {
    pub fn pass(&self, time: Duration) {
        let mut state = self.0.lock().unwrap();
        let (_, passed) = state.get_or_insert_with(|| (Instant::now(), Duration::ZERO));
        *passed += time;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        let mut state = self.0.lock().unwrap();
        let (start, passed) = *state.get_or_insert_with(|| (Instant::now(), Duration::ZERO));
        start + passed
    }

    fn unix_ms(&self) -> u64 {
        1_800_000_000_000
    }

    fn pause(&self, time: Duration) {
        self.pass(time);
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").finish_non_exhaustive()
    }
}

/// A node without anything but its membership and its rows.
pub struct Member {
    pub shared: Arc<NodeShared>,
    pub membership: Membership,
    pub rows: Box<dyn Bindings>,
}

static GENERATIONS: AtomicU64 = AtomicU64::new(1_000);

impl Member {
    pub fn new(redis: &RedisServer, clock: &Arc<HandClock>, name: &str, address: &str) -> Self {
        let node = ClusterSettings {
            node: name.into(),
            address: address.into(),
            ..settings_at(settings(redis, "", ""))
        };
        let random = || GENERATIONS.fetch_add(1, Relaxed) << 14;
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        let shared = Arc::new(NodeShared::new(node, clock, Arc::new(random)));
        let source = register_source(shared.settings.engine.clone()).unwrap();
        let membership = Membership::new(Arc::clone(&shared), source);
        Self {
            rows: node_store(&shared).unwrap().open().unwrap(),
            membership,
            shared,
        }
    }

    pub fn joined(redis: &RedisServer, clock: &Arc<HandClock>, name: &str) -> Self {
        let mut new = Self::new(redis, clock, name, &format!("{name}:1"));
        new.membership.join().unwrap();
        new
    }

    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// Has the rows written under the present generation.
    pub fn reopen(&mut self) {
        self.rows = node_store(&self.shared).unwrap().open().unwrap();
    }

    pub fn write(&mut self, changes: &[BindingChange]) {
        self.rows.write(&self.as_node(), changes).unwrap();
    }

    pub fn as_node(&self) -> BindingNode {
        BindingNode {
            name: self.shared.settings.node.clone(),
            generation: 1,
            started_unix_ms: 1,
        }
    }

    /// Has it do what is due while so much time passes.
    pub fn turn_for(&mut self, clock: &HandClock, time: Duration) {
        let until = clock.now() + time;
        while clock.now() < until {
            self.membership.turn();
            clock.pass(Duration::from_millis(10));
        }
    }
}

/// A user with so many connections in a room; leaving with none.
pub fn present(room: &str, uid: &str, connections: usize, is_leaving: bool) -> BindingChange {
    BindingChange::Present {
        room: room.into(),
        user: User::of_uid(uid),
        connections,
        is_leaving,
    }
}

/// Has a generation hear a room.
pub fn route(redis: &RedisServer, room: &str, generation: u64) {
    let mut redis = redis.connection();
    let _: u64 = redis
        .hset(format!("{PREFIX}:r:{room}"), generation, 0)
        .unwrap();
    let _: u64 = redis
        .sadd(format!("{PREFIX}:x:{generation}"), format!("r:{room}"))
        .unwrap();
}

/// The frames that came, up to now.
pub fn heard(bus: &mut dyn Bus) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(frame) = bus.next(Duration::from_millis(100)).unwrap() {
        frames.push(String::from_utf8(frame).unwrap());
    }
    frames
}

/// All keys and values that name a generation, but what became of its calls.
pub fn left_of(redis: &RedisServer, generation: u64) -> BTreeSet<String> {
    let mut redis = redis.connection();
    let keys: Vec<String> = redis.keys("*").unwrap();
    let mut left = BTreeSet::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut redis).unwrap();
        let texts: Vec<String> = match &*kind {
            "hash" => redis.hgetall(&key).unwrap(),
            "set" => redis.smembers(&key).unwrap(),
            _ => Vec::new(),
        };
        let name = generation.to_string();
        let is_named = |text: &String| text.split(':').any(|part| part == name);
        let is_call = key == format!("{PREFIX}:call:{generation}");
        if !is_call && (is_named(&key) || texts.iter().any(is_named)) {
            left.insert(key);
        }
    }
    left
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_restart_under_the_same_name_is_right_at_once_and_the_rows_before_go_after_left_ms() {
    let Some(redis) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let mut other = Member::joined(&redis, &clock, "other");
    let mut bus = way(&redis, "", "").bus(other.generation()).unwrap();
    let mut first = Member::joined(&redis, &clock, "eu-1");
    let before = first.generation();
    other.turn_for(&clock, seconds(2));
    assert!(other.shared.alive().contains(&before));
    route(&redis, "tea", other.generation());
    first.write(&[present("tea", "ann", 1, false)]);
    assert!(heard(&mut *bus).contains(&"j 3 1\nteaann".to_owned()));

    let again = Member::joined(&redis, &clock, "eu-1");
    assert!(heard(&mut *bus).contains(&"g\n".to_owned()), "all are told");
    other.shared.note_generations();
    other.membership.turn();
    let alive = other.shared.alive();
    assert!(alive.contains(&again.generation()) && !alive.contains(&before));
    assert!(
        first.rows.write(&first.as_node(), &[]).is_err(),
        "the one before writes nothing"
    );

    other.turn_for(&clock, Duration::from_millis(2_900));
    assert_eq!(heard(&mut *bus), [] as [&str; 0], "she may come back");
    other.turn_for(&clock, Duration::from_millis(1_200));
    let frames = heard(&mut *bus);
    assert!(frames.contains(&"l 3 0\nteaann".to_owned()), "{frames:?}");
    assert_eq!(left_of(&redis, before), BTreeSet::new());
    let dead: Option<u64> = (redis.connection())
        .hget(format!("{PREFIX}:call:{before}"), "dead")
        .unwrap();
    assert_eq!(dead, Some(1), "no late call of it is taken");
}

#[test]
fn who_is_killed_is_dead_after_its_lease_and_cleaned_away_left_ms_later() {
    let Some(redis) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let mut other = Member::joined(&redis, &clock, "other");
    let mut bus = way(&redis, "", "").bus(other.generation()).unwrap();
    let mut killed = Member::joined(&redis, &clock, "eu-1");
    let generation = killed.generation();
    for room in ["tea", "pie"] {
        route(&redis, room, other.generation());
        route(&redis, room, generation);
    }
    let connected = |fd: u64, uid: &str| BindingChange::Connected {
        fd: Fd(fd),
        user: User::of_uid(uid),
        record: ConnectionRecord {
            since_unix_ms: 5,
            session: Some("{}".into()),
        },
    };
    let rows: Vec<BindingChange> = (0..700)
        .flat_map(|number| {
            let uid = format!("u{number}");
            [connected(number, &uid), present("tea", &uid, 1, false)]
        })
        .collect();
    rows.chunks(500).for_each(|rows| killed.write(rows));
    killed.write(&[
        present("pie", "ann", 1, false),
        present("pie", "bob", 1, false),
    ]);
    other.write(&[present("pie", "bob", 2, false)]);
    heard(&mut *bus);

    other.turn_for(&clock, seconds(1));
    let (started, mut dead_after) = (clock.now(), None);
    let mut left_after = None;
    while clock.now() < started + seconds(12) {
        other.turn_for(&clock, Duration::from_millis(50));
        let passed = clock.now() - started;
        if dead_after.is_none() && !other.shared.alive().contains(&generation) {
            dead_after = Some(passed);
        }
        let nodes: Option<u64> = redis
            .connection()
            .hget(format!("{PREFIX}:nodes"), "eu-1")
            .unwrap();
        if left_after.is_none() && nodes.is_none() {
            left_after = Some(passed);
        }
    }
    let (dead_after, left_after) = (dead_after.unwrap(), left_after.unwrap());
    assert!(
        (seconds(4)..=seconds(6)).contains(&dead_after),
        "{dead_after:?}"
    );
    assert!(
        (seconds(7)..=seconds(9)).contains(&left_after),
        "{left_after:?}"
    );
    assert_eq!(left_of(&redis, generation), BTreeSet::new());
    let frames = heard(&mut *bus);
    let left = frames
        .iter()
        .filter(|frame| frame.starts_with("l 3 "))
        .count();
    assert_eq!(left, 701, "ann and those who drank tea, and not bob");
    assert!(
        !frames.iter().any(|frame| frame.ends_with("piebob")),
        "he is on another node"
    );
    let bob: Vec<String> = redis
        .connection()
        .hkeys(format!("{PREFIX}:w:pie:{}", other.generation()))
        .unwrap();
    assert_eq!(bob, ["bob"]);
}

#[test]
fn a_name_that_beats_at_another_address_is_refused_and_a_dead_one_gives_way() {
    let Some(redis) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let first = Arc::new(Mutex::new(Member::joined(&redis, &clock, "eu-1")));
    // It beats whenever the other one waits.
    struct Beating(Arc<HandClock>, Mutex<Option<Arc<Mutex<Member>>>>);
    impl std::fmt::Debug for Beating {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Beating")
        }
    }
    impl Clock for Beating {
        fn now(&self) -> Instant {
            self.0.now()
        }
        fn unix_ms(&self) -> u64 {
            self.0.unix_ms()
        }
        fn pause(&self, time: Duration) {
            self.0.pass(time);
            if let Some(other) = &*self.1.lock().unwrap() {
                other.lock().unwrap().membership.turn();
            }
        }
    }
    let join = |beating: Option<Arc<Mutex<Member>>>| {
        let elsewhere = Member::new(&redis, &clock, "eu-1", "elsewhere:1");
        let clock = Arc::new(Beating(Arc::clone(&clock), Mutex::new(beating)));
        let random = || GENERATIONS.fetch_add(1, Relaxed) << 14;
        let settings = elsewhere.shared.settings.clone();
        let shared = Arc::new(NodeShared::new(settings, clock, Arc::new(random)));
        let source = register_source(shared.settings.engine.clone()).unwrap();
        Membership::new(shared, source).join()
    };
    match join(Some(Arc::clone(&first))) {
        Err(EngineError::Refused(what)) => assert!(what.contains("eu-1:1"), "{what}"),
        other => panic!("{other:?}"),
    }
    let started = clock.now();
    join(None).unwrap();
    assert!(
        clock.now() - started >= seconds(5),
        "its lease is over first"
    );
}

#[test]
fn what_a_node_was_cleaning_away_when_it_left_is_cleaned_by_the_others() {
    let Some(redis) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let mut other = Member::joined(&redis, &clock, "other");
    let mut cleaner = Member::joined(&redis, &clock, "eu-1");
    let mut over = Member::joined(&redis, &clock, "eu-2");
    let generation = over.generation();
    over.write(&[present("tea", "ann", 1, false)]);
    over.membership.leave();
    let mut register = register_source(other.shared.settings.engine.clone());
    let mut register = register.as_mut().unwrap().open().unwrap();
    let mut buries = |member: &Member| register.bury(&member.shared.caller(), generation, None);
    assert!(buries(&cleaner).unwrap());
    assert!(!buries(&other).unwrap(), "one at a time");
    cleaner.membership.leave();
    assert!(buries(&other).unwrap());
    other.turn_for(&clock, seconds(5));
    assert_eq!(left_of(&redis, generation), BTreeSet::new());
}

#[test]
fn a_node_that_was_frozen_and_cleaned_away_goes_on_under_another_generation() {
    let Some(redis) = redis(&[]) else { return };
    let clock = Arc::<HandClock>::default();
    let mut other = Member::joined(&redis, &clock, "other");
    let mut frozen = Member::joined(&redis, &clock, "eu-1");
    let before = frozen.generation();
    frozen.write(&[present("tea", "ann", 1, false)]);
    other.turn_for(&clock, seconds(12));
    assert_eq!(left_of(&redis, before), BTreeSet::new());

    frozen.turn_for(&clock, seconds(1));
    let now = frozen.generation();
    assert_ne!(now, before);
    assert!(
        frozen.shared.alive().contains(&other.generation()),
        "who was frozen judges nobody"
    );
    assert!(
        frozen
            .rows
            .beat(&frozen.as_node())
            .is_ok_and(|state| { state == tidings::chat::GenerationState::None })
    );
    frozen.reopen();
    frozen.write(&[present("tea", "ann", 1, false)]);
    assert_eq!(
        left_of(&redis, before),
        BTreeSet::new(),
        "nothing of it comes back"
    );
    other.turn_for(&clock, seconds(1));
    assert!(other.shared.alive().contains(&now));

    frozen.membership.leave();
    other.turn_for(&clock, seconds(5));
    assert_eq!(
        left_of(&redis, now),
        BTreeSet::new(),
        "one that has left is cleaned away"
    );
    let last = other.generation();
    other.membership.leave();
    assert_eq!(
        left_of(&redis, last),
        BTreeSet::new(),
        "and the last one cleans up itself"
    );
}
