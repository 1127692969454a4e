//! Redis publishes before it syncs: a subscriber with output left over gets a message at once. A node holds it
//! until the sync.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tidings::base::{MessageBody, Position};
use tidings::chat::{Heard, HeardMessage, Hearing, NodeAnswer, NodeFigures, NodeRequest};
use tidings::cluster::ClusterPromise;
use tidings::cluster::bus::BusThreads;
use tidings::cluster::call::{Answer, Caller, Entry, MessageEntry, Outcome};
use tidings::cluster::clock::SystemClock;
use tidings::cluster::engine::EngineSource;
use tidings::cluster::frame::Frame;
use tidings::cluster::life::open_adopted;
use tidings::cluster::payload;
use tidings::cluster::shared::{NodePart, NodeShared};

use super::support::redis_server::RedisServer;
use super::support::wait::until;
use super::world::{attach, call, line, redis, register, way};

/// A sync takes this long here, so that what comes before one is told from what comes after it.
const SYNC: Duration = Duration::from_millis(40);

/// The longest time for all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Messages that are said.
const MESSAGES: u64 = 60;

/// A library that makes each sync of the program into which it is loaded slow.
const SLOW_SYNC: &str = r#"
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int file) { usleep(40000); return syscall(SYS_fdatasync, file); }
int fsync(int file) { usleep(40000); return syscall(SYS_fsync, file); }
"#;

