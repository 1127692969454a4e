//! What a message costs on its way through the whole chat, read off the server's own counters.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::http::HttpClient;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;
use crate::support::{PATIENCE, parsed};

const REACTORS: u64 = 2;

/// Two reactors; nobody is pinged or told who comes: that would be frames too.
fn serve(flags: &[&str]) -> Program {
    let both = ["--reactors", "2", "--workers", "2"];
    let quiet = ["--ping-ms", "0", "--set", "chat.presence_users_max=0"];
    Program::serve(&[&both[..], &quiet, flags].concat())
}

/// A member of `tea` that has its answer.
fn member(mut client: WebSocketClient) -> WebSocketClient {
    assert_eq!(parsed(&client.hear_text())["type"], "hello");
    assert_eq!(parsed(&client.hear_text())["type"], "ok");
    client
}

fn members(server: &Program, count: usize) -> Vec<WebSocketClient> {
    let path = |number| format!("/ws?uid=u{number}&room=tea");
    let members = (0..count).map(|number| member(server.websocket(&path(number))));
    members.collect()
}

/// Passes over everything up to the message with this data.
fn hear_until(client: &mut WebSocketClient, data: u64) {
    while parsed(&client.hear_text())["data"] != data {}
}

fn stats(http: &mut HttpClient) -> Value {
    parsed(&http.ask("GET", "/v1/stats", "").unwrap().body)
}

/// The numbers, once they are so.
fn stats_when(http: &mut HttpClient, is_so: impl Fn(&Value) -> bool) -> Value {
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
fn joined(http: &mut HttpClient, count: usize) -> Value {
    stats_when(http, |stats| stats["totals"]["subscriptions"] == 3 * count)
}

fn say(client: &mut WebSocketClient, data: u64) {
    let say = json!({"type": "say", "to": {"room": "tea"}, "data": data});
    client.say(say.to_string());
}

fn post(http: &mut HttpClient, data: &Value) {
    let body = json!({"to": {"room": "tea"}, "data": data}).to_string();
    let answer = http.ask_with_json("POST", "/v1/messages", &body);
    assert_eq!(answer.unwrap().status, 200);
}

/// How much the reactors had to do for what `say` says to a room of `count`: commands carried out,
/// and runs of frames given to members.
fn cost(count: usize, say: impl FnOnce(&mut WebSocketClient, &mut HttpClient, u64)) -> (u64, u64) {
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

/// How often a reactor was woken, has read from a socket, and has written to one.
fn calls(http: &mut HttpClient) -> [u64; 3] {
    let stats = stats(http);
    let reactors = stats["reactors"].as_array().unwrap();
    let wakes = reactors.iter().map(|row| row["wakes"].as_u64().unwrap());
    let [reads, writes] = ["reads", "writes"].map(|name| stats["totals"][name].as_u64().unwrap());
    [wakes.sum(), reads, writes]
}

#[test]
fn what_looks_into_memory_alone_wakes_nobody_and_is_one_read_and_a_write_a_hearer() {
    const TIMES: u64 = 300;
    let server = Program::serve(&["--echo", "--workers", "1", "--ping-ms", "0"]);
    let mut http = server.http();
    let mut members = members(&server, 2);
    let member = &mut members[0];
    let mut echo = server.websocket("/echo");
    let mut count = |what: &str, hearers: u64, ask: &mut dyn FnMut(u64)| {
        let before = calls(&mut http);
        (0..TIMES).for_each(ask);
        let after = calls(&mut http);
        let expected = [0, TIMES, TIMES * hearers];
        for (place, name) in ["wakes", "reads", "writes"].iter().enumerate() {
            let (grown, expected) = (after[place] - before[place], expected[place]);
            // The first may go to a worker, which has just been done with the opening.
            let most = expected + TIMES / 10;
            assert!(grown <= most, "{grown} {name} for {TIMES} times {what}");
        }
    };
    count("echo", 1, &mut |_| echo.echo("how are you"));
    let (mut prober, mut poster) = (server.http(), server.http());
    count("GET /healthz", 1, &mut |_| {
        assert_eq!(prober.get("/healthz").status, 200);
    });
    // Two members and the one who asks.
    count("POST", 3, &mut |number| post(&mut poster, &number.into()));
    count("PING", 1, &mut |_| {
        member.say("PING");
        while member.hear_text() != "PONG" {}
    });
    let mut answered = |seq: u64, command: &Value| {
        member.say(command.to_string());
        while parsed(&member.hear_text())["seq"] != seq {}
    };
    // The answer goes out with the one's own copy.
    count("say", 2, &mut |seq| {
        let say = json!({"type": "say", "seq": seq, "to": {"room": "tea"}, "data": seq});
        answered(seq, &say);
    });
    count("ack", 1, &mut |seq| {
        let ack = json!({"type": "ack", "seq": seq, "channel": "tea", "offset": seq});
        answered(seq, &ack);
    });
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
    let members = (0..MEMBERS).map(|number| {
        let path = format!("/ws?uid=u{number}&room=tea");
        member(WebSocketClient::connect_narrow(server.address, &path))
    });
    let members: Vec<WebSocketClient> = members.collect();
    let mut http = server.http();
    joined(&mut http, MEMBERS);
    post(&mut http, &"x".repeat(SIZE).into());
    let stats = stats_when(&mut http, |stats| stats["totals"]["backlogged"] == MEMBERS);
    // What waits for many counts once: one frame a reactor would be twice as much.
    let waiting = stats["outbox_bytes"].as_u64().unwrap() as usize;
    assert!(
        (SIZE..SIZE + 1_000).contains(&waiting),
        "{waiting} bytes wait"
    );
    drop(members);
}
