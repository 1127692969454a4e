//! The store dies, hangs, forgets, is full, refuses: the chat goes on, and afterwards what stands there is
//! true.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use rustix::process::Signal;

use super::engine::{Engine, PASSWORD, serve, tidings, with_each};
use super::redis_server::RedisServer;
use super::support::api::ask_json;
use super::support::chat_client::ChatClient;
use super::support::installed::is_there;
use super::support::program::Program;
use super::support::wait::until;
use super::truth::{number, until_true};

fn people(server: &Program, name: &str, count: usize) -> Vec<ChatClient> {
    let rooms = ["tea", "coffee"];
    (0..count)
        .map(|number| ChatClient::login(server, &format!("{name}{number}"), &rooms))
        .collect()
}

#[test]
fn a_store_that_was_killed_has_what_is_so_once_it_is_back() {
    with_each(|engine| {
        let server = serve(engine, &[]);
        let mut early = people(&server, "early", 20);
        until_true(engine, &server, &BTreeSet::new());
        engine.kill();
        until("it is noticed", || number(&server, "connected") == 0);
        early.drain(..10).for_each(|client| client.client.leave());
        let late = people(&server, "late", 20);
        engine.start();
        let took = until_true(engine, &server, &BTreeSet::new());
        eprintln!("true {took:?} after the store was back");
        assert_eq!(engine.leftovers(), 0);
        drop((early, late));
        server.stop();
    });
}

#[test]
fn a_store_that_has_lost_everything_is_filled_anew() {
    with_each(|engine| {
        let server = serve(engine, &[]);
        let people = people(&server, "u", 20);
        until_true(engine, &server, &BTreeSet::new());
        let before = engine.table().standing.unwrap().generation;
        engine.empty();
        until_true(engine, &server, &BTreeSet::new());
        assert_eq!(engine.table().standing.unwrap().generation, before);
        drop(people);
        server.stop();
    });
}

#[test]
fn a_store_that_hangs_delays_nobody_and_a_full_queue_costs_no_row() {
    with_each(|engine| {
        let server = serve(
            engine,
            &["bindings.changes_max=10", "bindings.answer_ms_max=60000"],
        );
        let mut people = people(&server, "u", 5);
        until_true(engine, &server, &BTreeSet::new());
        engine.signal(Signal::STOP);
        // The first ones are under way, and wait.
        for number in 0..60 {
            people.push(ChatClient::login(&server, &format!("v{number}"), &["tea"]));
        }
        until("there are too many", || number(&server, "overflows") > 0);
        assert_eq!(number(&server, "changes"), 0, "a full queue keeps nothing");
        people.truncate(30);
        engine.signal(Signal::CONT);
        until_true(engine, &server, &BTreeSet::new());
        assert_eq!(number(&server, "failures"), 0);
        drop(people);
        server.stop();
    });
}

#[test]
fn a_store_that_hangs_for_too_long_is_connected_to_anew() {
    with_each(|engine| {
        let server = serve(engine, &["bindings.answer_ms_max=50"]);
        let mut people = people(&server, "u", 5);
        until_true(engine, &server, &BTreeSet::new());
        engine.signal(Signal::STOP);
        until("it is noticed", || number(&server, "failures") > 1);
        people.truncate(2);
        engine.signal(Signal::CONT);
        until_true(engine, &server, &BTreeSet::new());
        drop(people);
        server.stop();
    });
}

#[test]
fn a_full_redis_still_takes_who_is_where() {
    if !is_there("redis-server") {
        return;
    }
    let mut engine = RedisServer::new();
    let server = serve(&engine, &[]);
    let before = people(&server, "u", 5);
    until_true(&mut engine, &server, &BTreeSet::new());
    let mut redis = engine.connection();
    let mut full = redis::cmd("CONFIG");
    full.arg("SET")
        .arg("maxmemory")
        .arg("1000")
        .exec(&mut redis)
        .unwrap();
    let refused = redis::cmd("SET").arg("a").arg("b").exec(&mut redis);
    assert_eq!(refused.unwrap_err().code(), Some("OOM"));
    let after = people(&server, "v", 20);
    until_true(&mut engine, &server, &BTreeSet::new());
    assert_eq!(number(&server, "failures"), 0);
    drop((before, after));
    server.stop();
}

/// What `tidings check` says, and its exit code.
fn check(engine: &dyn Engine, more: &[&str]) -> (i32, String) {
    let output = tidings("check", engine, more).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8(told).unwrap();
    (output.status.code().unwrap(), told)
}

