//! Tables in MariaDB that the nodes of a cluster write besides: what stands there is so, whoever dies, and
//! nobody who chats waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use super::crowd::Crowd;
use super::engine::Engine as _;
use super::mariadb::MariaDb;
use super::nodes::{GONE_WITHIN, Nodes, name};
use super::standing::step;
use super::support::PATIENCE;
use super::support::api::ask_json;
use super::support::chat_client::ChatClient;
use super::support::program::Program;
use super::support::random::Random;
use super::support::wait::until;
use super::truth::number;

/// The promise of `docs/bindings.md` for when the database is back.
const TRUE_WITHIN: Duration = Duration::from_secs(1);
/// Rows that a dead run has locked are tried again after 5 s; no reader takes them for true meanwhile.
const UNLOCKED_WITHIN: Duration = Duration::from_secs(8);

type Members = BTreeSet<(String, String)>;

fn people(server: &Program, name: &str, count: usize) -> Vec<ChatClient> {
    (0..count)
        .map(|number| ChatClient::login(server, &format!("{name}{number}"), &["tea"]))
        .collect()
}

fn true_now(nodes: &mut Nodes, members: &Members) -> Duration {
    let since = nodes.stopwatch();
    nodes.true_within(PATIENCE, &since, members)
}

/// Everything that clients and back ends ask of a node.
fn serves(server: &Program, uid: &str) -> ChatClient {
    let mut client = ChatClient::login(server, uid, &["tea"]);
    client.ok(json!({"type": "say", "to": {"room": "tea"}, "data": 1}));
    client.ok(json!({"type": "join", "room": "coffee"}));
    let (status, user) = ask_json(server, "GET", &format!("/v1/users/{uid}"));
    assert_eq!((status, &user["online"]), (200, &json!(true)), "{user}");
    let path = format!("/v1/rooms/tea/members/{uid}");
    assert_eq!(ask_json(server, "PUT", &path).0, 200);
    assert_eq!(ask_json(server, "GET", "/readyz").0, 200);
    client
}

#[test]
fn the_tables_are_what_all_nodes_say_and_a_node_that_stops_takes_its_own_out() {
    let Some(mut nodes) = Nodes::start(&[]) else {
        return;
    };
    let (mut random, mut members) = (Random::new(11), Members::new());
    let mut clients = [Vec::new(), Vec::new()];
    for _ in 0..4 {
        for _ in 0..40 {
            let number = random.below(2_usize);
            let node = nodes.node(number);
            step(&mut random, node, &mut clients[number], &mut members);
        }
        true_now(&mut nodes, &members);
    }
    for part in ["presence", "bindings"] {
        let (_, stats) = ask_json(nodes.node(0), "GET", "/v1/stats");
        assert_eq!(stats[part]["connected"], true, "{part}: {stats}");
    }
    clients[1].clear();
    nodes.stop(1);
    let took = true_now(&mut nodes, &members);
    eprintln!("true {took:?} after the stop of a node");
    clients[0].clear();
    nodes.stop(0);
    let table = nodes.tables.table();
    assert_eq!((nodes.runs().len(), nodes.tables.leftovers()), (0, 0));
    assert_eq!(table.members, members, "lasting ones last");
}

#[test]
fn rows_of_a_node_that_was_killed_go_in_time_and_its_next_start_is_right_at_once() {
    let Some(mut nodes) = Nodes::start(&[]) else {
        return;
    };
    let (stay, go) = (
        people(nodes.node(0), "a", 10),
        people(nodes.node(1), "b", 10),
    );
    true_now(&mut nodes, &Members::new());
    nodes.kill(1);
    let since = nodes.stopwatch();
    let took = nodes.true_within(GONE_WITHIN, &since, &Members::new());
    eprintln!("rows of a node gone {took:?} after kill -9");
    assert!(!nodes.runs().contains_key(name(1)));
    drop(go);
    nodes.run(1);
    let _again = people(nodes.node(1), "b", 10);
    let since = nodes.stopwatch();
    let took = nodes.true_within(TRUE_WITHIN, &since, &Members::new());
    eprintln!("true {took:?} after the start of a node");
    // Killed and started at once: the rows of the run before go with the start.
    nodes.kill(1);
    nodes.run(1);
    let since = nodes.stopwatch();
    let took = nodes.true_within(TRUE_WITHIN, &since, &Members::new());
    eprintln!("true {took:?} after kill -9 and start");
    drop(stay);
    (0..2).for_each(|number| nodes.stop(number));
}

