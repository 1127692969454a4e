//! `tidings cluster`, as somebody at a terminal meets it.

use std::process::Command;

use serde_json::json;

use super::node::Node;
use super::support::redis_server::RedisServer;
use super::support::wait::until;
use super::world::{SYNCED, Setup, World};

/// Whether a command succeeds, and what it says.
fn tidings(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .output()
        .expect("tidings runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (output.status.success(), text)
}

fn url_of(node: &Node) -> String {
    format!("http://{}", node.address())
}

/// The names of all keys.
fn keys(redis: &RedisServer) -> Vec<String> {
    let mut connection = redis.connection();
    let keys: Result<Vec<String>, _> = redis::cmd("KEYS").arg("*").query(&mut connection);
    keys.expect("keys")
}

#[test]
fn check_says_what_a_redis_lacks_and_leaves_nothing_behind() {
    if !Setup::synced().is_possible() {
        return;
    }
    let redis = RedisServer::on_socket(&SYNCED);
    let url = redis.url();
    let (is_right, said) = tidings(&["cluster", "check", "--cluster", &url]);
    assert!(is_right, "{said}");
    for word in [
        "round trip: ",
        "a message stored: ",
        "memory: ",
        "clock: ",
        "all is right",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(keys(&redis), [""; 0]);
    redis.set("appendfsync", "everysec");
    let (is_right, said) = tidings(&["cluster", "check", "--cluster", &url]);
    let what = "appendfsync is everysec, but has to be always";
    assert!(!is_right && said.contains(what), "{said}");
    let fast = [
        "cluster",
        "check",
        "--cluster",
        &url,
        "--set",
        "cluster.promise=fast",
    ];
    let (is_right, said) = tidings(&fast);
    assert!(is_right, "{said}");
    assert_eq!(keys(&redis), [""; 0]);
    let (is_right, said) = tidings(&["cluster", "check", "--cluster", "redis+unix:///nowhere"]);
    assert!(!is_right && said.contains("/nowhere"), "{said}");
}

#[test]
fn nodes_are_listed_and_one_is_drained_by_its_name() {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    if !setup.is_possible() {
        return;
    }
    let world = World::new(&setup);
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let listed = || tidings(&["cluster", "nodes", "--url", &url_of(b)]).1;
    until("both are listed as ready", || {
        let said = listed();
        let ready = said.lines().filter(|line| line.contains("ready"));
        ready.count() == 2 && said.contains(&a.name) && said.contains(&b.name)
    });
    let order = [
        "cluster",
        "drain",
        &a.name,
        "--within-ms",
        "100",
        "--url",
        &url_of(b),
    ];
    let (is_done, said) = tidings(&order);
    assert!(is_done && said.contains("drains"), "{said}");
    until("it is listed as draining", || {
        let said = listed();
        let mut lines = said.lines();
        lines.any(|line| line.starts_with(&a.name) && line.contains("draining"))
    });
    let (is_done, said) = tidings(&["cluster", "drain", "nobody", "--url", &url_of(b)]);
    assert!(!is_done && said.contains("nobody"), "{said}");
}

#[test]
fn renew_begins_a_new_epoch_of_every_channel_and_keeps_the_messages() {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    if !setup.is_possible() {
        return;
    }
    let mut world = World::new(&setup);
    let url = world.redis().url();
    let message = json!({"to": {"room": "lobby"}, "data": {}});
    let post = |world: &World| {
        let (status, answer) = world.nodes[0].ask("POST", "/v1/messages", &message);
        assert_eq!(status, 200, "{answer}");
        answer["results"][0].clone()
    };
    let before = post(&world);
    let (is_done, said) = tidings(&["cluster", "renew", "--cluster", &url]);
    assert!(is_done, "{said}");
    let after = post(&world);
    assert_ne!(before["epoch"], after["epoch"]);
    assert_eq!(
        (&before["offset"], &after["offset"]),
        (&json!(1), &json!(2))
    );
    let path = "/v1/rooms/lobby/messages";
    until(
        "the other node has both messages under the new epoch",
        || {
            let page = world.nodes[1].try_ask("GET", path, &json!(null));
            page.is_some_and(|(_, page)| {
                let count = page["messages"].as_array().map_or(0, Vec::len);
                page["epoch"] == after["epoch"] && count == 2
            })
        },
    );
}
