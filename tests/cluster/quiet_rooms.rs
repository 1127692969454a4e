//! Rooms with more users, on all nodes, than are told of.

use serde_json::{Value, json};

use super::node::Node;
use super::support::chat_client::ChatClient;
use super::support::wait::until;
use super::support::websocket::WebSocketClient;
use super::world::{Setup, World};

/// Two nodes in whose rooms so many users are told of.
fn two(presence_users_max: usize) -> Option<World> {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    let setup = setup
        .with(&format!("chat.presence_users_max={presence_users_max}"))
        .with("chat.left_ms=100");
    setup.is_possible().then(|| World::new(&setup))
}

fn login(node: &Node, uid: &str) -> ChatClient {
    let client = WebSocketClient::connect(node.address(), "/ws");
    ChatClient::login_with(client, json!({"uid": uid, "rooms": ["lobby"]})).0
}

/// The next frame that tells who is there.
#[track_caller]
fn news(client: &mut ChatClient) -> Value {
    loop {
        let frame = client.next();
        if ["joined", "left", "presence"].contains(&frame["type"].as_str().unwrap_or_default()) {
            return frame;
        }
    }
}

#[test]
fn a_room_that_is_too_large_over_all_nodes_is_quiet_until_it_is_small_again() {
    let Some(world) = two(2) else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let mut ann = login(a, "ann");
    until("ann is known", || {
        b.members("lobby").is_some_and(|users| users.len() == 1)
    });
    let mut bob = login(b, "bob");
    assert_eq!(
        news(&mut ann),
        json!({"type": "joined", "room": "lobby", "uid": "bob"})
    );
    let cid = login(b, "cid");
    let off = json!({"type": "presence", "room": "lobby", "state": "off"});
    for client in [&mut ann, &mut bob] {
        assert_eq!(news(client), off);
    }
    // Nobody is told of those who come and go now.
    drop(login(a, "dee"));
    let there = || a.members("lobby").unwrap_or_default().len();
    until("dee has gone", || there() == 3);
    drop(cid);
    let on = json!({
        "type": "presence", "room": "lobby", "state": "on",
        "users": ["ann", "bob"], "users_total": 2, "more": false,
    });
    for client in [&mut ann, &mut bob] {
        assert_eq!(news(client), on);
    }
    let _eve = login(a, "eve");
    for client in [&mut ann, &mut bob] {
        assert_eq!(news(client), off, "the room is too large once more");
    }
}

#[test]
fn a_room_of_a_cluster_without_presence_tells_nobody_and_knows_all_the_same() {
    let Some(world) = two(0) else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let mut ann = login(a, "ann");
    let bob = login(b, "bob");
    let there = || a.members("lobby").unwrap_or_default().len();
    until("both are known", || there() == 2);
    drop(bob);
    until("bob has gone", || there() == 1);
    // Whatever was told of it would have come before this.
    let said = ann.ok_keeping(json!({"type": "say", "to": {"room": "lobby"}, "data": {}}));
    assert_eq!(said["receivers"], 1, "{said}");
    for frame in ann.take_waiting() {
        assert_eq!(frame["type"], "msg", "{frame}");
    }
}