#[test]
fn a_check_reaches_the_store_and_names_what_is_to_be_mended() {
    with_each(|engine| {
        assert_eq!(check(engine, &[]).0, 0);
        engine.kill();
        let (code, told) = check(engine, &[]);
        assert_eq!(code, 1, "{told}");
        assert!(
            told.contains("the store of the bindings: ") && told.contains(".sock"),
            "{told}"
        );
        engine.start();
    });
}

#[test]
fn a_wrong_password_is_said_and_never_shown() {
    with_each(|engine| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wrong");
        std::fs::write(&file, "another secret of ours\n").unwrap();
        let file = file.display();
        let redis = format!("bindings.redis_password_file={file}");
        let mysql = format!("bindings.mysql_password_file={file}");
        let wrong = [redis.as_str(), &mysql];
        let (code, told) = check(engine, &wrong);
        assert_eq!(code, 1, "{told}");
        let mut server = serve(engine, &wrong);
        let line = server.stderr.wait_for("the bindings can't be written");
        let said = |text: &str| text.contains("password") || text.contains("Access denied");
        assert!(said(&told) && said(&line), "{told}{line}");
        let ann = ChatClient::login(&server, "ann", &["tea"]);
        let (_, stats) = ask_json(&server, "GET", "/v1/stats");
        assert_eq!(stats["bindings"]["connected"], false, "{stats}");
        drop(ann);
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), 0);
        let all = format!("{told}{stats}{}", server.stderr.all());
        for secret in ["another secret of ours", PASSWORD] {
            assert!(!all.contains(secret), "{all}");
        }
    });
}

#[test]
fn a_user_of_redis_needs_no_more_rights_than_the_docs_say() {
    if !is_there("redis-server") {
        return;
    }
    let mut engine = RedisServer::new();
    let docs = include_str!("../../docs/bindings.md");
    let (_, rights) = docs.split_once("An ACL for the server: `").unwrap();
    let (rights, _) = rights.split_once('`').unwrap();
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER")
        .arg("app")
        .arg("on")
        .arg(format!(">{PASSWORD}"));
    rights.split_whitespace().for_each(|one| _ = user.arg(one));
    user.exec(&mut engine.connection()).unwrap();
    let address = format!(
        "bindings.redis=redis+unix://app@{}",
        engine.path("redis.sock")
    );
    let server = serve(&engine, &[&address]);
    let mut clients = people(&server, "u", 5);
    for (method, member) in [("PUT", "u1"), ("PUT", "u2"), ("DELETE", "u2")] {
        let path = format!("/v1/rooms/tea/members/{member}");
        assert_eq!(ask_json(&server, method, &path).0, 200);
    }
    let members = BTreeSet::from([("tea".to_owned(), "u1".to_owned())]);
    until_true(&mut engine, &server, &members);
    clients.truncate(2);
    until_true(&mut engine, &server, &members);
    server.kill();
    let server = serve(&engine, &[&address]);
    let members_stay = until_true(&mut engine, &server, &BTreeSet::new());
    assert_eq!(
        (number(&server, "failures"), engine.leftovers()),
        (0, 0),
        "{members_stay:?}"
    );
    server.stop();
}

/// Answers each command of one client like a Redis of this version.
fn redis_of_version(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                let answer = match &*line {
                    "INFO" => {
                        let info = format!("redis_version:{version}\r\nrole:master\r\n");
                        format!("${}\r\n{info}\r\n", info.len())
                    }
                    "AUTH" | "SELECT" => "+OK\r\n".to_owned(),
                    _ => continue,
                };
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    format!("bindings.redis=redis://{address}")
}

#[test]
fn an_engine_that_is_too_old_or_that_drops_keys_is_refused_by_name() {
    if !is_there("redis-server") {
        return;
    }
    let engine = RedisServer::new();
    let old = redis_of_version("6.2.14");
    let (code, told) = check(&engine, &[&old]);
    assert_eq!(code, 1);
    assert!(
        told.contains("6.2.14") && told.contains("7.0 or newer"),
        "{told}"
    );
    let mut redis = engine.connection();
    let mut policy = redis::cmd("CONFIG");
    policy.arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    policy.exec(&mut redis).unwrap();
    let (code, told) = check(&engine, &[]);
    assert_eq!(code, 1);
    assert!(
        told.contains("maxmemory-policy") && told.contains("noeviction"),
        "{told}"
    );
}
