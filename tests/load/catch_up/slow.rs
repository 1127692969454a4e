//! A reader who doesn't read, in a room at full rate: it costs a bounded amount of memory, nobody
//! else misses anything, and when it comes back, neither does it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::api::{number, post};
use crate::support::chat_client::{ChatClient, Position, assert_follows};
use crate::support::http::HttpClient;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

/// Members who read.
const READERS: u64 = 5;

/// What the server may take more than it took before, in bytes: an outbox each for those who are
/// slow, the queues, and what an allocator keeps of them.
const MEMORY_MAX: u64 = 100 << 20;

/// Hears a room from its beginning on until it has heard the last message, whose data is null; how
/// many there were.
fn read_all(address: SocketAddr, uid: &str) -> u64 {
    let login = json!({"uid": uid, "rooms": ["tea"], "resume": {"tea": {"offset": 0}}});
    let (mut client, ok) = ChatClient::login_with(WebSocketClient::connect(address, "/ws"), login);
    let mut position = Position {
        offset: 0,
        ..Position::of(&ok["channels"]["tea"])
    };
    loop {
        match client.hear_or_close() {
            Ok(frame) => {
                assert_follows(&frame, "tea", &mut position);
                if frame["data"].is_null() {
                    return position.offset;
                }
            }
            // On a busy machine it may be slow itself.
            Err(code) => {
                assert_eq!(code, 4_008);
                let resume = json!({"tea": position.json()});
                let login = json!({"uid": uid, "rooms": ["tea"], "resume": resume});
                let (again, ok) =
                    ChatClient::login_with(WebSocketClient::connect(address, "/ws"), login);
                assert_eq!(ok["channels"]["tea"]["recovered"], true, "{ok}");
                client = again;
            }
        }
    }
}

#[test]
fn who_never_reads_costs_little_and_misses_nothing_when_it_comes_back() {
    let data = TempDir::new().unwrap();
    let server = Program::serve_in(data.path(), &["outbox.stall_ms_max=3000"]);
    let address = server.address;
    post(&mut server.http(), "tea", 1, &json!(0));
    let login = json!({"uid": "slow", "rooms": ["tea"], "resume": {"tea": {"offset": 0}}});
    // One who hears what is new, and one who catches up; neither reads.
    let (mut live, ok) = ChatClient::login_with(
        WebSocketClient::connect_narrow(address, "/ws"),
        login.clone(),
    );
    let start = Position {
        offset: 0,
        ..Position::of(&ok["channels"]["tea"])
    };
    let before = server.memory();
    let (over, data) = (AtomicBool::new(false), json!("x".repeat(1_000)));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut http = HttpClient::connect(address);
            let began = Instant::now();
            while !over.load(Relaxed) && began.elapsed() < 2 * PATIENCE {
                post(&mut http, "tea", 100, &data);
            }
            post(&mut http, "tea", 1, &json!(null)).offset
        });
        let readers: Vec<_> = (0..READERS)
            .map(|number| scope.spawn(move || read_all(address, &format!("reader{number}"))))
            .collect();
        let (mut most, mut late) = (before, None);
        let began = Instant::now();
        let is_closed = || number(&server, "totals", "slow_readers") >= 2;
        while !is_closed() && began.elapsed() < PATIENCE {
            if late.is_none() && began.elapsed() > Duration::from_secs(1) {
                late = Some(
                    ChatClient::login_with(
                        WebSocketClient::connect_narrow(address, "/ws"),
                        login.clone(),
                    )
                    .0,
                );
            }
            most = most.max(server.memory());
            thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Relaxed);
        let newest = writer.join().unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), newest);
        }
        println!(
            "{newest} messages, {} KiB more at most",
            (most - before) >> 10
        );
        assert!(most < before + MEMORY_MAX, "{} KiB", (most - before) >> 10);
        let mut late = late.expect("a second passed");
        for slow in [&mut live, &mut late] {
            let mut position = start.clone();
            loop {
                match slow.hear_or_close() {
                    Ok(frame) => assert_follows(&frame, "tea", &mut position),
                    Err(code) => break assert_eq!(code, 4_008),
                }
            }
            assert!(position.offset < newest, "it was closed on the way");
            let resume = json!({"tea": position.json()});
            let login = json!({"uid": "slow", "rooms": ["tea"], "resume": resume});
            let (mut again, ok) =
                ChatClient::login_with(WebSocketClient::connect(address, "/ws"), login);
            assert_eq!(ok["channels"]["tea"]["recovered"], true, "{ok}");
            again.follow("tea", &mut position, newest);
        }
    });
    drop((live, start));
    server.stop();
}