/// Restarts a Redis with slow syncs.
fn slow_down(redis: &mut RedisServer) {
    let source: PathBuf = redis.folder().join("slow.c");
    fs::write(&source, SLOW_SYNC).unwrap();
    let library = redis.folder().join("slow.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    redis.kill();
    let mut command = Command::new("redis-server");
    command.env("LD_PRELOAD", &library);
    redis.start_by(command);
}

/// What a node sent to its connections, and when.
#[derive(Default)]
struct Heeded(Mutex<HashMap<u64, Instant>>);

impl Hearing for Heeded {
    fn message(&self, message: &HeardMessage<'_>) -> Heard {
        let offset = message.position.expect("it is kept").offset;
        let mut heard = self.0.lock().unwrap();
        let newest = heard.len() as u64;
        match offset.cmp(&(newest + 1)) {
            std::cmp::Ordering::Less => Heard::Old,
            std::cmp::Ordering::Greater => Heard::Behind(position(message, newest)),
            std::cmp::Ordering::Equal => {
                heard.insert(offset, Instant::now());
                Heard::Posted
            }
        }
    }

    fn reset(&self, channel: &str, _: Position) {
        panic!("there is no gap in {channel}");
    }

    fn posted(&self, _: &str) -> Option<Position> {
        None
    }

    fn attach(&self, _: &[Arc<str>]) {}

    fn is_pressed(&self) -> bool {
        false
    }

    fn joined(&self, _: &str, _: &str, _: usize) {}

    fn left(&self, _: &str, _: &str, _: usize) {}

    fn member(&self, _: &str, _: &str, _: bool) {}

    fn channels(&self, _: &mut dyn FnMut(&Arc<str>, Position)) {}

    fn figures(&self) -> NodeFigures {
        NodeFigures::default()
    }

    fn request(&self, _: NodeRequest) -> NodeAnswer {
        panic!("nobody asks");
    }
}

fn position(message: &HeardMessage<'_>, offset: u64) -> Position {
    let epoch = message.position.expect("it is kept").epoch;
    Position { epoch, offset }
}

/// Keeps output left over for a generation: more than Redis writes in a turn, all the time.
fn flood(source: &Arc<dyn EngineSource>, generation: u64, is_over: &AtomicBool) {
    let mut engine = source.open().unwrap();
    // A frame that nobody knows.
    let frame = vec![b'x'; 200_000];
    let due = Instant::now() + PATIENCE;
    while !is_over.load(Ordering::Relaxed) && Instant::now() < due {
        engine.send(generation, &frame).unwrap();
        // Slower than it is read.
        thread::sleep(Duration::from_millis(10));
    }
}

/// When each message came on a bus of its own, which holds nothing.
fn listen(
    source: &Arc<dyn EngineSource>,
    generation: u64,
    is_over: &AtomicBool,
) -> HashMap<u64, Instant> {
    let mut bus = source.bus(generation).unwrap();
    let mut came = HashMap::new();
    let due = Instant::now() + PATIENCE;
    while !is_over.load(Ordering::Relaxed) && Instant::now() < due {
        let Some(bytes) = bus.next(Duration::from_millis(50)).unwrap() else {
            continue;
        };
        if let Some(Frame::Message {
            position: Some(Position { offset, .. }),
            ..
        }) = Frame::parse(&bytes)
        {
            came.insert(offset, Instant::now());
        }
    }
    came
}

fn message() -> Entry {
    let body = MessageBody {
        id: "1",
        from: None,
        to: None,
        ts: 1,
        data: "{}",
    };
    Entry::Message(MessageEntry {
        first: line("tea"),
        second: None,
        payload: payload::encode(&body, &[]).into(),
        sameness: None,
        mark: None,
    })
}

#[test]
fn nobody_hears_what_redis_tells_before_its_sync_until_that_is_done() {
    let flags = [
        "--appendfsync",
        "always",
        "--client-output-buffer-limit",
        "pubsub 0 0 0",
    ];
    let Some(mut redis) = redis(&flags) else {
        return;
    };
    slow_down(&mut redis);
    let source = way(&redis, "", "");
    let shared = Arc::new(NodeShared::new(
        super::node::settings(ClusterPromise::Synced),
        Arc::new(SystemClock),
        Arc::new(|| 7 << 40),
    ));
    let generation = shared.generation();
    register(&redis, "one", generation);
    let mut log = open_adopted(&shared, &*source).unwrap();
    let of_node = |number: u64, entries: Vec<Entry>| {
        let mut call = call(&shared.life(), number, entries);
        call.caller = Caller {
            node: "one".into(),
            generation,
        };
        call.alive = [generation].into();
        call
    };
    log.call(&of_node(1, vec![attach("tea")])).unwrap();

    let heeded = Arc::new(Heeded::default());
    let hearing: Arc<dyn Hearing> = Arc::clone(&heeded) as _;
    let died = |why: &'static str| panic!("{why}");
    let bus = BusThreads::start(Arc::clone(&shared), &source, &hearing, died).unwrap();
    until("the bus is there", || shared.is_ready(NodePart::Bus));

    let is_over = AtomicBool::new(false);
    let mut answered = HashMap::new();
    let came = thread::scope(|scope| {
        let raw = scope.spawn(|| listen(&source, generation, &is_over));
        scope.spawn(|| flood(&source, generation, &is_over));
        for number in 0..MESSAGES {
            let answer = log.call(&of_node(number + 2, vec![message()])).unwrap();
            let now = Instant::now();
            let Answer::Done {
                n,
                outcomes,
                reached,
            } = answer
            else {
                panic!("{answer:?}");
            };
            let [
                Outcome::Sent {
                    first: Some(at), ..
                },
            ] = outcomes[..]
            else {
                panic!("{outcomes:?}");
            };
            answered.insert(at.offset, now);
            log.mark_safe(n, &reached).unwrap();
        }
        until("the node heard everything", || {
            heeded.0.lock().unwrap().len() as u64 == MESSAGES
        });
        is_over.store(true, Ordering::Relaxed);
        raw.join().unwrap()
    });
    let early = |times: &HashMap<u64, Instant>, by: Duration| {
        let times = times.iter();
        times
            .filter(|(offset, time)| **time + by < answered[offset])
            .count()
    };
    let by_redis = early(&came, SYNC / 2);
    let by_node = early(&heeded.0.lock().unwrap(), Duration::ZERO);
    println!("{MESSAGES} messages, early by Redis {by_redis}, by the node {by_node}");
    // Whether it does depends on what it has still to send in that moment.
    if by_redis == 0 {
        println!("Redis told nothing early: this time it shows nothing");
    }
    assert_eq!(by_node, 0);
    let numbers = bus.state.counters.numbers();
    assert_eq!((numbers.proofs, numbers.buses), (0, 1), "{numbers:?}");
}
