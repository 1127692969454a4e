//! What is stored outlives the process: messages, epochs, acknowledgements, memberships, repeats,
//! names of connections; across restarts and kills. The real binary, with a folder of its own.

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::chat_client::ChatClient;
use crate::support::parsed;
use crate::support::program::Program;

fn serve(data: &Path, flags: &[&str]) -> Program {
    let data = data.to_str().unwrap();
    Program::serve(&[&["--data", data], flags].concat())
}

fn say(room: &str, data: impl Into<Value>) -> Value {
    json!({"type": "say", "to": {"room": room}, "data": data.into()})
}

fn get(server: &Program, path: &str) -> Value {
    let (status, answer) = server.http().json("GET", path, &Value::Null);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn post(server: &Program, message: &Value) -> Value {
    let (status, answer) = server.http().json("POST", "/v1/messages", message);
    assert_eq!(status, 200, "{message}: {answer}");
    answer["results"][0].clone()
}

/// Posts these numbers, in one request.
fn post_all(server: &Program, room: &str, numbers: std::ops::RangeInclusive<u64>) {
    let each = numbers.map(|number| json!({"to": {"room": room}, "data": number}));
    let batch = json!({ "messages": each.collect::<Vec<_>>() });
    let (status, answer) = server.http().json("POST", "/v1/messages/batch", &batch);
    assert_eq!(status, 200, "{answer}");
}

/// The data of a page.
fn data_of(page: &Value) -> Vec<Value> {
    let messages = page["messages"].as_array().unwrap().iter();
    messages.map(|message| message["data"].clone()).collect()
}

#[test]
fn a_message_that_was_answered_is_there_after_a_kill_under_the_same_epoch() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let first = ann.ok_keeping(say("tea", "by websocket"));
    assert_eq!(ann.hear_offsets("tea", 1..=1), ["by websocket"]);
    let second = post(
        &server,
        &json!({"to": {"room": "tea"}, "data": [1.0, {"a":null}]}),
    );
    assert_eq!(
        (&first["offset"], &second["offset"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(first["epoch"], second["epoch"]);
    server.kill();

    let server = serve(data.path(), &[]);
    let page = get(&server, "/v1/rooms/tea/messages");
    assert_eq!(
        data_of(&page),
        [json!("by websocket"), json!([1.0, {"a":null}])]
    );
    assert_eq!(
        (&page["epoch"], &page["offset"]),
        (&first["epoch"], &json!(2))
    );
    let third = post(&server, &json!({"to": {"room": "tea"}, "data": 3}));
    assert_eq!(
        (&third["epoch"], &third["offset"]),
        (&first["epoch"], &json!(3))
    );
    server.stop();
}

#[test]
fn a_resume_across_a_restart_has_no_hole_and_no_repeat() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let ok = post(&server, &json!({"to": {"room": "tea"}, "data": 1}));
    post_all(&server, "tea", 2..=800);
    post_all(&server, "tea", 801..=1_500);
    server.kill();

    let server = serve(data.path(), &[]);
    let position = json!({"epoch": ok["epoch"], "offset": 40});
    let login = json!({"uid": "ann", "rooms": ["tea"], "resume": {"tea": position}});
    let (mut ann, ok) = ChatClient::login_with(server.websocket("/ws"), login);
    let told = &ok["channels"]["tea"];
    assert_eq!(
        (&told["recovered"], &told["offset"]),
        (&json!(true), &json!(1_500))
    );
    post(&server, &json!({"to": {"room": "tea"}, "data": 1_501}));
    let expected: Vec<Value> = (41..=1_501).map(Value::from).collect();
    assert_eq!(ann.hear_offsets("tea", 41..=1_501), expected);
    server.kill();
}

#[test]
fn an_empty_room_has_the_same_epoch_after_a_restart_and_a_purged_one_another() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let (_, ok) = ChatClient::login_with(
        server.websocket("/ws"),
        json!({"uid": "ann", "rooms": ["tea", "cake"]}),
    );
    let tea = ok["channels"]["tea"]["epoch"].clone();
    let cake = ok["channels"]["cake"]["epoch"].clone();
    post(&server, &json!({"to": {"room": "cake"}, "data": 1}));
    let (status, purged) = server
        .http()
        .json("DELETE", "/v1/rooms/cake/messages", &Value::Null);
    assert_eq!((status, &purged["offset"]), (200, &json!(0)));
    assert_ne!(purged["epoch"], cake);
    let (_, ok) = ChatClient::login_with(
        server.websocket("/ws"),
        json!({"uid": "bob", "rooms": ["cake"]}),
    );
    assert_eq!(ok["channels"]["cake"]["epoch"], purged["epoch"]);
    server.kill();

    let server = serve(data.path(), &[]);
    let lost = json!({"epoch": cake, "offset": 1});
    let kept = json!({"epoch": tea, "offset": 0});
    let login =
        json!({"uid": "ann", "rooms": ["tea", "cake"], "resume": {"cake": lost, "tea": kept}});
    let (_, ok) = ChatClient::login_with(server.websocket("/ws"), login);
    let told = &ok["channels"];
    assert_eq!(
        (&told["tea"]["epoch"], &told["tea"]["recovered"]),
        (&tea, &json!(true))
    );
    assert_eq!(told["cake"]["epoch"], purged["epoch"]);
    assert_eq!(told["cake"]["recovered"], false);
    let page = get(&server, "/v1/rooms/cake/messages");
    assert_eq!(data_of(&page), [json!(null); 0]);
    server.stop();
}

#[test]
fn a_purged_private_line_is_purged_after_a_kill_too() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    post(
        &server,
        &json!({"to": {"user": "bob"}, "from": "ann", "data": "psst"}),
    );
    let path = "/v1/users/bob/messages";
    let (status, purged) = server.http().json("DELETE", path, &Value::Null);
    assert_eq!((status, &purged["offset"]), (200, &json!(0)));
    server.kill();

    let server = serve(data.path(), &[]);
    let bob = get(&server, path);
    assert_eq!((&bob["epoch"], data_of(&bob)), (&purged["epoch"], vec![]));
    assert_eq!(data_of(&get(&server, "/v1/users/ann/messages")), ["psst"]);
    server.stop();
}

