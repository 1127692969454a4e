//! Upgrades while everybody talks: nobody is cut, and each hears everything once, in order.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use serde_json::{Value, json};

use super::{Upgradable, rounds};
use crate::support::chat_client::{ChatClient, Position, assert_follows, say};

/// Who listens, and who talks in each way.
const LISTENERS: usize = 24;
const TALKERS: usize = 2;

/// Listens to a room until somebody says that it is over; gives how much was heard, by each talker.
fn listen(mut client: ChatClient, mut place: Position) -> Vec<u64> {
    let mut heard = vec![0; 2 * TALKERS];
    loop {
        let frame = client.hear();
        assert_follows(&frame, "tea", &mut place);
        let data = &frame["data"];
        let Some(talker) = data["talker"].as_u64() else {
            assert_eq!(data["text"], "over");
            return heard;
        };
        let count = &mut heard[talker as usize];
        *count += 1;
        assert_eq!(data["count"], *count, "of talker {talker}");
    }
}

fn spoken(talker: usize, count: u64) -> Value {
    json!({"to": {"room": "tea"}, "data": {"talker": talker, "count": count}})
}

fn upgrades_under_load(serve: &[&str]) {
    let server = Upgradable::serve(serve);
    let listeners: Vec<_> = (0..LISTENERS)
        .map(|n| ChatClient::login(&server.program, &format!("u{n}"), &["tea"]))
        .collect();
    let mut host = ChatClient::login(&server.program, "host", &["tea"]);
    let start = Position::of(&host.ok_keeping(say("tea", "begin")));
    let talkers = (0..TALKERS).map(|n| ChatClient::login(&server.program, &format!("t{n}"), &[]));
    let talkers: Vec<_> = talkers.collect();
    let posters: Vec<_> = (0..TALKERS).map(|_| server.program.http()).collect();
    let is_over = &AtomicBool::new(false);
    let folder = server.folder.path();
    thread::scope(|scope| {
        let listeners: Vec<_> = listeners
            .into_iter()
            .map(|mut client| {
                let first = client.hear();
                assert_eq!(Position::of(&first), start);
                let start = start.clone();
                scope.spawn(move || listen(client, start))
            })
            .collect();
        let by_websocket = talkers.into_iter().enumerate().map(|(talker, mut client)| {
            scope.spawn(move || {
                let mut count = 0;
                while !is_over.load(Relaxed) {
                    count += 1;
                    let mut command = spoken(talker, count);
                    command["type"] = "say".into();
                    client.ok(command);
                }
                count
            })
        });
        let by_websocket: Vec<_> = by_websocket.collect();
        let by_http = posters.into_iter().enumerate().map(|(n, mut http)| {
            scope.spawn(move || {
                let mut count = 0;
                while !is_over.load(Relaxed) {
                    count += 1;
                    let message = spoken(TALKERS + n, count);
                    let (status, answer) = http.json("POST", "/v1/messages", &message);
                    assert!(status == 200 || status == 202, "{status}: {answer}");
                }
                count
            })
        });
        let by_http: Vec<_> = by_http.collect();
        let outcomes: Vec<_> = (0..rounds(5))
            .map(|_| super::upgrade_in(folder, &["--control", "c"]))
            .collect();
        is_over.store(true, Relaxed);
        let talked = by_websocket.into_iter().chain(by_http);
        let talked: Vec<u64> = talked.map(|one| one.join().unwrap()).collect();
        host.ok(say("tea", "over"));
        for one in listeners {
            assert_eq!(one.join().unwrap(), talked);
        }
        for (code, out, err) in outcomes {
            assert_eq!(code, 0, "{err}");
            print!("{out}");
        }
        assert!(talked.iter().all(|count| *count > 0), "{talked:?}");
        println!("{talked:?}");
    });
    server.program.stop();
}

#[test]
fn nobody_is_cut_and_everything_stored_is_heard_once_in_order() {
    upgrades_under_load(&["--set", "control=c", "--reactors", "2", "--workers", "2"]);
}

#[test]
fn nobody_is_cut_and_everything_in_memory_is_heard_once_in_order() {
    upgrades_under_load(&["--data", "none", "--set", "control=c", "--workers", "0"]);
}
