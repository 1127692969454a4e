//! Users who stay, so that it is known who is there; and one who is told who comes and goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::node::Node;
use super::support::PATIENCE;
use super::support::chat_client::ChatClient;
use super::support::random::Random;
use super::support::websocket::{Heard, WebSocketClient};

/// The room in which they are.
pub const ROOM: &str = "sit";

/// Users who stay where they are as long as they can.
#[derive(Default)]
pub struct Sitters {
    all: Vec<(String, usize, ChatClient)>,
    next: u64,
}

impl Sitters {
    /// One more user, on this node.
    pub fn add(&mut self, nodes: &[Node], node: usize) {
        let uid = format!("p{}", self.next % 7);
        self.next += 1;
        let client = login(&nodes[node], &uid);
        self.all.push((uid, node, client));
    }

    /// Some go, some come, and those whose node is gone are gone with it.
    pub fn change(&mut self, nodes: &[Node], random: &mut Random) {
        self.all.retain_mut(|(_, node, client)| {
            nodes[*node].program.is_some() && still_there(&mut client.client)
        });
        for _ in 0..random.below(3_usize) {
            if !self.all.is_empty() {
                let at = random.below(self.all.len());
                drop(self.all.swap_remove(at));
            }
        }
        while self.all.len() < 6 {
            self.add(nodes, random.below(nodes.len()));
        }
    }

    /// Those on a node go: they read nothing, so its stop would wait for them.
    pub fn leave(&mut self, node: usize) {
        self.all.retain(|(_, own, _)| *own != node);
    }

    /// Everybody goes.
    pub fn go(&mut self) {
        self.all.clear();
    }

    /// Who is there, with so many connections.
    pub fn truth(&mut self, nodes: &[Node]) -> BTreeMap<String, u64> {
        self.all.retain_mut(|(_, node, client)| {
            nodes[*node].program.is_some() && still_there(&mut client.client)
        });
        let mut truth = BTreeMap::new();
        for (uid, ..) in &self.all {
            *truth.entry(uid.clone()).or_default() += 1;
        }
        truth
    }

    /// Waits until every node says what is so; gives how long that took.
    #[track_caller]
    pub fn until_true(&mut self, nodes: &[Node], bound: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let truth = self.truth(nodes);
            let there = nodes.iter().filter(|node| node.program.is_some());
            let said: Vec<_> = there.map(|node| (&node.name, node.members(ROOM))).collect();
            if said
                .iter()
                .all(|(_, members)| members.as_ref() == Some(&truth))
            {
                return began.elapsed();
            }
            let took = began.elapsed();
            assert!(
                took < bound,
                "{took:?}: so it is: {truth:?}; so they say: {said:#?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether the connection is open, as far as it has been heard.
fn still_there(client: &mut WebSocketClient) -> bool {
    loop {
        match client.hear_within(Duration::from_millis(1)) {
            None => return true,
            Some(Heard::Close(_) | Heard::Cut) => return false,
            Some(_) => {}
        }
    }
}

/// A login, as often as it is refused for now.
fn login(node: &Node, uid: &str) -> ChatClient {
    let began = Instant::now();
    loop {
        if let Ok(client) = WebSocketClient::try_connect(node.address(), "/ws") {
            let mut client = ChatClient::on(client);
            let answer = client.ask(json!({"type": "login", "uid": uid, "rooms": [ROOM]}));
            if answer["type"] == "ok" {
                return client;
            }
            assert_eq!(answer["retry"], true, "{answer}");
        }
        assert!(began.elapsed() < PATIENCE, "{} takes no login", node.name);
    }
}