#[test]
fn a_private_message_is_in_both_lines_or_in_none_also_after_a_kill() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let (mut ann, _) = ChatClient::login_with(server.websocket("/ws"), json!({"uid": "ann"}));
    let (mut bob, _) = ChatClient::login_with(server.websocket("/ws"), json!({"uid": "bob"}));
    let ok = ann.ok_keeping(json!({"type": "say", "to": {"user": "bob"}, "data": "psst"}));
    assert_eq!(ok["channel"], "@bob");
    assert_eq!(bob.hear_offsets("@bob", 1..=1), ["psst"]);
    assert_eq!(ann.hear_offsets("@ann", 1..=1), ["psst"]);
    ann.ok_keeping(json!({"type": "say", "to": {"user": "ann"}, "data": "note"}));
    assert_eq!(
        ann.hear_offsets("@ann", 2..=2),
        ["note"],
        "to oneself it stands once"
    );
    server.kill();

    let server = serve(data.path(), &[]);
    let of = |uid: &str| get(&server, &format!("/v1/users/{uid}/messages"));
    assert_eq!(data_of(&of("ann")), ["psst", "note"]);
    assert_eq!(data_of(&of("bob")), ["psst"]);
    let (ann, bob) = (of("ann"), of("bob"));
    let (in_ann, in_bob) = (&ann["messages"][0], &bob["messages"][0]);
    assert_eq!(
        (&in_ann["id"], &in_ann["to"]),
        (&in_bob["id"], &json!("bob"))
    );
    server.stop();
}

