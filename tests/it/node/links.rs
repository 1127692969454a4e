//! Links of gateways to a node: their numbers are settled in the log that all nodes share.

use serde_json::{Value, json};

use super::{Bounds, ModelNode};
use crate::support::parsed;
use crate::support::server::in_every_mode;
use crate::support::wait::until_none;
use crate::support::websocket::WebSocketClient;

fn open(node: &ModelNode) -> WebSocketClient {
    let mut gateway = node.socket("/link");
    let open = json!({"type": "open", "producer": "shop", "name": "gw", "first": 1});
    gateway.say(open.to_string());
    gateway
}

fn hear(gateway: &mut WebSocketClient) -> Value {
    parsed(&gateway.hear_text())
}

fn publish(gateway: &mut WebSocketClient, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        let to = json!({"room": "tea"});
        let publish = json!({"type": "pub", "n": n, "to": to, "data": n, "id": n.to_string()});
        gateway.say(publish.to_string());
    }
}

fn next_of(node: &ModelNode) -> (WebSocketClient, u64) {
    let mut gateway = open(node);
    let opened = hear(&mut gateway);
    assert_eq!(opened["type"], "open_ok", "{opened}");
    let next = opened["next"].as_u64().unwrap();
    (gateway, next)
}

#[test]
fn a_link_that_moves_to_another_node_goes_on_behind_what_is_settled_and_doubles_nothing() {
    in_every_mode(|mode| {
        let one = ModelNode::start(mode, &Bounds::default());
        let other = one.beside(mode);
        let (mut gateway, next) = next_of(&one);
        assert_eq!(next, 1);
        publish(&mut gateway, 1..=3);
        for n in 1..=3 {
            assert_eq!(hear(&mut gateway), json!({"type": "pub_ack", "n": n}));
        }
        let (mut moved, next) = next_of(&other);
        assert_eq!(next, 4);
        publish(&mut moved, 4..=5);
        for n in 4..=5 {
            assert_eq!(hear(&mut moved), json!({"type": "pub_ack", "n": n}));
        }
        // The first node doesn't know that yet: what is settled is acknowledged, and stands once.
        publish(&mut gateway, 4..=6);
        for n in 4..=6 {
            assert_eq!(hear(&mut gateway), json!({"type": "pub_ack", "n": n}));
        }
        until_none("each stands once", || {
            let page = one
                .http()
                .json("GET", "/v1/rooms/tea/messages", &Value::Null);
            let messages = page.1["messages"].as_array().cloned().unwrap_or_default();
            let numbers = messages.iter().map(|one| one["data"].as_u64().unwrap());
            let is_so = numbers.eq(1..=6);
            (!is_so).then_some(messages).into_iter().collect::<Vec<_>>()
        });
    });
}

#[test]
fn a_link_opens_once_its_mark_is_read_and_nobody_else_waits_for_that() {
    in_every_mode(|mode| {
        let node = ModelNode::start(mode, &Bounds::default());
        let mut client = node.client();
        let (mut gateway, _) = next_of(&node);
        publish(&mut gateway, 1..=2);
        for n in 1..=2 {
            assert_eq!(hear(&mut gateway), json!({"type": "pub_ack", "n": n}));
        }
        node.set_away(true);
        let mut gateway = open(&node);
        publish(&mut gateway, [3]);
        client.client.say("PING");
        assert_eq!(client.client.hear_text(), "PONG");
        node.set_away(false);
        // Away for long, it comes again.
        let opened = gateway.hear_text_or_close();
        match opened.map(|text| parsed(&text)) {
            Ok(opened) => {
                assert_eq!(opened, json!({"type": "open_ok", "next": 3}));
                assert_eq!(hear(&mut gateway), json!({"type": "pub_ack", "n": 3}));
            }
            Err(code) => {
                assert_eq!(code, 1013);
                assert_eq!(next_of(&node).1, 3);
            }
        }
    });
}
