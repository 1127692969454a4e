//! Messages that are stored together: each has its own result, in its place, and the answers of one
//! commit travel together.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::chat_client::ChatClient;
use crate::support::program::Program;

fn serve(data: &Path) -> Program {
    let data = data.to_str().unwrap();
    Program::serve(&["--data", data, "--reactors", "1", "--ping-ms", "0"])
}

fn get(server: &Program, path: &str) -> Value {
    let (status, answer) = server.http().json("GET", path, &Value::Null);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// What one message of the batch is: stored in one of two rooms, not stored, a repeat or refused.
fn message(number: u64) -> Value {
    let room = if number.is_multiple_of(3) {
        "pot"
    } else {
        "tea"
    };
    match number {
        _ if number.is_multiple_of(50) => json!({"to": {"room": "@no"}, "data": number}),
        // Nobody hears this room, where such a message may come before an earlier stored one.
        _ if number.is_multiple_of(41) => {
            json!({"to": {"room": "pot"}, "data": number, "store": false})
        }
        // The escapes lead the second reader to it, and the long one fills a job by its bytes.
        _ if number.is_multiple_of(37) => {
            json!({"to": {"room": room}, "data": format!("\n\\{}", "x".repeat(60_000))})
        }
        _ if number.is_multiple_of(10) => {
            json!({"to": {"room": "tea"}, "data": number, "id": "the same"})
        }
        _ => json!({"to": {"room": room}, "data": number}),
    }
}

#[test]
fn each_result_of_a_large_batch_stands_in_its_place_and_the_messages_outlive_a_kill() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path());
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let messages: Vec<Value> = (1..=400).map(message).collect();
    let batch = json!({ "messages": messages });
    let (status, answer) = server.http().json("POST", "/v1/messages/batch", &batch);
    let results = answer["results"].as_array().unwrap();
    assert_eq!((status, results.len()), (200, 400));
    let mut stored: HashMap<&str, Vec<&Value>> = HashMap::new();
    let mut first_of_same = None;
    for (message, result) in messages.iter().zip(results) {
        let room = message["to"]["room"].as_str().unwrap();
        if room == "@no" {
            assert_eq!(result["error"]["code"], "bad_request", "{message}");
            continue;
        }
        assert_eq!(result["channel"], room, "{message}");
        if message["store"] == false {
            assert_eq!(result["offset"], Value::Null, "{message}");
            continue;
        }
        if message["id"] == "the same" {
            let is_repeat = first_of_same.is_some();
            assert_eq!(result["duplicate"], is_repeat, "{message}");
            let first = first_of_same.get_or_insert(&result["offset"]);
            assert_eq!(result["offset"], **first, "{message}");
            if is_repeat {
                continue;
            }
        }
        let all = stored.entry(room).or_default();
        all.push(&message["data"]);
        assert_eq!(result["offset"], all.len(), "{message}");
    }
    let heard = ann.hear_offsets("tea", 1..=stored["tea"].len() as u64);
    assert!(
        heard.iter().eq(stored["tea"].iter().copied()),
        "in the order of the offsets"
    );
    drop(ann);
    server.kill();

    let server = serve(data.path());
    for (room, expected) in &stored {
        let page = get(
            &server,
            &format!("/v1/rooms/{room}/messages?after=0&limit=1000"),
        );
        let there = page["messages"].as_array().unwrap().iter();
        let there: Vec<&Value> = there.map(|message| &message["data"]).collect();
        assert_eq!(there[..], expected[..there.len()], "{room}");
        assert!(
            there.len() == expected.len() || page["more"] == true,
            "{room}"
        );
        assert_eq!(page["offset"], expected.len(), "{room}");
    }
    server.stop();
}

#[test]
fn the_answers_of_one_commit_are_one_command_a_connection() {
    const COUNT: u64 = 64;
    const ROUNDS: u64 = 20;
    let data = TempDir::new().unwrap();
    let server = serve(data.path());
    let mut ann = ChatClient::login(&server, "ann", &[]);
    let number = |group: &str, name: &str| {
        let stats = get(&server, "/v1/stats");
        stats[group][name].as_u64().unwrap()
    };
    // The room is nobody's, so that nothing but answers goes out.
    let says = |from: u64| {
        let say = |seq| json!({"type": "say", "seq": seq, "to": {"room": "pot"}, "data": seq});
        Value::from((from..from + COUNT).map(say).collect::<Vec<_>>())
    };
    let (commands, commits) = (number("totals", "commands"), number("store", "commits"));
    for round in 0..ROUNDS {
        ann.client.say(says(round * COUNT).to_string());
        for seq in round * COUNT..(round + 1) * COUNT {
            let answer = ann.next();
            assert_eq!(
                (&answer["type"], &answer["seq"]),
                (&json!("ok"), &json!(seq))
            );
        }
    }
    let commits = number("store", "commits") - commits;
    // Three requests were answered meanwhile, and the last is among those that it counts.
    let commands = number("totals", "commands") - commands - 3;
    // A reactor tells its numbers at the end of a turn, so what came last before may be counted late.
    const LATE: u64 = 2;
    assert!(
        commands <= commits + LATE,
        "{commands} commands, {commits} commits"
    );
    assert!(
        commits < ROUNDS * COUNT,
        "no commit had more than one message"
    );
    drop(ann);
    server.stop();
}
