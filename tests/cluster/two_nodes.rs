//! Two nodes as one: what is said on one is heard on the other, in one order, and read there.

use serde_json::{Value, json};

use super::node::Node;
use super::support::chat_client::{ChatClient, Position, say};
use super::support::wait::until;
use super::support::websocket::WebSocketClient;
use super::world::{Setup, World};

/// Two nodes around a Redis; `None` where there is no Redis.
fn two() -> Option<World> {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    setup.is_possible().then(|| World::new(&setup))
}

/// A client on a node, with these fields in its login.
#[track_caller]
fn login(node: &Node, fields: Value) -> (ChatClient, Value) {
    let client = WebSocketClient::connect(node.address(), "/ws");
    ChatClient::login_with(client, fields)
}

fn text(frame: &Value) -> (u64, &str) {
    let text = frame["data"]["text"].as_str().unwrap_or_default();
    (frame["offset"].as_u64().unwrap_or_default(), text)
}

/// Posts a message by HTTP, and gives what came of it.
#[track_caller]
fn post(node: &Node, message: Value) -> Value {
    let (status, answer) = node.ask("POST", "/v1/messages", &message);
    assert_eq!(status, 200, "{answer}");
    answer["results"][0].clone()
}

#[test]
fn a_room_is_one_on_two_nodes_and_everybody_hears_the_same_order() {
    let Some(world) = two() else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let (mut ann, _) = login(a, json!({"uid": "ann", "rooms": ["lobby"]}));
    let (mut bob, _) = login(b, json!({"uid": "bob", "rooms": ["lobby"]}));
    for round in 0..50 {
        ann.send(say("lobby", &format!("ann {round}")));
        bob.send(say("lobby", &format!("bob {round}")));
    }
    let heard = |client: &mut ChatClient| -> Vec<(u64, String)> {
        let mut heard = Vec::new();
        while heard.len() < 100 {
            let frame = client.hear();
            if frame["type"] == "msg" {
                let (offset, text) = text(&frame);
                heard.push((offset, text.to_owned()));
            }
        }
        heard
    };
    let of_ann = heard(&mut ann);
    assert!(of_ann.iter().map(|(offset, _)| *offset).eq(1..=100));
    assert_eq!(of_ann, heard(&mut bob));
}

#[test]
fn a_private_message_finds_its_user_on_another_node_and_the_sender_hears_it_too() {
    let Some(world) = two() else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let (mut ann, _) = login(a, json!({"uid": "ann"}));
    let (mut bob, _) = login(b, json!({"uid": "bob"}));
    ann.send(json!({"type": "say", "to": {"user": "bob"}, "data": {"text": "psst"}}));
    for client in [&mut bob, &mut ann] {
        let frame = loop {
            let frame = client.hear();
            if frame["type"] == "msg" {
                break frame;
            }
        };
        assert_eq!(text(&frame).1, "psst");
        assert_eq!(
            (&frame["from"], &frame["to"]),
            (&json!("ann"), &json!("bob"))
        );
    }
}

#[test]
fn a_repeat_on_another_node_is_the_same_message() {
    let Some(world) = two() else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let message = json!({"to": {"room": "lobby"}, "data": {}, "id": "once"});
    let (first, again) = (post(a, message.clone()), post(b, message));
    assert_eq!(
        (&first["duplicate"], &again["duplicate"]),
        (&json!(false), &json!(true))
    );
    for field in ["channel", "epoch", "offset"] {
        assert_eq!(first[field], again[field]);
    }
}

#[test]
fn who_moves_to_another_node_resumes_there_and_misses_nothing() {
    let Some(world) = two() else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let (mut ann, ok) = login(a, json!({"uid": "ann", "rooms": ["lobby"]}));
    let place = |ok: &Value| {
        let place = ok["channels"]["lobby"].clone();
        json!({"epoch": place["epoch"], "offset": place["offset"]})
    };
    assert_eq!(place(&ok)["offset"], 0, "{ok}");
    ann.ok(say("lobby", "first"));
    let left = place(&ok);
    drop(ann);
    for number in 0..5 {
        post(
            a,
            json!({"to": {"room": "lobby"}, "data": {"text": format!("missed {number}")}}),
        );
    }
    let mut place = Position::of(&left);
    let resumed = json!({"uid": "ann", "rooms": ["lobby"], "resume": {"lobby": left}});
    let (mut ann, ok) = login(b, resumed);
    assert_eq!(ok["channels"]["lobby"]["recovered"], true, "{ok}");
    let heard = ann.follow("lobby", &mut place, 6);
    assert_eq!(heard[5], json!({"text": "missed 4"}));
}

#[test]
fn a_node_that_stops_leaves_at_once_and_comes_back_as_another_run_of_itself() {
    let Some(mut world) = two() else { return };
    let (_ann, _) = login(&world.nodes[0], json!({"uid": "ann", "rooms": ["lobby"]}));
    let (_bob, _) = login(&world.nodes[1], json!({"uid": "bob", "rooms": ["lobby"]}));
    let are_there = |world: &World, names: &[&str]| {
        let members = world.nodes[1].members("lobby").unwrap_or_default();
        members.keys().eq(names)
    };
    until("both are there", || are_there(&world, &["ann", "bob"]));
    world.nodes[0].stop();
    until("ann has left", || are_there(&world, &["bob"]));
    world.nodes[0].start();
    let (_ann, _) = login(&world.nodes[0], json!({"uid": "ann", "rooms": ["lobby"]}));
    until("both are there again", || {
        are_there(&world, &["ann", "bob"])
    });
}
