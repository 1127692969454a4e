//! Many come back at once while the room is written to at full rate: no hole, no repeat for any of
//! them, and those who stayed hear what is new in time.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::api::{post, post_bytes};
use crate::support::chat_client::{ChatClient, Position, assert_follows};
use crate::support::http::HttpClient;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

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

/// What a client heard.
#[derive(Default)]
struct Report {
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
    /// Hears the room from `position` on until its end; `come` waits for the moment to begin.
    fn hear(&self, uid: &str, mut position: Position, come: impl Fn()) -> Report {
        let mut report = Report::default();
        let began = Instant::now();
        loop {
            let resume = json!({"tea": position.json()});
            let login = json!({"uid": uid, "rooms": ["tea"], "resume": resume});
            let (mut client, ok) =
                ChatClient::login_with(WebSocketClient::connect(self.address, "/ws"), login);
            let told = &ok["channels"]["tea"];
            assert_eq!(told["recovered"], true, "{position:?}: {ok}");
            let newest = told["offset"].as_u64().unwrap();
            if report.evictions == 0 {
                come();
            }
            loop {
                match client.hear_or_close() {
                    Ok(frame) => {
                        assert_follows(&frame, "tea", &mut position);
                        report.note(&frame["data"]);
                    }
                    Err(code) => break assert_eq!(code, 4_008),
                }
                if position.offset == newest {
                    report.caught_up.get_or_insert(began.elapsed());
                }
                if position.offset == self.end.load(Relaxed) {
                    report.newest = position.offset;
                    return report;
                }
            }
            report.evictions += 1;
        }
    }
}

impl Report {
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
    let server = Program::serve_in(data.path(), &["store.messages_max=100000000"]);
    let behind = post_bytes(&mut server.http(), "tea", scale.behind as usize * 1_000);
    let start = Position {
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
                let position = behind.clone();
                scope.spawn(move || {
                    room.hear(&format!("stays{number}"), position, || {
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
                let position = start.clone();
                scope.spawn(move || room.hear(&format!("comes{number}"), position, || ()))
            })
            .collect();
        thread::sleep(scale.time);
        over.store(true, Relaxed);
        let newest = writer.join().unwrap();
        let wrote = began.elapsed();
        // The last one comes once everybody can know that it is the last.
        end.store(newest + 1, Relaxed);
        post(&mut server.http(), "tea", 1, &json!("the end"));
        let join = |reports: Vec<thread::ScopedJoinHandle<'_, Report>>| -> Vec<Report> {
            reports.into_iter().map(|one| one.join().unwrap()).collect()
        };
        let (stay, come) = (join(stay), join(come));
        for report in stay.iter().chain(&come) {
            assert_eq!(report.newest, newest + 1);
        }
        print(&stay, &come, (newest - behind.offset, wrote));
    });
    server.stop();
}

/// Writes as fast as it goes; gives the last message.
fn write(address: SocketAddr, over: &AtomicBool) -> u64 {
    let mut http = HttpClient::connect(address);
    let mut newest = 0;
    while !over.load(Relaxed) {
        newest = post(&mut http, "tea", 20, &json!({"at": now_us()})).offset;
    }
    newest
}

fn print(stay: &[Report], come: &[Report], (written, time): (u64, Duration)) {
    let mut latencies: Vec<u64> = stay
        .iter()
        .flat_map(|report| report.latencies.iter().copied())
        .collect();
    latencies.sort_unstable();
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let evicted = |reports: &[Report]| reports.iter().map(|report| report.evictions).sum::<u64>();
    let slowest = come.iter().filter_map(|report| report.caught_up).max();
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
