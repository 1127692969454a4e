//! The upgrade in place of a node: it stays the same run of itself, and nobody who is connected notices.

use std::thread;
use std::time::Duration;

use redis::Commands as _;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::node::Node;
use super::record::Epochs;
use super::rounds::{Rehearsal, Scene};
use super::support::chat_client::{ChatClient, Position, say};
use super::support::wait::until;
use super::support::websocket::WebSocketClient;
use super::world::{Setup, World};

/// What the cluster knows of a node.
fn known(world: &World, name: &str) -> Value {
    let (_, nodes) = world.nodes[0].ask("GET", "/v1/nodes", &json!(null));
    let nodes = nodes["nodes"].as_array().cloned().unwrap_or_default();
    let found = nodes.into_iter().find(|node| node["node"] == name);
    found.expect("it is known")
}

fn upgrades(node: &Node) -> u64 {
    upgrades_and_refusals(node).0
}

fn upgrades_and_refusals(node: &Node) -> (u64, u64) {
    let (_, stats) = node.ask("GET", "/v1/stats", &json!(null));
    let number = |name: &str| stats[name].as_u64().expect("a number");
    (number("upgrades"), number("upgrades_refused"))
}

/// Asks for an upgrade until there was one: while the outcome of a call is awaited it is refused.
fn upgrade(node: &Node) {
    let (before, mut refused) = upgrades_and_refusals(node);
    node.signal(Signal::USR2);
    until("it is upgraded", || {
        let (now, refused_now) = upgrades_and_refusals(node);
        if std::mem::replace(&mut refused, refused_now) < refused_now {
            node.signal(Signal::USR2);
        }
        now == before + 1
    });
}

/// The run of a node, and the number of its last call, as they stand in Redis.
fn run(world: &World, name: &str) -> (u64, u64) {
    let mut redis = world.connection().expect("there is a Redis");
    let generation: u64 = redis.hget("tidings:nodes", name).unwrap();
    let number = redis.hget(format!("tidings:call:{generation}"), "number");
    (generation, number.unwrap())
}

/// Upgrades a node under load when `meanwhile` says so; the node has to be the same run of itself.
fn rehearse(name: &'static str, meanwhile: impl Fn(&mut Scene<'_>, &dyn Fn(&World))) {
    let setup = Setup::synced();
    let epochs = Epochs::Stay;
    let rehearsal = Rehearsal {
        name,
        setup,
        epochs,
    };
    rehearsal.run(|scene| {
        let number = scene.world.some_node(scene.random);
        let name = scene.world.nodes[number].name.clone();
        let of_before = run(scene.world, &name);
        let pid = scene.world.nodes[number].pid();
        meanwhile(scene, &|world: &World| upgrade(&world.nodes[number]));
        assert_eq!(scene.world.nodes[number].pid(), pid);
        scene.ledger.await_next();
        until("it has made a call", || {
            let (generation, last) = run(scene.world, &name);
            assert_eq!(generation, of_before.0, "the same run of itself");
            assert!(last >= of_before.1, "{last} after {of_before:?}");
            last > of_before.1
        });
    });
}

#[test]
fn a_node_that_is_upgraded_under_load_has_lost_and_doubled_nothing() {
    rehearse("SIGUSR2 of a node", |scene, upgrade| upgrade(scene.world));
}

#[test]
fn a_node_that_is_upgraded_while_redis_is_away_has_lost_and_doubled_nothing() {
    rehearse("SIGUSR2 of a node without Redis", |scene, upgrade| {
        scene.world.redis().kill();
        thread::sleep(Duration::from_micros(scene.random.below(1_000_000)));
        upgrade(scene.world);
        thread::sleep(Duration::from_micros(scene.random.below(500_000)));
        scene.world.redis().start();
    });
}

#[test]
fn a_node_that_is_upgraded_in_place_is_the_same_run_and_its_clients_miss_nothing() {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    if !setup.is_possible() {
        return;
    }
    let world = World::new(&setup);
    let login = |node: &Node, uid: &str| {
        let client = WebSocketClient::connect(node.address(), "/ws");
        ChatClient::login_with(client, json!({"uid": uid, "rooms": ["lobby"]}))
    };
    let (mut ann, ok) = login(&world.nodes[0], "ann");
    let (mut bob, _) = login(&world.nodes[1], "bob");
    let mut place = Position::of(&ok["channels"]["lobby"]);
    let name = world.nodes[0].name.clone();
    let generation = known(&world, &name)["generation"].clone();
    for round in 1..=3 {
        bob.ok(say("lobby", "before"));
        world.nodes[0].signal(Signal::USR2);
        // While it stands, others go on.
        bob.ok(say("lobby", "meanwhile"));
        until("it is upgraded", || upgrades(&world.nodes[0]) == round);
        bob.ok(say("lobby", "after"));
        ann.ok_keeping(say("lobby", "here"));
        let newest = place.offset + 4;
        ann.follow("lobby", &mut place, newest);
        assert_eq!(known(&world, &name)["generation"], generation);
        let members = world.nodes[1].members("lobby").unwrap_or_default();
        assert!(members.keys().eq(["ann", "bob"]), "{members:?}");
    }
}
