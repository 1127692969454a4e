//! Many come back at once while the room is written to at full rate: no hole, no repeat for any of
//! them, and those who stayed hear what is new in time.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::back_end::{post, post_bytes, serve};
use crate::guest::{Guest, Heard, Spot, Width, assert_follows};
use crate::program::Http;

/// How much of it.
struct Scale {
    clients: usize,
    behind: u64,
    time: Duration,
}

/// Members who stay.
const STAY: usize = 10;

fn scale() -> Scale {
    match std::env::var_os("TIDINGS_CATCH_UP_FULL") {
        Some(_) => Scale {
            clients: 200,
            behind: 10_000,
            time: Duration::from_secs(10),
        },
        None => Scale {
            clients: 20,
            behind: 2_000,
            time: Duration::from_secs(1),
        },
    }
}

fn now_us() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_micros() as u64
}

/// What somebody heard.
#[derive(Default)]
struct Tale {
    newest: u64,
    /// Of each message, from its writing to its hearing, in microseconds.
    latencies: Vec<u64>,
    /// How often it was too slow, and came back.
    evictions: u64,
    /// Until it had heard everything that was there when it came.
    caught_up: Option<Duration>,
}

struct Room<'a> {
    address: SocketAddr,
    /// The last message, once it is known.
    end: &'a AtomicU64,
}

impl Room<'_> {
    /// Hears the room from `spot` on until its end; `come` waits for the moment to begin.
    fn hear(&self, uid: &str, mut spot: Spot, come: impl Fn()) -> Tale {
        let mut tale = Tale::default();
        let began = Instant::now();
        loop {
            let resume = json!({"tea": spot.json()});
            let login = json!({"uid": uid, "rooms": ["tea"], "resume": resume});
            let (mut guest, ok) = Guest::login(self.address, Width::Usual, login);
            let told = &ok["channels"]["tea"];
            assert_eq!(told["recovered"], true, "{spot:?}: {ok}");
            let newest = told["offset"].as_u64().unwrap();
            if tale.evictions == 0 {
                come();
            }
            loop {
                match guest.hear() {
                    Heard::Frame(frame) => {
                        assert_follows(&frame, "tea", &mut spot);
                        tale.note(&frame["data"]);
                    }
                    Heard::Closed(code) => break assert_eq!(code, 4_008),
                }
                if spot.offset == newest {
                    tale.caught_up.get_or_insert(began.elapsed());
                }
                if spot.offset == self.end.load(Relaxed) {
                    tale.newest = spot.offset;
                    return tale;
                }
            }
            tale.evictions += 1;
        }
    }
}

impl Tale {
    fn note(&mut self, data: &Value) {
        if let Some(written) = data["at"].as_u64() {
            self.latencies.push(now_us().saturating_sub(written));
        }
    }
}

#[test]
fn who_comes_back_to_a_room_at_full_rate_hears_everything_once() {
    let scale = scale();
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &["store.messages_max=100000000"]);
    let behind = post_bytes(&mut server.http(), "tea", scale.behind as usize * 1_000);
    let start = Spot {
        offset: behind.offset - scale.behind,
        ..behind.clone()
    };
    let address = server.address;
    let (end, over) = (AtomicU64::new(u64::MAX), AtomicBool::new(false));
    let room = Room { address, end: &end };
    let all_here = Barrier::new(STAY + 1);
    thread::scope(|scope| {
        let (room, all_here) = (&room, &all_here);
        let stay: Vec<_> = (0..STAY)
            .map(|number| {
                let spot = behind.clone();
                scope.spawn(move || {
                    room.hear(&format!("stays{number}"), spot, || {
                        all_here.wait();
                    })
                })
            })
            .collect();
        all_here.wait();
        let writer = scope.spawn(|| write(address, &over));
        let began = Instant::now();
        let come: Vec<_> = (0..scale.clients)
            .map(|number| {
                let spot = start.clone();
                scope.spawn(move || room.hear(&format!("comes{number}"), spot, || ()))
            })
            .collect();
        thread::sleep(scale.time);
        over.store(true, Relaxed);
        let newest = writer.join().unwrap();
        let wrote = began.elapsed();
        // The last one comes once everybody can know that it is the last.
        end.store(newest + 1, Relaxed);
        post(&mut server.http(), "tea", 1, &json!("the end"));
        let join = |tales: Vec<thread::ScopedJoinHandle<'_, Tale>>| -> Vec<Tale> {
            tales.into_iter().map(|one| one.join().unwrap()).collect()
        };
        let (stay, come) = (join(stay), join(come));
        for tale in stay.iter().chain(&come) {
            assert_eq!(tale.newest, newest + 1);
        }
        report(&stay, &come, (newest - behind.offset, wrote));
    });
    server.stop();
}

/// Writes as fast as it goes; gives the last message.
fn write(address: SocketAddr, over: &AtomicBool) -> u64 {
    let mut http = Http::connect(address);
    let mut newest = 0;
    while !over.load(Relaxed) {
        newest = post(&mut http, "tea", 20, &json!({"at": now_us()})).offset;
    }
    newest
}

fn report(stay: &[Tale], come: &[Tale], (written, time): (u64, Duration)) {
    let mut latencies: Vec<u64> = stay
        .iter()
        .flat_map(|tale| tale.latencies.iter().copied())
        .collect();
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let evicted = |tales: &[Tale]| tales.iter().map(|tale| tale.evictions).sum::<u64>();
    let slowest = come.iter().filter_map(|tale| tale.caught_up).max();
    println!(
        "{written} messages in {time:?}; {} came back (the slowest caught up after {slowest:?}, {} \
         evictions); {} stayed ({} evictions), latency p50 {} us, p99 {} us, worst {} us",
        come.len(),
        evicted(come),
        stay.len(),
        evicted(stay),
        at(50),
        at(99),
        at(100),
    );
}
