//! What any node answers about what is on another one: users, rooms, connections, nodes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::Node;
use super::support::chat_client::ChatClient;
use super::support::wait::until;
use super::support::websocket::WebSocketClient;
use super::world::{Setup, World};

/// What a machine adds that is busy with other tests.
const BUSY: Duration = Duration::from_secs(3);

/// Two nodes around a Redis; `None` where there is no Redis.
fn two(settings: &[&str]) -> Option<World> {
    let setup = Setup {
        nodes: 2,
        settings: settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect(),
        ..Setup::synced()
    };
    setup.is_possible().then(|| World::new(&setup))
}

#[track_caller]
fn login(node: &Node, uid: &str, rooms: &[&str]) -> ChatClient {
    let client = WebSocketClient::connect(node.address(), "/ws");
    ChatClient::login_with(client, json!({"uid": uid, "rooms": rooms})).0
}

/// The JSON of an answer with this status.
#[track_caller]
fn ask(node: &Node, method: &str, path: &str, body: Value, status: u16) -> Value {
    let (got, answer) = node.ask(method, path, &body);
    assert_eq!(got, status, "{method} {path}: {answer}");
    answer
}

/// The next frame that tells who comes or goes.
#[track_caller]
fn presence(client: &mut ChatClient) -> (String, String) {
    loop {
        let frame = client.next();
        let kind = frame["type"].as_str().unwrap_or_default().to_owned();
        if kind == "joined" || kind == "left" {
            return (kind, frame["uid"].as_str().unwrap().to_owned());
        }
    }
}

fn is_online(node: &Node, uid: &str) -> bool {
    let user = ask(node, "GET", &format!("/v1/users/{uid}"), Value::Null, 200);
    user["online"] == true
}

#[test]
fn rooms_are_told_who_comes_and_goes_on_any_node_and_a_move_is_neither() {
    let Some(world) = two(&["chat.left_ms=1000"]) else {
        return;
    };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let mut ann = login(a, "ann", &["lobby"]);
    let bob = login(b, "bob", &["lobby"]);
    let told = |kind: &str, uid: &str| (kind.to_owned(), uid.to_owned());
    assert_eq!(presence(&mut ann), told("joined", "bob"));
    drop(bob);
    until("bob has gone from b", || !is_online(a, "bob"));
    let bob = login(a, "bob", &["lobby"]);
    let _cid = login(b, "cid", &["lobby"]);
    assert_eq!(presence(&mut ann), told("joined", "cid"), "bob only moved");
    drop(bob);
    assert_eq!(presence(&mut ann), told("left", "bob"));
}

#[test]
fn who_is_still_there_when_redis_was_emptied_is_not_told_to_have_come_again() {
    let Some(mut world) = two(&[]) else { return };
    let [mut ann, bob] =
        [("ann", 0), ("bob", 1)].map(|(uid, node)| login(&world.nodes[node], uid, &["lobby"]));
    let told = |kind: &str, uid: &str| (kind.to_owned(), uid.to_owned());
    assert_eq!(presence(&mut ann), told("joined", "bob"));
    let all_know = |world: &World, uids: &[&str]| {
        let mut nodes = world.nodes.iter();
        nodes.all(|node| {
            node.members("lobby")
                .is_some_and(|there| there.keys().eq(uids))
        })
    };
    until("both are known", || all_know(&world, &["ann", "bob"]));
    let mut redis = world.redis().connection();
    redis::cmd("FLUSHALL").exec(&mut redis).unwrap();
    until("the nodes are there again", || {
        let nodes: u64 = redis::cmd("HLEN")
            .arg("tidings:nodes")
            .query(&mut redis)
            .unwrap();
        nodes == 2
    });
    until("both are known again", || all_know(&world, &["ann", "bob"]));
    until("the room is heard again", || {
        let routes: u64 = redis::cmd("HLEN")
            .arg("tidings:r:lobby")
            .query(&mut redis)
            .unwrap();
        routes == 2
    });
    let _cid = login(&world.nodes[1], "cid", &["lobby"]);
    assert_eq!(presence(&mut ann), told("joined", "cid"));
    drop(bob);
    assert_eq!(presence(&mut ann), told("left", "bob"));
}

#[test]
fn any_node_answers_who_is_where() {
    let Some(world) = two(&[]) else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let mut ann = login(a, "ann", &["lobby"]);
    let bob = login(b, "bob", &["lobby", "tea"]);
    until("the rows are written", || {
        let members = |room| a.members(room).unwrap_or_default().len();
        (members("lobby"), members("tea")) == (2, 1) && is_online(b, "ann")
    });
    let who = ann.ok_keeping(json!({"type": "who", "room": "lobby"}));
    assert_eq!(who["users"], json!(["ann", "bob"]));
    assert_eq!(
        (&who["users_total"], &who["connections"]),
        (&json!(2), &json!(2))
    );
    let online = ann.ok_keeping(json!({"type": "online", "users": ["bob", "cid"]}));
    assert_eq!(online["online"], json!({"bob": true, "cid": false}));
    let user = ask(a, "GET", "/v1/users/bob", Value::Null, 200);
    assert_eq!(user["connections"], json!([bob.fd()]));
    assert_eq!(user["rooms"], json!(["lobby", "tea"]));
    let rooms = ask(a, "GET", "/v1/rooms", Value::Null, 200);
    let room = |name: &str| {
        let mut rooms = rooms["rooms"].as_array().unwrap().iter();
        let room = rooms.find(|room| room["room"] == name).unwrap();
        (room["users"].clone(), room["connections"].clone())
    };
    assert_eq!(room("lobby"), (json!(2), json!(2)), "{rooms}");
    assert_eq!(room("tea"), (json!(1), json!(1)), "{rooms}");
    let tea = ask(a, "GET", "/v1/rooms/tea", Value::Null, 200);
    assert_eq!(tea["users"], 1);
    let nodes = ask(a, "GET", "/v1/nodes", Value::Null, 200);
    let nodes = nodes["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    for node in nodes {
        assert_eq!(
            (&node["state"], &node["settings_agree"]),
            (&json!("ready"), &json!(true))
        );
    }
    assert_eq!(nodes.iter().filter(|node| node["own"] == true).count(), 1);
}

