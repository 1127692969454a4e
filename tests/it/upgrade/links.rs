//! A server is upgraded while gateways are linked to it: their links stay open.

use std::fs;
use std::net::SocketAddr;
use std::thread;

use serde_json::Value;

use super::{Over, rounds};
use crate::gateway::everything_breaks::Far;
use crate::gateway::machine::{Machine, message};
use crate::gateway::server::Server;
use crate::service::{said, tidings};
use crate::support::http::HttpClient;
use crate::support::wait::until;

/// Messages in one posting: as many as are on the way to an upstream at most.
const BATCH: u64 = 1_000;

/// Batches that a gateway is ahead of its upstream: memory and time of the test are bounded by that.
const AHEAD: u64 = 4;

/// A link isn't given up for a pause of a busy machine.
const PATIENT: [&str; 2] = ["--set", "gateway.silence_ms_max=20000"];

/// However many messages come in all rounds, none is let go.
const KEEPS_ALL: [&str; 2] = ["--set", "store.messages_max=10000000"];

/// Posts batches to a gateway until it is over; how many messages those were.
fn post_batches(gateway: SocketAddr, mut is_over: impl FnMut() -> bool) -> u64 {
    let mut http = HttpClient::connect(gateway);
    let mut posted = 0;
    while !is_over() {
        let messages = (posted + 1..=posted + BATCH).map(|number| message("ann", number));
        let messages: Vec<_> = messages.collect();
        let body = format!(r#"{{"messages":[{}]}}"#, messages.join(","));
        let answer = http.ask_with_json("POST", "/v1/messages/batch", &body);
        assert_eq!(answer.unwrap().status, 202);
        posted += BATCH;
        let waiting = |http: &mut HttpClient| {
            let stats: Value = serde_json::from_str(&http.get("/v1/stats").body).unwrap();
            stats["outbox"]["messages"].as_u64() > Some(AHEAD * BATCH)
        };
        until("the upstream comes after", || !waiting(&mut http));
    }
    posted
}

/// The link has never been cut.
#[track_caller]
fn is_the_first(machine: &Machine) {
    let upstream = &machine.stats()["upstreams"][0];
    let counts = (&upstream["opened"], &upstream["lost"]);
    assert_eq!(counts, (&1.into(), &0.into()), "opened and lost");
}

#[test]
fn a_link_stays_open_through_upgrades_of_its_server_with_all_on_the_way_that_may_be() {
    let server = Server::start_with(&KEEPS_ALL);
    let mut machine = Machine::start_with(&[server.address], &PATIENT);
    machine.until_link(0, "open");
    let address = machine.address();
    let posted = thread::scope(|scope| {
        let over = Over::not_yet();
        let is_over = over.seen();
        let poster = scope.spawn(move || post_batches(address, is_over));
        for _ in 0..rounds(4) {
            let (code, _, err) = server.upgrade();
            assert_eq!(code, 0, "{err}");
        }
        drop(over);
        poster.join().unwrap()
    });
    machine.until_settled();
    assert_eq!(server.heard_of("ann"), (1..=posted).collect::<Vec<_>>());
    is_the_first(&machine);
    machine.stop();
}

#[test]
fn a_link_stays_open_through_upgrades_of_a_server_that_has_told_its_gateway_to_wait() {
    const POSTED: u64 = 3 * BATCH;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("t.toml");
    let config = config.to_str().unwrap();
    let keep_free = |size: &str| {
        let text = format!("[store]\ndisk_free_size_min = {size}\n");
        fs::write(config, text).unwrap();
    };
    keep_free("1_099_511_627_776");
    let server = Server::start_with(&["--config", config]);
    let mut machine = Machine::start_with(&[server.address], &PATIENT);
    let mut posted = 0;
    post_batches(machine.address(), || {
        posted += BATCH;
        posted > POSTED
    });
    let busy = || server.metric("tidings_links_busy_total");
    until("it is told to wait", || busy() > 0);
    for _ in 0..2 {
        let (code, _, err) = server.upgrade();
        assert_eq!(code, 0, "{err}");
        assert_eq!(server.count(), 0, "there is no room");
        let before = busy();
        until("it is told to wait again", || busy() > before);
    }
    keep_free("0");
    let data = server.folder.path().to_str().unwrap();
    let (code, out, err) = said(&mut tidings(folder.path(), &["reload", "--data", data]));
    assert_eq!(code, 0, "{out}{err}");
    machine.until_settled();
    assert_eq!(server.heard_of("ann"), (1..=POSTED).collect::<Vec<_>>());
    is_the_first(&machine);
    machine.stop();
}

#[test]
fn both_ends_of_a_link_are_upgraded_in_turns_and_each_message_comes_once_in_order() {
    let server = Server::start_with(&KEEPS_ALL);
    let mut machine = Machine::start(&[server.address]);
    machine.until_link(0, "open");
    let address = machine.address();
    let posted = thread::scope(|scope| {
        let over = Over::not_yet();
        let is_over = over.seen();
        let poster = scope.spawn(move || post_batches(address, is_over));
        for _ in 0..rounds(2) {
            for (code, _, err) in [machine.upgrade(&[]), server.upgrade()] {
                assert_eq!(code, 0, "{err}");
            }
        }
        drop(over);
        poster.join().unwrap()
    });
    machine.until_settled();
    assert_eq!(server.heard_of("ann"), (1..=posted).collect::<Vec<_>>());
    machine.stop();
}
