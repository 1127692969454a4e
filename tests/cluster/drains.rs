//! A node that is drained: its clients are told, and go one after the other; nobody else is let in; the
//! others go on as before.

use std::time::{Duration, Instant};

use serde_json::json;

use super::record::Epochs;
use super::rounds::Rehearsal;
use super::support::chat_client::ChatClient;
use super::support::http::HttpClient;
use super::support::proxy::{Way, Which};
use super::support::wait::until;
use super::support::websocket::WebSocketClient;
use super::world::{Setup, World};

/// Clients on the node that is drained.
const CLIENTS: usize = 20;

/// Time over which their closes are spread.
const WITHIN_MS: u64 = 1_000;

#[test]
fn a_drained_node_sends_its_clients_away_one_after_the_other_and_takes_no_more() {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    if !setup.is_possible() {
        return;
    }
    let world = World::new(&setup);
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let clients = (0..CLIENTS).map(|number| {
        let client = WebSocketClient::connect(a.address(), "/ws");
        let uid = format!("u{number}");
        ChatClient::login_with(client, json!({"uid": uid, "rooms": ["lobby"]})).0
    });
    let clients: Vec<ChatClient> = clients.collect();
    // Any node can be asked.
    let path = format!("/v1/nodes/{}/drain", a.name);
    let began = Instant::now();
    let (status, answer) = b.ask("POST", &path, &json!({"within_ms": WITHIN_MS}));
    assert_eq!(status, 200, "{answer}");
    for mut client in clients {
        let mut is_told = false;
        loop {
            match client.hear_or_close() {
                Ok(frame) if frame["type"] == "drain" => is_told = true,
                Ok(_) => {}
                Err(code) => {
                    assert!(is_told, "{code} without a word");
                    assert_eq!(code, 1001);
                    break;
                }
            }
        }
    }
    // The last share goes at the end.
    assert!(began.elapsed() >= Duration::from_millis(WITHIN_MS / 2));
    let ready = |address| HttpClient::connect(address).get("/readyz").status;
    assert_eq!((ready(a.address()), ready(b.address())), (503, 200));
    assert!(WebSocketClient::try_connect(a.address(), "/ws").is_err());
    until("the others see that it drains", || {
        let nodes = b.try_ask("GET", "/v1/nodes", &json!(null));
        nodes.is_some_and(|(_, nodes)| {
            let nodes = nodes["nodes"].as_array().cloned().unwrap_or_default();
            let states = nodes
                .iter()
                .map(|node| (node["node"].clone(), node["state"].clone()));
            states.eq([
                (json!(a.name), json!("draining")),
                (json!(b.name), json!("ready")),
            ])
        })
    });
}

#[test]
fn nodes_that_are_drained_and_restarted_in_turn_lose_nothing() {
    let rehearsal = Rehearsal {
        name: "drains in turn",
        setup: Setup::synced(),
        epochs: Epochs::Stay,
    };
    rehearsal.run(|scene| {
        for node in 0..scene.world.nodes.len() {
            let name = scene.world.nodes[node].name.clone();
            let path = format!("/v1/nodes/{name}/drain");
            let (status, answer) =
                scene.world.nodes[node].ask("POST", &path, &json!({"within_ms": 300}));
            assert_eq!(status, 200, "{answer}");
            scene.place.set(node, None);
            scene.world.sitters.leave(node);
            scene.world.nodes[node].stop();
            scene.world.start(scene.place, node);
        }
    });
}

#[test]
fn a_node_that_hears_nothing_sends_its_clients_away_where_that_is_asked_for() {
    let setup = Setup {
        nodes: 2,
        ..Setup::proxied()
    };
    let setup = setup.with("cluster.deaf_ms_max=500");
    if !setup.is_possible() {
        return;
    }
    let world = World::new(&setup);
    let deaf = &world.nodes[0];
    let client = WebSocketClient::connect(deaf.address(), "/ws");
    let (mut client, _) = ChatClient::login_with(client, json!({"uid": "ann"}));
    let proxy = deaf.proxy.as_ref().expect("it has one");
    proxy.set(Which::Bus, Way::Held);
    let code = loop {
        if let Err(code) = client.hear_or_close() {
            break code;
        }
    };
    assert_eq!(code, 1001);
    let takes = || WebSocketClient::try_connect(deaf.address(), "/ws").is_ok();
    assert!(!takes());
    proxy.set(Which::Bus, Way::Open);
    until("it takes clients again", takes);
}
