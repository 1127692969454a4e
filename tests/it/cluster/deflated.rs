//! Each node compresses what it hears, once for all its own clients.

use serde_json::{Value, json};
use tidings::server::ServerSettings;

use super::{Cluster, message, say};
use crate::support::deflating_client::DeflatingClient;

/// Has a server agree on compression.
pub fn deflating(mut bounds: ServerSettings) -> ServerSettings {
    bounds.reactor.connection.deflate = true;
    bounds
}

fn user(cluster: &Cluster, node: usize, uid: &str) -> DeflatingClient {
    let address = cluster.nodes[node].served().handle.addresses()[0];
    let mut client = DeflatingClient::connect(address, "/ws");
    assert_eq!(client.notice().0["type"], "hello");
    client.say(&json!({"type": "login", "seq": 1, "uid": uid, "rooms": ["tea"]}).to_string());
    assert_eq!(client.notice().0["type"], "ok");
    client
}

#[test]
fn a_message_is_compressed_once_on_each_node_that_has_anybody_for_it() {
    let cluster = Cluster::start(3);
    let mut deflating: Vec<_> = [(0, "a"), (0, "b"), (1, "c"), (1, "d")]
        .map(|(node, uid)| user(&cluster, node, uid))
        .into();
    let mut plain = cluster.user(2, "plain", &["tea"]);
    let lines: Vec<Value> = (0..20)
        .map(|line| json!({"line": line, "text": "again"}))
        .collect();
    for number in 0..5 {
        let data = json!({"n": number, "lines": lines});
        say(&mut plain, json!({"room": "tea"}), data);
        let heard = message(&mut plain);
        for client in &mut deflating {
            let (notice, message) = client.notice();
            assert!(message.is_compressed);
            assert_eq!(notice, heard);
        }
    }
    let compressed = cluster
        .nodes
        .iter()
        .map(|node| node.served().stats().deflate.messages);
    assert_eq!(compressed.collect::<Vec<_>>(), [5, 5, 0]);
}
