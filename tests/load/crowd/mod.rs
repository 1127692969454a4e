//! 200 clients that come, go, talk and are cut off as a seed says, on real sockets, against the real
//! server in a process of its own: in each channel everyone hears the same, without hole or repeat.
//!
//! `TIDINGS_CROWD_SECONDS=60` lets them do it for a minute, `TIDINGS_CROWD_SEED` as it was once
//! (as far as the threads allow).

mod client;
mod ledger;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::api::ask_json;
use crate::support::number_in_env;
use crate::support::program::Program;
use crate::support::wait::until_none;
use client::{END, RandomClient, Report, Run};
use ledger::Ledger;

const CLIENTS: u64 = 200;
const USERS: u64 = 150;
const ROOMS: u64 = 12;

/// Messages that a channel keeps in memory: few, so that some come back too late.
const KEPT_MAX: u64 = 20;

#[test]
fn everyone_in_a_crowd_hears_the_same_without_hole_or_repeat() {
    let seconds = number_in_env("TIDINGS_CROWD_SECONDS").unwrap_or(2);
    let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = number_in_env("TIDINGS_CROWD_SEED").unwrap_or_else(clock);
    println!("seed {seed}, {seconds} s");
    let time = Duration::from_secs(seconds);
    let kept = format!("chat.ring_messages_max={KEPT_MAX}");
    for workers in ["0", "2"] {
        run(
            seed,
            time,
            &["--workers", workers, "--set", &kept],
            KEPT_MAX,
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let data = format!("store.data={}", folder.path().join("data").display());
    run(seed, time, &["--workers", "2", "--set", &data], u64::MAX);
}

fn run(seed: u64, time: Duration, flags: &[&str], kept_max: u64) {
    let server = Program::serve(&[&["--reactors", "2"], flags].concat());
    let run = Run {
        address: server.address,
        rooms: ROOMS,
        users: USERS,
        kept_max,
        over: AtomicBool::new(false),
        is_spoilt: AtomicBool::new(false),
    };
    let reports: Vec<Report> = thread::scope(|scope| {
        let (quiet, are_quiet) = channel();
        let run = &run;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let quiet = quiet.clone();
                scope.spawn(move || {
                    let mut client = RandomClient::connect(run, number, seed);
                    client.act_until_over();
                    quiet.send(()).unwrap();
                    drop(quiet);
                    client.hear_the_end()
                })
            })
            .collect();
        drop(quiet);
        thread::sleep(time);
        run.over.store(true, Relaxed);
        let all = are_quiet.iter().count() as u64 == CLIENTS;
        if all {
            say_the_end(&server);
        }
        // Those who aren't content have said why.
        run.is_spoilt.store(!all, Relaxed);
        let reports = clients.into_iter().map(|client| client.join());
        reports
            .collect::<Result<_, _>>()
            .expect("every client is content")
    });
    judge(&server, &flags.join(" "), reports);
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
        let message = json!({"to": to, "data": END});
        let (status, answer) = server.http().json("POST", "/v1/messages", &message);
        assert_eq!(status, 200, "{answer}");
    }
}

fn judge(server: &Program, flags: &str, reports: Vec<Report>) {
    let sum = |number: fn(&Report) -> u64| -> u64 { reports.iter().map(number).sum() };
    let figures = format!(
        "{} said ({} of them again), {} heard, {} passing; {} cuts, {} resumes filled, {} not, {} gaps",
        sum(|report| report.said),
        sum(|report| report.duplicates),
        sum(|report| report.heard.len() as u64),
        sum(|report| report.passing),
        sum(|report| report.cuts),
        sum(|report| report.recovered),
        sum(|report| report.unrecovered),
        sum(|report| report.gaps),
    );
    assert!(
        sum(|report| report.duplicates) > 0 && sum(|report| report.recovered) > 0,
        "{figures}"
    );
    // Whatever was said into a cut and again was taken once; and the end, everywhere.
    let (_, stats) = ask_json(server, "GET", "/v1/stats");
    let taken = sum(|report| report.said) + ROOMS + USERS + 1;
    assert_eq!(stats["chat"]["messages"], taken, "{figures}");
    let mut ledger = Ledger::default();
    for report in reports {
        ledger.take(report.heard);
    }
    let (channels, messages) = ledger.judge();
    let private = ledger.judge_private();
    println!(
        "{flags}: {figures}; {messages} messages in {channels} channels, {private} private in both inboxes"
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

/// Everyone has left: nothing of them is there but what channels keep.
fn until_nobody_is_left(server: &Program) {
    until_none("somebody is left", || {
        left_in(&ask_json(server, "GET", "/v1/stats").1)
    });
    let (_, stats) = ask_json(server, "GET", "/v1/stats");
    let chat = &stats["chat"];
    assert_eq!(
        chat["channels"],
        chat["rooms"].as_u64().unwrap() + chat["inboxes"].as_u64().unwrap()
    );
    assert!(
        chat["channels"].as_u64().unwrap() <= ROOMS + USERS,
        "{chat}"
    );
    println!(
        "kept: {} bytes, {} ids; deliveries: {}",
        chat["kept_bytes"], chat["dedup_entries"], chat["deliveries"]
    );
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