/// A node dies while the database does nothing, and with it a change that it couldn't write any more.
fn die_meanwhile(pause: fn(&mut MariaDb), go_on: fn(&mut MariaDb)) {
    let Some(mut nodes) = Nodes::start(&["bindings.answer_ms_max=60000"]) else {
        return;
    };
    let _stay = people(nodes.node(0), "a", 5);
    let last = serves(nodes.node(1), "b");
    let members = Members::from([("tea".to_owned(), "b".to_owned())]);
    true_now(&mut nodes, &members);
    pause(&mut nodes.tables);
    let (status, _) = ask_json(nodes.node(1), "DELETE", "/v1/rooms/tea/members/b");
    assert_eq!(status, 200);
    last.client.leave();
    nodes.kill(1);
    until("the cluster takes it out", || {
        !nodes.standing().contains_key(name(1))
    });
    go_on(&mut nodes.tables);
    let back = nodes.stopwatch();
    let took = nodes.true_within(UNLOCKED_WITHIN, &back, &Members::new());
    eprintln!("rows of a dead node gone {took:?} after the database was back");
    nodes.stop(0);
}

#[test]
fn rows_of_a_node_that_died_while_the_database_was_away_go_once_it_is_back() {
    die_meanwhile(|tables| tables.kill(), |tables| tables.start());
}

#[test]
fn rows_of_a_node_that_died_while_the_database_hung_go_once_it_goes_on() {
    die_meanwhile(
        |tables| tables.signal(Signal::STOP),
        |tables| tables.signal(Signal::CONT),
    );
}

#[test]
fn a_database_that_hangs_or_dies_keeps_nobody_waiting_and_is_true_once_it_is_back() {
    let settings = ["bindings.changes_max=10", "bindings.answer_ms_max=60000"];
    let Some(mut nodes) = Nodes::start(&settings) else {
        return;
    };
    let mut members = Members::new();
    true_now(&mut nodes, &members);
    nodes.tables.signal(Signal::STOP);
    // More than may wait, and all of it answered while the database does nothing.
    let mut clients = Vec::new();
    for each in 0..30 {
        let uid = format!("u{each}");
        clients.push(serves(nodes.node(each % 2), &uid));
        members.insert(("tea".to_owned(), uid));
    }
    for number in 0..2 {
        let node = nodes.node(number);
        until("there are too many", || self::number(node, "overflows") > 0);
        assert_eq!(
            self::number(node, "changes"),
            0,
            "a full queue keeps nothing"
        );
    }
    clients.truncate(12);
    nodes.tables.signal(Signal::CONT);
    true_now(&mut nodes, &members);
    let addresses = [nodes.node(0).address, nodes.node(1).address];
    let crowd = Crowd::default();
    let mut back = nodes.stopwatch();
    let more = crowd.during(&addresses, 1, || {
        until("they hurry", || crowd.logins() > 50);
        nodes.tables.kill();
        let before = crowd.logins();
        until("they go on", || crowd.logins() > before + 100);
        drop(serves(nodes.node(0), "u0"));
        nodes.tables.start();
        crowd.rest();
        back = nodes.stopwatch();
    });
    let took = nodes.true_within(TRUE_WITHIN, &back, &members);
    eprintln!("true {took:?} after the database was back");
    drop((clients, more));
    (0..2).for_each(|number| nodes.stop(number));
}

#[test]
fn a_cluster_that_forgot_everything_has_its_nodes_write_under_other_generations() {
    let Some(mut nodes) = Nodes::start(&[]) else {
        return;
    };
    let _people = [people(nodes.node(0), "a", 5), people(nodes.node(1), "b", 5)];
    assert_eq!(
        ask_json(nodes.node(0), "PUT", "/v1/rooms/tea/members/c").0,
        200
    );
    let members = Members::from([("tea".to_owned(), "c".to_owned())]);
    true_now(&mut nodes, &members);
    let before = nodes.runs();
    redis::cmd("FLUSHALL")
        .exec(&mut nodes.redis.connection())
        .unwrap();
    until("both are registered again", || nodes.standing().len() == 2);
    // Lasting memberships were in the cluster, and are lost with it.
    let took = true_now(&mut nodes, &Members::new());
    eprintln!("true {took:?} after both nodes were there again");
    let after = nodes.runs();
    for number in 0..2 {
        assert_ne!(before[name(number)], after[name(number)]);
    }
    (0..2).for_each(|number| nodes.stop(number));
}

