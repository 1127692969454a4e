//! 200 clients that come, go, talk and are cut off as a seed says, on real sockets, against the real
//! server in a process of its own: in each channel everyone hears the same, without hole or repeat.
//!
//! `TIDINGS_CROWD_SECONDS=60` lets them do it for a minute, `TIDINGS_CROWD_SEED` as it was once
//! (as far as the threads allow).
#![cfg(feature = "cli")]

mod guest;
mod ledger;
#[path = "../program/mod.rs"]
mod program;
mod random;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use guest::{END, Guest, Party, Tale};
use ledger::Ledger;
use program::{PATIENCE, Program, ask_json};
use serde_json::{Value, json};

const GUESTS: u64 = 200;
const USERS: u64 = 150;
const ROOMS: u64 = 12;

/// Messages that a channel keeps in memory: few, so that some come back too late.
const KEPT_MAX: u64 = 20;

fn given(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text}")))
}

#[test]
fn everyone_in_a_crowd_hears_the_same_without_hole_or_repeat() {
    let seconds = given("TIDINGS_CROWD_SECONDS").unwrap_or(2);
    let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = given("TIDINGS_CROWD_SEED").unwrap_or_else(clock);
    println!("seed {seed}, {seconds} s");
    let time = Duration::from_secs(seconds);
    let kept = format!("chat.ring_messages_max={KEPT_MAX}");
    for workers in ["0", "2"] {
        party(
            seed,
            time,
            &["--workers", workers, "--set", &kept],
            KEPT_MAX,
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let data = format!("store.data={}", folder.path().join("data").display());
    party(seed, time, &["--workers", "2", "--set", &data], u64::MAX);
}

fn party(seed: u64, time: Duration, flags: &[&str], kept_max: u64) {
    let server = Program::serve(&[&["--reactors", "2"], flags].concat());
    let party = Party {
        address: server.address,
        rooms: ROOMS,
        users: USERS,
        kept_max,
        over: AtomicBool::new(false),
        is_spoilt: AtomicBool::new(false),
    };
    let tales: Vec<Tale> = thread::scope(|scope| {
        let (quiet, are_quiet) = channel();
        let party = &party;
        let guests: Vec<_> = (0..GUESTS)
            .map(|number| {
                let quiet = quiet.clone();
                scope.spawn(move || {
                    let mut guest = Guest::come(party, number, seed);
                    guest.mingle();
                    quiet.send(()).unwrap();
                    drop(quiet);
                    guest.go_home()
                })
            })
            .collect();
        drop(quiet);
        thread::sleep(time);
        party.over.store(true, Relaxed);
        let all = are_quiet.iter().count() as u64 == GUESTS;
        if all {
            say_the_end(&server);
        }
        // Those who aren't content have said why.
        party.is_spoilt.store(!all, Relaxed);
        let tales = guests.into_iter().map(|guest| guest.join());
        tales
            .collect::<Result<_, _>>()
            .expect("every guest is content")
    });
    judge(&server, &flags.join(" "), tales);
    until_nobody_is_left(&server);
    server.stop();
}

fn say_the_end(server: &Program) {
    let rooms: Vec<String> = (0..ROOMS).map(|number| format!("r{number}")).collect();
    let users: Vec<String> = (0..USERS).map(|number| format!("u{number}")).collect();
    let (some, others) = users.split_at(100);
    for to in [
        json!({"rooms": rooms}),
        json!({"users": some}),
        json!({"users": others}),
        json!({"all": true}),
    ] {
        let body = json!({"to": to, "data": END}).to_string();
        let size = body.len();
        let mut http = server.http();
        http.send(&format!(
            "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Content-Length: {size}\r\n\r\n{body}"
        ))
        .unwrap();
        assert_eq!(http.answer().unwrap().status, 200);
    }
}

fn judge(server: &Program, flags: &str, tales: Vec<Tale>) {
    let sum = |number: fn(&Tale) -> u64| -> u64 { tales.iter().map(number).sum() };
    let figures = format!(
        "{} said ({} of them again), {} heard, {} passing; {} cuts, {} resumes filled, {} not, {} gaps",
        sum(|tale| tale.said),
        sum(|tale| tale.duplicates),
        sum(|tale| tale.heard.len() as u64),
        sum(|tale| tale.passing),
        sum(|tale| tale.cuts),
        sum(|tale| tale.recovered),
        sum(|tale| tale.unrecovered),
        sum(|tale| tale.gaps),
    );
    assert!(
        sum(|tale| tale.duplicates) > 0 && sum(|tale| tale.recovered) > 0,
        "{figures}"
    );
    // Whatever was said into a cut and again was taken once; and the end, everywhere.
    let (_, stats) = ask_json(server, "GET", "/v1/stats");
    let taken = sum(|tale| tale.said) + ROOMS + USERS + 1;
    assert_eq!(stats["chat"]["messages"], taken, "{figures}");
    let mut ledger = Ledger::default();
    for tale in tales {
        ledger.take(tale.heard);
    }
    let (channels, messages) = ledger.judge();
    let private = ledger.judge_private();
    println!(
        "{flags}: {figures}; {messages} messages in {channels} channels, {private} private in both lines"
    );
    // What the server keeps is what was heard.
    for number in 0..ROOMS {
        let room = format!("r{number}");
        let (_, page) = ask_json(
            server,
            "GET",
            &format!("/v1/rooms/{room}/messages?limit=1000"),
        );
        for message in page["messages"].as_array().unwrap() {
            let heard = ledger.at(&room, message["offset"].as_u64().unwrap());
            assert!(
                heard.is_none_or(|heard| message["id"] == heard.id),
                "{message}"
            );
        }
    }
}

/// Everyone has said good-bye: nothing of them is left but what channels keep.
fn until_nobody_is_left(server: &Program) {
    let began = Instant::now();
    loop {
        let (_, stats) = ask_json(server, "GET", "/v1/stats");
        let left = left_in(&stats);
        if left.is_empty() {
            let chat = &stats["chat"];
            assert_eq!(
                chat["channels"],
                chat["rooms"].as_u64().unwrap() + chat["lines"].as_u64().unwrap()
            );
            assert!(
                chat["channels"].as_u64().unwrap() <= ROOMS + USERS,
                "{chat}"
            );
            println!(
                "kept: {} bytes, {} ids; deliveries: {}",
                chat["kept_bytes"], chat["dedup_entries"], chat["deliveries"]
            );
            return;
        }
        assert!(began.elapsed() < PATIENCE, "left: {left:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn left_in(stats: &Value) -> Vec<(String, u64)> {
    let of_chat = [
        "connections",
        "logged_in",
        "users",
        "memberships",
        "lasting",
    ];
    let of_server = [
        "websockets",
        "topics",
        "subscriptions",
        "backlogged",
        "paused",
    ];
    let chat = of_chat.map(|name| (name, &stats["chat"][name]));
    let totals = of_server.map(|name| (name, &stats["totals"][name]));
    let outbox = [("outbox_bytes", &stats["outbox_bytes"])];
    let all = chat.into_iter().chain(totals).chain(outbox);
    all.map(|(name, value)| {
        (
            name.to_owned(),
            value.as_u64().unwrap_or_else(|| panic!("{name}: {stats}")),
        )
    })
    .filter(|(_, value)| *value > 0)
    .collect()
}
