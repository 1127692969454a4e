//! A gateway whose link moves from node to node.

use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::number_in_env;
use super::support::program::Program;
use super::support::proxy::{Proxy, Target};
use super::support::wait::until;
use super::world::{Setup, World};

const KEY: &str = "a-link-key-of-the-tests";

/// Messages for each place of the link.
const MESSAGES: u64 = 200;

fn gateway(folder: &std::path::Path, proxy: &Proxy) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command
        .args(["gateway", "--listen", "127.0.0.1:0", "--name", "gw-1"])
        .args(["--set", "gateway.ping_ms=100"])
        .args(["--set", "gateway.silence_ms_max=700"])
        .args(["--set", "gateway.retry_ms_min=50"])
        .args(["--set", "gateway.retry_ms_max=400"])
        .arg("--data")
        .arg(folder)
        .args(["--upstream", &format!("ws://{}/link", proxy.address)])
        .env("TIDINGS_GATEWAY_LINK_KEY", KEY);
    Program::start(&mut command)
}

#[test]
fn a_link_that_moves_to_another_node_each_second_loses_and_doubles_nothing() {
    let setup = Setup::synced().with(&format!("uplink.key={KEY}"));
    if !setup.is_possible() {
        return;
    }
    let moves = 3 * number_in_env("TIDINGS_CLUSTER_ROUNDS").unwrap_or(1);
    let mut world = World::new(&setup);
    let nodes = world.nodes.len() as u64;
    let place = |number: u64| Target::Tcp(world.nodes[(number % nodes) as usize].address());
    let proxy = Proxy::to(place(0));
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), &proxy);
    for number in 0..moves * MESSAGES {
        let message = json!({
            "to": {"room": format!("r{}", number % 3)},
            "from": "gw",
            "id": format!("gw-{number}"),
            "data": {"by": "gw", "n": number},
        });
        let (status, answer) = gateway.http().json("POST", "/v1/messages", &message);
        assert_eq!(status, 202, "{answer}");
        if number % MESSAGES == MESSAGES - 1 {
            proxy.lead_to(place(number / MESSAGES + 1));
            thread::sleep(Duration::from_millis(300));
        }
    }
    let rooms: Vec<String> = (0..3).map(|number| format!("r{number}")).collect();
    let last = &world.nodes[0];
    until("everything has come", || {
        let history = last.history(&rooms);
        let come: usize = history.values().map(|channel| channel.ids.len()).sum();
        come as u64 >= moves * MESSAGES
    });
    for (number, (name, channel)) in last.history(&rooms).into_iter().enumerate() {
        let ids: Vec<String> = channel.ids.into_values().map(|entry| entry.id).collect();
        let all = (0..moves * MESSAGES).skip(number).step_by(3);
        let all: Vec<String> = all.map(|number| format!("gw-{number}")).collect();
        assert_eq!(ids, all, "{name}: each once, in order");
    }
    let (_, stats) = gateway.http().json("GET", "/v1/stats", &Value::Null);
    println!(
        "{moves} moves, {} messages: {}",
        moves * MESSAGES,
        stats["outbox"]
    );
    gateway.stop();
    world.nodes.iter_mut().for_each(super::node::Node::stop);
}