#[test]
fn a_repeat_is_known_after_a_kill() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let message = json!({"type": "say", "to": {"room": "tea"}, "data": 1, "id": "m1"});
    let first = ann.ok_keeping(message.clone());
    let by_http = json!({"to": {"room": "tea"}, "data": 2, "id": "m1"});
    let other = post(&server, &by_http);
    assert_eq!(
        (&first["duplicate"], &other["duplicate"]),
        (&json!(false), &json!(false))
    );
    server.kill();

    let server = serve(data.path(), &[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let again = ann.ok_keeping(message);
    assert_eq!(
        (&again["duplicate"], &again["offset"], &again["epoch"]),
        (&json!(true), &first["offset"], &first["epoch"])
    );
    assert_eq!(post(&server, &by_http)["offset"], other["offset"]);
    assert_eq!(get(&server, "/v1/rooms/tea/messages")["offset"], 2);
    drop(ann);
    server.stop();
}

#[test]
fn repeats_under_way_are_stored_once() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let message = json!({"to": {"room": "tea"}, "data": 1, "id": "same"});
    let batch = json!({"messages": vec![message; 50]});
    let (status, answer) = server.http().json("POST", "/v1/messages/batch", &batch);
    let results = answer["results"].as_array().unwrap();
    assert_eq!((status, results.len()), (200, 50));
    let firsts = results.iter().filter(|result| result["duplicate"] == false);
    assert_eq!(firsts.count(), 1);
    assert!(
        results.iter().all(|result| result["offset"] == 1),
        "{answer}"
    );
    server.stop();
}

#[test]
fn acknowledgements_and_memberships_last() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let path = "/v1/rooms/tea/members/ann";
    let (status, answer) = server.http().json("PUT", path, &json!({}));
    assert_eq!((status, &answer["added"]), (200, &json!(true)));
    for number in 1..=5 {
        post(&server, &json!({"to": {"room": "tea"}, "data": number}));
    }
    let (mut ann, ok) = ChatClient::login_with(server.websocket("/ws"), json!({"uid": "ann"}));
    assert_eq!(
        ok["channels"]["tea"]["offset"], 5,
        "a member is in at the login"
    );
    ann.ok_keeping(json!({"type": "ack", "channel": "tea", "offset": 3}));
    drop(ann);
    // An orderly stop writes what it was told a moment ago.
    server.stop();

    let server = serve(data.path(), &[]);
    let login = json!({"uid": "ann", "resume": {"tea": "acked"}});
    let (mut ann, ok) = ChatClient::login_with(server.websocket("/ws"), login);
    assert_eq!(ok["channels"]["tea"]["recovered"], true);
    assert_eq!(ann.hear_offsets("tea", 4..=5), [4, 5]);
    let (_, answer) = server.http().json("DELETE", path, &Value::Null);
    assert_eq!(answer["removed"], true);
    server.kill();
    let server = serve(data.path(), &[]);
    let (ann, ok) = ChatClient::login_with(server.websocket("/ws"), json!({"uid": "ann"}));
    assert!(ok["channels"].get("tea").is_none(), "{ok}");
    drop(ann);
    server.stop();
}

#[test]
fn a_connection_never_has_the_name_of_an_earlier_one() {
    let data = TempDir::new().unwrap();
    let mut newest = 0;
    for _ in 0..3 {
        let server = serve(data.path(), &[]);
        let (ann, _) = ChatClient::login_with(server.websocket("/ws"), json!({"uid": "ann"}));
        assert!(ann.fd() > newest, "{} after {newest}", ann.fd());
        // Reserved far ahead, also of what the clock would give.
        newest = ann.fd();
        server.kill();
    }
}

#[test]
fn what_nobody_wants_stored_has_no_offset_and_is_gone() {
    let data = TempDir::new().unwrap();
    let flags = [
        "--set",
        "chat.in_memory=live-*",
        "--set",
        "chat.unkept=raw-*",
    ];
    let server = serve(data.path(), &flags);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let ok =
        ann.ok_keeping(json!({"type": "say", "to": {"room": "tea"}, "data": 1, "store": false}));
    assert_eq!((ok.get("offset"), &ok["receivers"]), (None, &json!(1)));
    post(&server, &json!({"to": {"room": "live-1"}, "data": 1}));
    assert_eq!(get(&server, "/v1/rooms/live-1/messages")["offset"], 1);
    let raw = post(&server, &json!({"to": {"room": "raw-1"}, "data": 1}));
    assert!(raw.get("offset").is_none(), "{raw}");
    server.kill();

    let server = serve(data.path(), &flags);
    let (status, _) = server
        .http()
        .json("GET", "/v1/rooms/live-1/messages", &Value::Null);
    assert_eq!(status, 404);
    server.stop();
}