#[test]
fn a_node_that_was_frozen_is_taken_out_and_writes_its_rows_anew_when_it_goes_on() {
    let Some(mut nodes) = Nodes::start(&[]) else {
        return;
    };
    let _people = [people(nodes.node(0), "a", 3), people(nodes.node(1), "b", 3)];
    true_now(&mut nodes, &Members::new());
    let before = nodes.runs();
    nodes.node(1).signal(Signal::STOP);
    until("its rows are taken out", || {
        !nodes.runs().contains_key(name(1)) && nodes.tables.table().connections.len() == 3
    });
    nodes.node(1).signal(Signal::CONT);
    until("it goes on", || nodes.standing().contains_key(name(1)));
    true_now(&mut nodes, &Members::new());
    assert_ne!(before[name(1)], nodes.runs()[name(1)]);
    (0..2).for_each(|number| nodes.stop(number));
}

#[test]
fn a_node_that_wakes_and_finds_its_name_taken_writes_nothing() {
    let Some(mut nodes) = Nodes::start(&[]) else {
        return;
    };
    let _before = people(nodes.node(1), "b", 3);
    true_now(&mut nodes, &Members::new());
    nodes.node(1).signal(Signal::STOP);
    let before = nodes.replace(1);
    let _people = people(nodes.node(1), "c", 3);
    true_now(&mut nodes, &Members::new());
    let stands = nodes.runs()[name(1)];
    before.signal(Signal::CONT);
    until("it finds that", || {
        assert_eq!(nodes.runs().get(name(1)), Some(&stands));
        number(&before, "failures") > 1
    });
    true_now(&mut nodes, &Members::new());
    before.kill();
    (0..2).for_each(|number| nodes.stop(number));
}

#[test]
fn an_upgrade_in_place_keeps_the_rows_of_a_node() {
    let Some(mut nodes) = Nodes::start(&[]) else {
        return;
    };
    let mut people = people(nodes.node(0), "a", 3);
    true_now(&mut nodes, &Members::new());
    let before = (nodes.runs(), nodes.tables.table());
    nodes.node(0).signal(Signal::USR2);
    until("the next image writes", || {
        let node = nodes.node(0);
        number(node, "compared") == 1 && number(node, "written") == 0 && number(node, "beats") > 0
    });
    assert_eq!((nodes.runs(), nodes.tables.table()), before);
    people[0].ok(json!({"type": "join", "room": "coffee"}));
    true_now(&mut nodes, &Members::new());
    drop(people);
    (0..2).for_each(|number| nodes.stop(number));
}

#[test]
fn the_checks_reach_the_database_too() {
    let Some(mut nodes) = Nodes::start(&[]) else {
        return;
    };
    let check = |nodes: &Nodes, subcommand: &[&str]| {
        let output = nodes.command(subcommand, 0).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let both: [&[&str]; 2] = [&["check"], &["cluster", "check"]];
    for subcommand in both {
        let (is_right, said) = check(&nodes, subcommand);
        assert!(is_right, "{said}");
    }
    nodes.tables.kill();
    for subcommand in both {
        let (is_right, said) = check(&nodes, subcommand);
        assert!(
            !is_right && said.contains("the store of the bindings: "),
            "{said}"
        );
        assert!(said.contains("1 thing is wrong"), "{said}");
    }
    let stats = ask_json(nodes.node(0), "GET", "/v1/stats").1;
    assert_eq!(stats["presence"]["connected"], true, "{stats}");
    until("it is noticed", || number(nodes.node(0), "connected") == 0);
    let ready = ask_json(nodes.node(0), "GET", "/readyz");
    assert_eq!(ready.0, 200, "it serves: {}", ready.1);
    nodes.redis.kill();
    let (is_right, said) = check(&nodes, &["check"]);
    assert!(!is_right && said.contains("2 things are wrong"), "{said}");
    nodes.redis.start();
    nodes.tables.start();
    true_now(&mut nodes, &Members::new());
    (0..2).for_each(|number| nodes.stop(number));
}
