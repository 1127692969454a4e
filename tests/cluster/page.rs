//! The commands of `docs/cluster.md` and of the README: whoever types them has three nodes, and the chat page on
//! each.

use std::process::Command;

use serde_json::json;

use super::support::http::HttpClient;
use super::support::installed::is_there;
use super::support::port::OwnPort;
use super::support::program::Program;
use super::support::redis_server::RedisServer;

const PAGE: &str = include_str!("../../docs/cluster.md");
const README: &str = include_str!("../../README.md");

/// The commands of the first block of a page that has a line with this word in it.
fn commands(page: &'static str, word: &str) -> Vec<&'static str> {
    let mut blocks = page.split("```sh\n").skip(1);
    let block = blocks.find_map(|rest| {
        let block = rest.split("```").next()?;
        block.contains(word).then_some(block)
    });
    block.expect("a block").lines().collect()
}

/// Runs the commands, with another Redis and free ports, and says what was posted on the first node to each.
fn run(commands: &[&str], redis: &RedisServer) {
    let ports: Vec<OwnPort> = commands.iter().map(|_| OwnPort::new()).collect();
    let start = |(line, port): (&&str, &OwnPort)| {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..2], ["tidings", "serve"], "{line}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        let listen = port.address.to_string();
        let url = redis.url();
        let mut before = "";
        for word in &words[1..] {
            command.arg(match before {
                "--listen" => &*listen,
                "--cluster" => &*url,
                _ => word,
            });
            before = word;
        }
        Program::start(&mut command)
    };
    let nodes: Vec<Program> = commands.iter().zip(&ports).map(start).collect();
    let message = json!({"to": {"room": "lobby"}, "data": {"text": "hello"}});
    let posted = nodes[0].http().json("POST", "/v1/messages", &message);
    assert_eq!(posted.0, 200, "{}", posted.1);
    for node in &nodes {
        let page = HttpClient::connect(node.address).get("/");
        assert!(page.status == 200 && page.body.contains("<html"));
        let history = node
            .http()
            .json("GET", "/v1/rooms/lobby/messages", &json!(null));
        assert_eq!(history.1["messages"][0]["data"]["text"], "hello");
    }
    for node in nodes {
        node.stop();
    }
}

#[test]
fn the_commands_of_the_page_and_of_the_readme_make_three_nodes_with_a_page_each() {
    if !is_there("redis-server") {
        return;
    }
    let of_page = commands(PAGE, "tidings serve --cluster");
    let (redis, nodes) = of_page.split_first().expect("commands");
    let flags: Vec<&str> = redis.split(' ').skip(1).collect();
    run(nodes, &RedisServer::on_socket(&flags));
    let of_readme = commands(README, "tidings serve --cluster");
    assert_eq!(of_readme, nodes);
}
