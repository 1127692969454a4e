//! What is answered while another node is silent, or Redis is away.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::node::Node;
use super::support::chat_client::ChatClient;
use super::support::http::HttpClient;
use super::support::wait::until;
use super::support::websocket::WebSocketClient;
use super::world::{Setup, World};

fn two(settings: &[&str]) -> Option<World> {
    let setup = Setup {
        nodes: 2,
        ..Setup::synced()
    };
    let setup = settings.iter().fold(setup, |setup, one| setup.with(one));
    setup.is_possible().then(|| World::new(&setup))
}

fn login(node: &Node, uid: &str) -> ChatClient {
    let client = WebSocketClient::connect(node.address(), "/ws");
    ChatClient::login_with(client, json!({"uid": uid, "rooms": ["lobby"]})).0
}

#[test]
fn what_a_silent_node_has_to_answer_is_503_in_time_and_404_once_it_is_taken_for_dead() {
    let settings = ["cluster.lease_ms=4000", "cluster.request_ms_max=500"];
    let Some(world) = two(&settings) else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let bob = login(b, "bob");
    let path = format!("/v1/connections/{}", bob.fd());
    let ask = || HttpClient::connect(a.address()).json("GET", &path, &Value::Null);
    assert_eq!(ask().0, 200);
    b.signal(Signal::STOP);
    let began = Instant::now();
    let (status, answer) = ask();
    let took = began.elapsed();
    b.signal(Signal::CONT);
    assert_eq!(
        (status, &answer["error"]["code"]),
        (503, &json!("unavailable"))
    );
    assert!(
        (Duration::from_millis(450)..Duration::from_millis(2_500)).contains(&took),
        "{took:?}"
    );
    until("it answers again", || ask().0 == 200);
    b.signal(Signal::STOP);
    until("it is taken for dead", || ask().0 == 404);
    b.signal(Signal::CONT);
}

#[test]
fn a_connection_is_closed_and_its_user_kicked_at_once_while_redis_is_away() {
    let Some(mut world) = two(&["cluster.answer_ms_max=20000"]) else {
        return;
    };
    let mut clients = ["ann", "bob"].map(|uid| login(&world.nodes[0], uid));
    let address = world.nodes[0].address();
    world.redis().kill();
    // Somebody waits for the log, and everything that is given to it waits behind.
    let waiting = thread::spawn(move || {
        let message = json!({"to": {"room": "lobby"}, "data": {}, "id": "waits"});
        HttpClient::connect(address)
            .json("POST", "/v1/messages", &message)
            .0
    });
    until("it is known to be away", || {
        let ready = HttpClient::connect(address).get("/readyz");
        ready.body.contains("the log is out of reach")
    });
    let [ann, bob] = &mut clients;
    let closing = format!("/v1/connections/{}", ann.fd());
    let began = Instant::now();
    let closed = HttpClient::connect(address).json("DELETE", &closing, &Value::Null);
    assert_eq!(closed, (200, json!({"closed": true})));
    let unbinding = format!("/v1/connections/{}/user", bob.fd());
    let unbound = HttpClient::connect(address).json("DELETE", &unbinding, &Value::Null);
    assert_eq!(unbound.0, 200, "{}", unbound.1);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(ann.hear()["type"], "kick");
    assert_eq!(ann.hear_or_close(), Err(4004));
    assert!(!waiting.is_finished(), "the log isn't waited for");
    world.redis().start();
    assert_eq!(
        waiting.join().unwrap(),
        200,
        "it was taken once it was back"
    );
}
