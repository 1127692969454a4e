//! What stands in the store is what is so, whatever people do.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use super::engine::{serve, with_each};
use super::support::chat_client::ChatClient;
use super::support::number_in_env;
use super::support::random::Random;
use super::truth::{of_server, until_true};

const ROOMS: [&str; 4] = ["tea", "with space ", "'; --", "größe:1"];
const USERS: [&str; 4] = ["ann", "bob", "ann ", "@:\\"];

/// Does one thing of all that changes what stands there.
pub fn step(
    random: &mut Random,
    server: &super::support::program::Program,
    clients: &mut Vec<ChatClient>,
    members: &mut BTreeSet<(String, String)>,
) {
    let (uid, room) = (random.pick(&USERS), random.pick(&ROOMS));
    if clients.len() < 3 || (clients.len() < 20 && random.one_in(4)) {
        let rooms = if random.one_in(2) { vec![room] } else { vec![] };
        return clients.push(ChatClient::login(server, uid, &rooms));
    }
    let place = random.below(clients.len());
    let client = &mut clients[place];
    let fd = client.fd();
    match random.below(6_usize) {
        0 => clients.swap_remove(place).client.leave(),
        1 => _ = client.ask(json!({"type": "join", "room": room})),
        2 => _ = client.ask(json!({"type": "leave", "room": room})),
        3 => {
            let session = json!({"n": random.below(100_u64), "text": uid});
            let path = format!("/v1/connections/{fd}/session");
            let (status, answer) = server.http().json("PUT", &path, &session);
            assert_eq!(status, 200, "{answer}");
        }
        4 => {
            // Another user, or the same one anew.
            let path = format!("/v1/connections/{fd}/user");
            let mut http = server.http();
            assert_eq!(http.json("DELETE", &path, &Value::Null).0, 200);
            assert_eq!(http.json("PUT", &path, &json!({"uid": uid})).0, 200);
        }
        _ => {
            let member = (room.to_owned(), uid.to_owned());
            let method = match members.remove(&member) {
                true => "DELETE",
                false => {
                    members.insert(member);
                    "PUT"
                }
            };
            let escaped = |text: &str| {
                let bytes = text.bytes();
                bytes.map(|byte| format!("%{byte:02x}")).collect::<String>()
            };
            let path = format!("/v1/rooms/{}/members/{}", escaped(room), escaped(uid));
            let (status, answer) = server.http().json(method, &path, &Value::Null);
            assert_eq!(status, 200, "{answer}");
        }
    }
}

#[test]
fn what_stands_in_the_store_is_what_the_server_says_of_itself() {
    with_each(|engine| {
        let server = serve(engine, &[]);
        let (mut random, mut clients, mut members) = (Random::new(7), vec![], BTreeSet::new());
        for _ in 0..5 {
            for _ in 0..40 {
                step(&mut random, &server, &mut clients, &mut members);
            }
            until_true(engine, &server, &members);
        }
        drop(clients);
        let members = BTreeSet::from([("tea".to_owned(), "ann".to_owned())]);
        for uid in USERS {
            for room in ROOMS {
                let kept = (room, uid) == ("tea", "ann");
                let method = if kept { "PUT" } else { "DELETE" };
                let escaped = |text: &str| {
                    let bytes = text.bytes();
                    bytes.map(|byte| format!("%{byte:02x}")).collect::<String>()
                };
                let path = format!("/v1/rooms/{}/members/{}", escaped(room), escaped(uid));
                assert_eq!(server.http().json(method, &path, &Value::Null).0, 200);
            }
        }
        until_true(engine, &server, &members);
        let before = engine.table().standing.unwrap();
        server.stop();
        let after = engine.table();
        assert_eq!(after.standing, None, "{before:?}");
        assert_eq!(
            (engine.leftovers(), after.members),
            (0, members),
            "lasting ones last"
        );
    });
}

#[test]
fn as_many_logins_and_closes_as_there_are_leave_what_is_so_and_nothing_else() {
    let count = number_in_env("TIDINGS_BINDINGS").unwrap_or(300) as usize;
    with_each(|engine| {
        let server = serve(engine, &[]);
        let began = Instant::now();
        let mut clients: Vec<ChatClient> = Vec::new();
        for number in 0..count {
            let (uid, room) = (format!("u{}", number % 1_000), format!("r{}", number % 97));
            clients.push(ChatClient::login(&server, &uid, &[&room]));
            if clients.len() > 100 {
                let place = number * 31 % clients.len();
                clients.swap_remove(place).client.leave();
            }
        }
        let took = began.elapsed();
        let until = until_true(engine, &server, &BTreeSet::new());
        let truth = of_server(&server, &BTreeSet::new());
        assert_eq!(truth.connections.len(), clients.len());
        eprintln!("{count} logins in {took:?}; true {until:?} later");
        drop(clients);
        server.stop();
        assert_eq!(engine.leftovers(), 0);
    });
}