#[test]
fn any_node_reaches_a_connection_of_another_one() {
    let Some(world) = two(&[]) else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let mut bob = login(b, "bob", &["lobby"]);
    let fd = bob.fd();
    let path = |end: &str| format!("/v1/connections/{fd}{end}");
    let shown = ask(a, "GET", &path(""), Value::Null, 200);
    assert_eq!(
        (&shown["uid"], &shown["rooms"]),
        (&json!("bob"), &json!(["lobby"]))
    );
    ask(a, "PUT", &path("/session"), json!({"cart": 7}), 200);
    assert_eq!(
        ask(b, "GET", &path("/session"), Value::Null, 200)["session"],
        json!({"cart": 7})
    );
    assert_eq!(
        ask(a, "GET", &path("/session"), Value::Null, 200)["session"],
        json!({"cart": 7})
    );
    let message = json!({"to": {"fd": fd}, "data": "psst"});
    let sent = ask(a, "POST", "/v1/messages", message, 200);
    assert!(sent["results"][0]["id"].is_string(), "{sent}");
    assert_eq!(bob.hear()["data"], "psst");
    let there = format!("/v1/connections?node={}", b.name);
    let listed = ask(a, "GET", &there, Value::Null, 200);
    assert!(
        listed["connections"]
            .as_array()
            .unwrap()
            .contains(&json!(fd)),
        "{listed}"
    );
    ask(a, "GET", "/v1/connections?node=nobody", Value::Null, 404);
    let unknown = json!({"to": {"fd": 64}, "data": "psst"});
    ask(a, "POST", "/v1/messages", unknown, 404);

    ask(a, "DELETE", &path("/user"), Value::Null, 200);
    ask(a, "PUT", &path("/user"), json!({"uid": "cid"}), 200);
    until("cid is there", || is_online(a, "cid"));
    assert_eq!(
        ask(
            a,
            "POST",
            "/v1/users/cid/kick",
            json!({"code": "late"}),
            200
        )["kicked"],
        1
    );
    let kick = bob.hear();
    assert_eq!(
        (&kick["type"], &kick["code"]),
        (&json!("kick"), &json!("late"))
    );
    assert_eq!(bob.hear_or_close(), Err(4004));
    until("it is gone", || {
        a.ask("GET", &path(""), &Value::Null).0 == 404
    });
}

#[test]
fn the_connections_of_a_user_come_in_the_order_of_their_logins_on_whatever_node() {
    let Some(world) = two(&[]) else { return };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let mut clients: Vec<ChatClient> = Vec::new();
    for node in [b, a, b, a] {
        // One a millisecond, as the time of a login is told.
        std::thread::sleep(Duration::from_millis(2));
        clients.push(login(node, "ann", &[]));
    }
    let fds: Vec<u64> = clients.iter().map(ChatClient::fd).collect();
    for node in [a, b] {
        let mut shown = Value::Null;
        until("all are known", || {
            shown = ask(node, "GET", "/v1/users/ann", Value::Null, 200)["connections"].clone();
            shown.as_array().unwrap().len() == fds.len()
        });
        assert_eq!(shown, json!(fds), "{}", node.name);
    }
}

#[test]
fn the_oldest_connection_of_a_user_gives_way_on_whatever_node_it_is() {
    let Some(world) = two(&["chat.connections_per_user_max=1"]) else {
        return;
    };
    let [a, b] = [&world.nodes[0], &world.nodes[1]];
    let mut first = login(a, "ann", &[]);
    let _second = login(b, "ann", &[]);
    assert_eq!(first.hear()["code"], "replaced");
    assert_eq!(first.hear_or_close(), Err(4003));
}

#[test]
fn ghosts_of_a_killed_node_are_gone_within_its_lease_and_its_restart_is_right_at_once() {
    let settings = ["cluster.lease_ms=2000", "chat.left_ms=1000"];
    let Some(mut world) = two(&settings) else {
        return;
    };
    let mut ann = login(&world.nodes[0], "ann", &["lobby"]);
    let bob = login(&world.nodes[1], "bob", &["lobby"]);
    assert_eq!(presence(&mut ann).0, "joined");
    until("bob is known", || is_online(&world.nodes[0], "bob"));
    world.nodes[1].kill();
    drop(bob);
    let killed = Instant::now();
    until("his ghost is gone", || !is_online(&world.nodes[0], "bob"));
    assert!(
        killed.elapsed() <= Duration::from_millis(3_000) + BUSY,
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(presence(&mut ann), ("left".to_owned(), "bob".to_owned()));
    assert!(
        killed.elapsed() <= Duration::from_millis(4_000) + BUSY,
        "{:?}",
        killed.elapsed()
    );

    world.nodes[1].start();
    let bob = login(&world.nodes[1], "bob", &["lobby"]);
    assert_eq!(presence(&mut ann).0, "joined");
    until("bob is known", || is_online(&world.nodes[0], "bob"));
    world.nodes[1].kill();
    drop(bob);
    world.nodes[1].start();
    let again = Instant::now();
    until("his ghost is gone", || !is_online(&world.nodes[0], "bob"));
    assert!(
        again.elapsed() <= Duration::from_secs(1) + BUSY,
        "{:?}",
        again.elapsed()
    );
    assert_eq!(presence(&mut ann).0, "left");
}
