//! What a message costs on its way through the whole chat, read off the server's own counters.
#![cfg(feature = "cli")]

mod program;

use std::net::TcpStream;
use std::time::Instant;

use program::{Client, Http, PATIENCE, Program};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const REACTORS: u64 = 2;

/// Two reactors; nobody is pinged or told who comes: that would be frames too.
fn serve(flags: &[&str]) -> Program {
    let both = ["--reactors", "2", "--workers", "2"];
    let quiet = ["--ping-ms", "0", "--set", "chat.presence_users_max=0"];
    Program::serve(&[&both[..], &quiet, flags].concat())
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A member of `tea` that has its answer.
fn member(mut client: Client) -> Client {
    assert_eq!(parsed(&client.hear())["type"], "hello");
    assert_eq!(parsed(&client.hear())["type"], "ok");
    client
}

fn members(server: &Program, count: usize) -> Vec<Client> {
    let path = |number| format!("/ws?uid=u{number}&room=tea");
    let members = (0..count).map(|number| member(server.websocket(&path(number))));
    members.collect()
}

/// Passes over everything up to the message with this data.
fn hear_until(client: &mut Client, data: u64) {
    while parsed(&client.hear())["data"] != data {}
}

fn stats(http: &mut Http) -> Value {
    parsed(&http.ask("GET", "/v1/stats", "").unwrap().body)
}

/// Asks for the numbers until they are so.
fn until(http: &mut Http, is_so: impl Fn(&Value) -> bool) -> Value {
    let late = Instant::now() + PATIENCE;
    loop {
        let stats = stats(http);
        if is_so(&stats) {
            return stats;
        }
        assert!(Instant::now() < late, "{stats}");
    }
}

/// Waits until all hear the room, their own line and `*`: their answers came before that.
fn joined(http: &mut Http, count: usize) -> Value {
    until(http, |stats| stats["totals"]["subscriptions"] == 3 * count)
}

fn say(client: &mut Client, data: u64) {
    let say = json!({"type": "say", "to": {"room": "tea"}, "data": data});
    client.say(say.to_string());
}

fn post(http: &mut Http, data: &Value) {
    let body = json!({"to": {"room": "tea"}, "data": data}).to_string();
    let size = body.len();
    http.send(&format!(
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {size}\r\n\r\n{body}"
    ))
    .unwrap();
    assert_eq!(http.answer().unwrap().status, 200);
}

/// How much the reactors had to do for what `say` says to a room of `count`: commands carried out,
/// and runs of frames given to members.
fn cost(count: usize, say: impl FnOnce(&mut Client, &mut Http, u64)) -> (u64, u64) {
    const LAST: u64 = 99;
    let server = serve(&[]);
    let mut members = members(&server, count);
    let mut http = server.http();
    let before = joined(&mut http, count);
    let (first, _) = members.split_first_mut().unwrap();
    say(first, &mut http, LAST);
    for member in &mut members {
        hear_until(member, LAST);
    }
    let after = stats(&mut http);
    let grown = |name: &str| {
        let of = |stats: &Value| stats["totals"][name].as_u64().unwrap();
        of(&after) - of(&before)
    };
    // The answer with the numbers of before was a command itself.
    (grown("commands") - 1, grown("deliveries"))
}

#[test]
fn a_say_is_one_command_a_reactor_however_many_hear_it() {
    for count in [2, 40] {
        let (commands, _) = cost(count, |first, _, last| {
            for number in 0..=last {
                say(first, number);
            }
        });
        assert_eq!(commands, 100 * REACTORS, "{count} members");
    }
}

#[test]
fn a_post_is_one_command_a_reactor_and_its_answer() {
    for count in [2, 40] {
        let (commands, deliveries) = cost(count, |_, http, last| {
            for number in 0..=last {
                post(http, &number.into());
            }
        });
        assert_eq!(commands, 100 * (REACTORS + 1), "{count} members");
        assert_eq!(deliveries, 100 * count as u64);
    }
}

/// A socket that takes next to nothing until it is read from.
fn narrow(server: &Program, number: usize) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let url = format!("ws://{}/ws?uid=u{number}&room=tea", server.address);
    let (socket, _) = tungstenite::client(url, stream).unwrap();
    Client { socket }
}

#[test]
fn a_message_is_encoded_once_for_the_members_of_all_reactors() {
    const MEMBERS: usize = 20;
    // More than the kernel takes for somebody who doesn't read.
    const SIZE: usize = 6_000_000;
    let server = serve(&[
        "--set",
        "websocket.message_size_max=8000000",
        "--set",
        "http.body_size_max=8000000",
    ]);
    let members = (0..MEMBERS).map(|number| member(narrow(&server, number)));
    let members: Vec<Client> = members.collect();
    let mut http = server.http();
    joined(&mut http, MEMBERS);
    post(&mut http, &"x".repeat(SIZE).into());
    let stats = until(&mut http, |stats| stats["totals"]["backlogged"] == MEMBERS);
    // What waits for many counts once: one frame a reactor would be twice as much.
    let waiting = stats["outbox_bytes"].as_u64().unwrap() as usize;
    assert!(
        (SIZE..SIZE + 1_000).contains(&waiting),
        "{waiting} bytes wait"
    );
    drop(members);
}