#[test]
fn retention_lets_the_oldest_go_and_a_resume_is_told() {
    let data = TempDir::new().unwrap();
    let flags = ["--set", "store.keep=short messages=10"];
    let server = serve(data.path(), &flags);
    let first = post(&server, &json!({"to": {"room": "short"}, "data": 1}));
    post_all(&server, "short", 2..=30);
    server.stop();
    let server = serve(data.path(), &flags);
    let page = get(&server, "/v1/rooms/short/messages");
    assert_eq!(data_of(&page), (21..=30).collect::<Vec<_>>());
    let position = json!({"epoch": first["epoch"], "offset": 5});
    let login = json!({"uid": "ann", "rooms": ["short"], "resume": {"short": position}});
    let (_, ok) = ChatClient::login_with(server.websocket("/ws"), login);
    assert_eq!(ok["channels"]["short"]["recovered"], false);
    let all = json!({"epoch": first["epoch"], "offset": 0});
    let login = json!({"uid": "bob", "rooms": ["short"], "resume": {"short": all}});
    let (mut bob, ok) = ChatClient::login_with(server.websocket("/ws"), login);
    assert_eq!(ok["channels"]["short"]["recovered"], false);
    let gap = bob.hear();
    assert_eq!((&gap["type"], &gap["offset"]), (&json!("gap"), &json!(20)));
    bob.hear_offsets("short", 21..=30);
    server.kill();
}

#[test]
fn two_servers_dont_share_a_folder() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let folder = data.path().to_str().unwrap();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_tidings"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data", folder])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains("in use by another process") && said.contains("--data"),
        "{said}"
    );
    server.stop();
}

#[test]
fn a_stop_answers_what_was_said_before_it() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    for number in 0..500 {
        let mut command = say("tea", number);
        command["seq"] = (1_000 + number).into();
        ann.client.say(command.to_string());
    }
    server.signal(Signal::TERM);
    let mut answered = 0;
    loop {
        match ann.client.hear_text_or_close() {
            Ok(text) => {
                let frame = parsed(&text);
                answered += usize::from(frame["type"] == "ok");
            }
            Err(code) => {
                assert_eq!(code, 1001);
                break;
            }
        }
    }
    drop(ann);
    let mut server = server;
    assert_eq!(server.exit_code(), 0);
    let server = serve(data.path(), &[]);
    let newest = get(&server, "/v1/rooms/tea/messages")["offset"].clone();
    assert_eq!(newest, json!(answered), "each that was stored was answered");
    server.stop();
}

#[test]
fn damage_behind_the_servers_back_is_an_internal_error_never_another_message() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    post(
        &server,
        &json!({"to": {"room": "tea"}, "data": "as it was said"}),
    );
    let file = data.path().join("journal-0000000001.log");
    let bytes = std::fs::read(&file).unwrap();
    let said = bytes.windows(14).position(|part| part == b"as it was said");
    let journal = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&journal, b"X", said.unwrap() as u64).unwrap();

    let (status, answer) = server
        .http()
        .json("GET", "/v1/rooms/tea/messages", &Value::Null);
    assert_eq!(
        (status, &answer["error"]["code"]),
        (500, &json!("internal"))
    );
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let answer = ann.ask_keeping(json!({"type": "history", "channel": "tea"}));
    assert_eq!(
        (&answer["type"], &answer["code"], &answer["retry"]),
        (&json!("err"), &json!("internal"), &json!(true))
    );
    // What is new is heard all the same.
    post(&server, &json!({"to": {"room": "tea"}, "data": 2}));
    assert_eq!(ann.hear_offsets("tea", 2..=2), [2]);
    server.kill();
}
