//! Whose rows they are: a generation a start, a counter a second.

use std::collections::BTreeSet;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::engine::{command, serve, with_each};
use super::support::chat_client::ChatClient;
use super::support::program::Program;
use super::support::wait::{until, until_within};
use super::truth::{number, until_true};

#[test]
fn a_server_that_was_killed_leaves_rows_that_its_next_start_takes_out() {
    with_each(|engine| {
        let server = serve(engine, &[]);
        let _clients: Vec<_> = (0..20)
            .map(|number| ChatClient::login(&server, &format!("u{number}"), &["tea"]))
            .collect();
        until_true(engine, &server, &BTreeSet::new());
        let before = engine.table().standing.unwrap();
        until("the counter goes on", || {
            engine.table().standing.unwrap().beat > before.beat
        });
        server.kill();
        let dead = engine.table();
        assert_eq!(dead.connections.len(), 20, "a crash takes nothing out");
        let server = serve(engine, &[]);
        let began = Instant::now();
        until("the new one stands", || {
            let stands = engine.table().standing.unwrap().generation;
            stands != before.generation
        });
        let table = engine.table();
        assert_eq!(table.connections.len() + table.rooms.len(), 0, "{table:?}");
        until("nothing is left of the old one", || engine.leftovers() == 0);
        eprintln!("true {:?} after the start", began.elapsed());
        server.stop();
    });
}

#[test]
fn of_two_servers_with_one_name_the_later_one_writes_and_the_earlier_one_says_so() {
    with_each(|engine| {
        let mut first = serve(engine, &[]);
        let ann = ChatClient::login(&first, "ann", &["tea"]);
        until_true(engine, &first, &BTreeSet::new());
        let second = serve(engine, &[]);
        let _bob = ChatClient::login(&second, "bob", &["tea"]);
        until_true(engine, &second, &BTreeSet::new());
        first.stderr.wait_for("another server has this one's name");
        assert_eq!(number(&first, "displaced"), 1);
        let cid = ChatClient::login(&first, "cid", &["tea"]);
        until_true(engine, &second, &BTreeSet::new());
        let beat = engine.table().standing.unwrap().beat;
        until("the second goes on", || {
            engine.table().standing.unwrap().beat > beat + 1
        });
        until_true(engine, &second, &BTreeSet::new());
        second.kill();
        // Its counter stands still now, so its name is free: in five seconds, the same with each engine.
        until_true(engine, &first, &BTreeSet::new());
        until("the log says so", || number(&first, "displaced") == 0);
        drop((ann, cid));
        first.stop();
    });
}

#[test]
fn an_upgrade_in_place_keeps_the_generation_and_what_stands_there() {
    with_each(|engine| {
        let folder = tempfile::tempdir().unwrap();
        let control = format!("control={}", folder.path().join("c.sock").display());
        let server = Program::start(&mut command(engine, &[&control]));
        let mut ann = ChatClient::login(&server, "ann", &["tea"]);
        let path = format!("/v1/connections/{}/session", ann.fd());
        let session = json!({"theme": "dark"});
        assert_eq!(server.http().json("PUT", &path, &session).0, 200);
        until_true(engine, &server, &BTreeSet::new());
        let before = engine.table();
        server.signal(Signal::USR2);
        until("the next image writes", || {
            number(&server, "compared") == 1
                && number(&server, "written") == 0
                && number(&server, "beats") > 0
                && engine.table().standing.unwrap().beat > before.standing.unwrap().beat
        });
        let mut after = engine.table();
        assert_eq!(
            after.standing.unwrap().generation,
            before.standing.unwrap().generation
        );
        after.standing = before.standing;
        assert_eq!(after, before);
        ann.ok(json!({"type": "join", "room": "coffee"}));
        until_true(engine, &server, &BTreeSet::new());
        let (_, told) = server.http().json("GET", "/v1/users/ann", &Value::Null);
        assert_eq!(
            told["sessions"],
            json!([{"fd": ann.fd(), "session": session}])
        );
        drop(ann);
        server.stop();
    });
}

#[test]
fn a_sign_of_life_comes_each_second() {
    with_each(|engine| {
        let server = serve(engine, &[]);
        until("it stands", || engine.table().standing.is_some());
        let first = engine.table().standing.unwrap().beat;
        let time = std::time::Duration::from_secs(10);
        let took = until_within("three", time, || {
            engine.table().standing.unwrap().beat >= first + 3
        });
        assert!(took.as_millis() >= 1_900, "{took:?}");
        server.stop();
    });
}
