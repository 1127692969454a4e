//! A back end with an API key on a WebSocket of one node, and whom it reaches on another.

use serde_json::{Value, json};

use super::node::Node;
use super::support::chat_client::ChatClient;
use super::support::websocket::WebSocketClient;
use super::world::{Setup, World};

fn two() -> Option<World> {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    setup.is_possible().then(|| World::new(&setup.keyed()))
}

/// A connection with the key.
fn back_end(node: &Node) -> ChatClient {
    let keys = node.keys.as_ref().expect("there are keys");
    let shown = format!("Bearer {}", keys.api_key);
    let fields = [("Authorization", &*shown)];
    ChatClient::on(WebSocketClient::connect_with(
        node.address(),
        "/ws",
        &fields,
    ))
}

/// The same, which speaks as a user.
#[track_caller]
fn user(node: &Node, uid: &str) -> ChatClient {
    let mut client = back_end(node);
    client.ok(json!({"type": "login", "uid": uid}));
    client
}

#[test]
fn it_reaches_a_connection_of_another_node_by_websocket() {
    let Some(world) = two() else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let (mut shop, mut bob) = (back_end(a), user(b, "bob"));
    let say = |fd: u64| json!({"type": "say", "from": "shop", "to": {"fd": fd}, "data": "psst"});
    let ok = shop.ok_keeping(say(bob.fd()));
    assert_eq!(
        (&ok["receivers"], &ok["duplicate"]),
        (&json!(1), &json!(false)),
        "{ok}"
    );
    let heard = bob.hear();
    assert_eq!(
        (&heard["data"], &heard["id"]),
        (&json!("psst"), &ok["id"]),
        "{heard}"
    );
    let unknown = shop.ask(say(64));
    assert_eq!(unknown["code"], "not_found", "{unknown}");
    // Without a number nothing is answered, and what comes then is heard.
    let mut quiet = say(bob.fd());
    quiet["data"] = "again".into();
    shop.client.say(quiet.to_string());
    assert_eq!(bob.hear()["data"], "again");
}

#[test]
fn it_is_answered_before_it_hears_its_own_copy_of_a_private_message() {
    let Some(world) = two() else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let (mut shop, mut bob) = (user(a, "shop"), user(b, "bob"));
    for number in 0..100 {
        let say = json!({
            "type": "say", "to": {"user": "bob"}, "data": {"text": number.to_string()},
        });
        let ok = shop.ok_keeping(say);
        let early: Vec<Value> = shop.take_waiting().collect();
        assert!(
            early.iter().all(|frame| frame["id"] != ok["id"]),
            "{early:?} before {ok}"
        );
        let copy = shop.hear();
        assert_eq!(
            (&copy["id"], &copy["data"]["text"]),
            (&ok["id"], &json!(number.to_string()))
        );
        assert_eq!(bob.hear()["id"], ok["id"]);
    }
}
