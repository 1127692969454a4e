//! What there is little of in a cluster is dealt in shares: ids that are remembered, to senders; requests of a
//! key, to nodes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::Node;
use super::support::chat_client::ChatClient;
use super::support::http::HttpClient;
use super::support::wait::until;
use super::support::websocket::WebSocketClient;
use super::world::{Setup, World};

fn two(settings: [&str; 2]) -> Option<World> {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    let setup = settings.into_iter().fold(setup, Setup::with);
    setup.is_possible().then(|| World::new(&setup))
}

/// A user with messages, each under an id of its own.
struct Sender {
    client: ChatClient,
    uid: &'static str,
    said: usize,
}

impl Sender {
    fn on(node: &Node, uid: &'static str) -> Self {
        let client = WebSocketClient::connect(node.address(), "/ws");
        let login = json!({"uid": uid, "rooms": ["tea"]});
        Self {
            client: ChatClient::login_with(client, login).0,
            uid,
            said: 0,
        }
    }

    fn say(&mut self, id: &str) -> Value {
        let say = json!({"type": "say", "to": {"room": "tea"}, "data": {}, "id": id});
        self.client.ask(say)
    }

    /// Says messages until one is refused; gives how many were taken, and the code.
    fn say_all(&mut self) -> (usize, String) {
        for taken in 0..100 {
            self.said += 1;
            let answer = self.say(&format!("{}-{}", self.uid, self.said));
            if answer["type"] != "ok" {
                assert_eq!(answer["retry"], true, "{answer}");
                return (taken, answer["code"].as_str().unwrap().to_owned());
            }
        }
        panic!("nothing is refused");
    }
}

#[test]
fn who_has_its_share_of_the_last_ids_is_refused_on_every_node_and_nobody_else() {
    let Some(world) = two(["cluster.ids_max=60", "cluster.ids_per_sender_max=4"]) else {
        return;
    };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let mut ann = Sender::on(a, "ann");
    let (taken, code) = ann.say_all();
    assert_eq!(code, "rate_limited");
    assert!((4..=49).contains(&taken), "{taken}");
    let mut ann_there = Sender::on(b, "ann");
    ann_there.said = 1_000;
    assert_eq!(ann_there.say_all(), (0, "rate_limited".to_owned()));
    assert_eq!(ann.say("ann-1")["duplicate"], true);
    let without = json!({"type": "say", "to": {"room": "tea"}, "data": {}});
    ann.client.ok(without);
    let bob = Sender::on(b, "bob").say_all();
    assert_eq!(bob, (4, "rate_limited".to_owned()), "a share of his own");
    // Whatever is left: the share of another one, and then nobody has any.
    let mut others = ["cid", "dee", "eve"].map(|uid| Sender::on(a, uid).say_all());
    let last = others.iter_mut().find(|(_, code)| code == "unavailable");
    assert!(last.is_some(), "{others:?}");
    let (_, stats) = a.ask("GET", "/v1/stats", &Value::Null);
    let refused = |name: &str| stats["cluster"][name].as_u64().unwrap_or_default();
    assert!(
        refused("ids_refused_share") > 0 && refused("ids_refused") > 0,
        "{stats}"
    );
}

/// Requests that a node answers and refuses within `time`, and how long that was.
fn let_through(node: &Node, time: Duration) -> (f64, f64, f64) {
    let mut http = HttpClient::connect(node.address());
    let (began, mut count, mut refused) = (Instant::now(), 0.0, 0.0);
    while began.elapsed() < time {
        match http.ask("GET", "/v1/users/nobody", "") {
            Ok(answer) if answer.status == 200 => count += 1.0,
            Ok(_) => refused += 1.0,
            Err(_) => http = HttpClient::connect(node.address()),
        }
    }
    (count, refused, began.elapsed().as_secs_f64())
}

#[test]
fn each_node_lets_its_share_of_a_keys_requests_through_and_all_of_it_once_it_is_alone() {
    let limits = [
        "limits.requests_per_s_max=100",
        "limits.requests_burst_max=100",
    ];
    let Some(mut world) = two(limits) else { return };
    let window = Duration::from_millis(500);
    for node in &world.nodes {
        // At first there is the burst of a node that knows of no other.
        until("it lets its share through", || {
            let (count, refused, time) = let_through(node, window);
            refused > 0.0 && count <= 50.0 * time + 5.0
        });
    }
    world.nodes[1].kill();
    until("it lets all of them through", || {
        let (count, _, time) = let_through(&world.nodes[0], window);
        count >= 90.0 * time
    });
}
