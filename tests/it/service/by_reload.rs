//! What each group of settings does once a reload has put it into force: to whoever is connected already,
//! and nobody else is disturbed.

use std::time::Instant;

use serde_json::{Value, json};

use super::served::{SECRET, Served};
use super::{said, tidings};
use crate::support::PATIENCE;
use crate::support::chat_client::{ChatClient, say};
use crate::support::http::{HttpClient, JSON, request_with};
use crate::support::program::Program;
use crate::support::wait::until;
use crate::support::websocket::{Heard, WebSocketClient};

/// Times of connections that are far away, so that only a reload brings them near.
const FAR: &str = "[http]\nhead_ms_max = 3_600_000\nidle_ms_max = 3_600_000\n";

/// A file without keys, with these tables.
fn open(tables: &str) -> String {
    format!("{tables}\n[store]\ndata = \"d\"\n")
}

/// One of the totals of the server's numbers.
#[track_caller]
fn total(served: &Served, name: &str) -> u64 {
    let stats: Value = serde_json::from_str(&served.server.http().get("/v1/stats").body).unwrap();
    let total = stats["totals"][name].as_u64();
    total.unwrap_or_else(|| panic!("no {name} in {stats}"))
}

/// Whether a connection that was there before a reload is there still.
fn is_undisturbed(client: &mut ChatClient) {
    client.ok(say("tea", "still here"));
}

#[test]
fn the_size_of_messages_changes_for_who_is_connected_and_hello_says_the_new_one() {
    let served = Served::with(&open(""));
    let (mut small, mut large) = (
        ChatClient::login(&served.server, "ann", &["tea"]),
        ChatClient::login(&served.server, "bob", &["tea"]),
    );
    let text = |size: usize| "x".repeat(size);
    served.reload(&open("[websocket]\nmessage_size_max = 200_000"));
    small.ok(say("tea", &text(150_000)));
    served.reload(&open("[websocket]\nmessage_size_max = 1_000"));
    let late = ChatClient::connect(&served.server);
    assert_eq!(late.hello["max"], 1_000);
    small.send(say("tea", &text(2_000)));
    let closed = loop {
        if let Err(code) = small.hear_or_close() {
            break code;
        }
    };
    assert_eq!(closed, 1009);
    is_undisturbed(&mut large);
    let answer = served.server.http().ask_with_json(
        "POST",
        "/v1/messages",
        &json!({"to": {"room": "tea"}, "data": text(2_000)}).to_string(),
    );
    assert_eq!(answer.unwrap().status, 413);
    drop((small, large, late));
    served.server.stop();
}

#[test]
fn the_size_of_messages_at_echo_stays_the_one_of_that_path() {
    let file = |size| {
        open(&format!(
            "echo = true\n[websocket]\nmessage_size_max = {size}"
        ))
    };
    let served = Served::with(&file(70_000));
    let mut echo = served.server.websocket("/echo");
    served.reload(&file(200));
    echo.echo(&"x".repeat(100_000));
    echo.leave();
    served.server.stop();
}

#[test]
fn a_silent_websocket_is_pinged_and_given_up_by_the_new_times() {
    let served = Served::with(&open(FAR));
    let mut first = ChatClient::login(&served.server, "ann", &["tea"]);
    let mut silent = served.server.websocket("/ws");
    silent.hear_text();
    served.reload(&open(&format!("{FAR}[websocket]\nping_ms = 200")));
    for _ in 0..3 {
        assert_eq!(first.client.hear_any(), Heard::Ping);
    }
    served.reload(&open("[websocket]\nping_ms = 0"));
    is_undisturbed(&mut first);
    served.reload(&open("[websocket]\nping_ms = 100\npong_ms_max = 50"));
    // Neither is read here, which would answer their pings.
    until("who says nothing is given up", || {
        total(&served, "ping_timeouts") >= 2
    });
    assert_eq!(silent.hear(), Heard::Close(4010));
    drop((first, silent));
    served.server.stop();
}

#[test]
fn an_http_connection_goes_by_the_new_bounds_and_times() {
    let served = Served::with(&open(FAR));
    let mut kept = served.server.http();
    assert_eq!(kept.get("/v1/stats").status, 200);
    let (mut idle, mut half) = (served.server.http(), served.server.http());
    assert_eq!(idle.get("/v1/stats").status, 200);
    half.send("GET /v1/stats HTTP/1.1\r\nHost").unwrap();
    let bounds = "target_size_max = 100\nhead_fields_max = 8\nbody_size_max = 100";
    served.reload(&open(&format!("{FAR}{bounds}")));
    let long = format!("/v1/stats?{}", "x".repeat(200));
    assert_eq!(served.server.http().get(&long).status, 414);
    let body = json!({"to": {"room": "tea"}, "data": "x".repeat(200)}).to_string();
    let answer = kept.ask_with_json("POST", "/v1/messages", &body);
    assert_eq!(answer.unwrap().status, 413);
    served.reload(&open("[http]\nhead_ms_max = 200\nidle_ms_max = 200"));
    assert_eq!(half.answer().unwrap().status, 408);
    assert!(idle.is_at_end(), "it was idle for too long");
    drop((kept, idle, half));
    served.server.stop();
}

#[test]
fn requests_that_wait_behind_others_go_on_when_more_may_be_pipelined() {
    let served = Served::with(&open("[http]\npipeline_requests_max = 1"));
    let mut client = served.server.http();
    let answered = served.reload(&open("[http]\npipeline_requests_max = 8"));
    assert!(
        answered.contains("http.pipeline_requests_max: 1 → 8"),
        "{answered}"
    );
    client
        .send(request_with("GET", "/v1/stats", "", "").repeat(5))
        .unwrap();
    for _ in 0..5 {
        assert_eq!(client.answer().unwrap().status, 200);
    }
    drop(client);
    served.server.stop();
}

/// Has `served` send more to a client that doesn't read than the system's buffers take.
fn flood(served: &Served, room: &str) {
    let body = json!({"to": {"room": room}, "data": "x".repeat(60_000)}).to_string();
    let mut http = served.server.http();
    for _ in 0..200 {
        let answer = http.ask_with_json("POST", "/v1/messages", &body);
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[test]
fn a_slow_reader_is_closed_by_the_new_bound_and_by_the_new_time() {
    // Who reads nothing answers no ping, either.
    let file = |outbox: &str| open(&format!("[websocket]\nping_ms = 0\n[outbox]\n{outbox}"));
    let roomy = "size_max = 100_000_000\nstall_ms_max = 3_600_000";
    let served = Served::with(&file(roomy));
    let mut quick = ChatClient::login(&served.server, "ann", &["tea"]);
    let slow = |uid: &str, room: &str| {
        let mut client = WebSocketClient::connect_narrow(served.server.address, "/ws");
        client.hear_text();
        let login = json!({"type": "login", "seq": 1, "uid": uid, "rooms": [room]});
        client.say(login.to_string());
        while !client.hear_text().contains("\"ok\"") {}
        client
    };
    let (by_size, by_time) = (slow("size", "much"), slow("time", "long"));
    flood(&served, "much");
    flood(&served, "long");
    assert_eq!(total(&served, "slow_readers"), 0);
    served.reload(&file("size_max = 1_000_000\nstall_ms_max = 3_600_000"));
    let body = json!({"to": {"room": "much"}, "data": 1}).to_string();
    let answer = served
        .server
        .http()
        .ask_with_json("POST", "/v1/messages", &body);
    assert_eq!(answer.unwrap().status, 200);
    until("one is over the bound", || {
        total(&served, "slow_readers") == 1
    });
    served.reload(&file("size_max = 100_000_000\nstall_ms_max = 100"));
    until("the other has stalled for too long", || {
        total(&served, "slow_readers") == 2
    });
    is_undisturbed(&mut quick);
    drop((by_size, by_time, quick));
    served.server.stop();
}

#[test]
fn the_bounds_of_connections_change_for_the_next_one() {
    let served = Served::with(&open(""));
    let mut first = ChatClient::login(&served.server, "ann", &["tea"]);
    let status = |served: &Served| {
        let mut http = HttpClient::connect(served.server.address);
        http.send_get("/v1/stats");
        http.answer().unwrap().status
    };
    assert_eq!(status(&served), 200);
    served.reload(&open("[reactor]\nconnections_max = 1"));
    until("one too many is refused", || status(&served) == 503);
    served.reload(&open("[limits]\nconnections_per_address_max = 1"));
    let held = served.server.http();
    until("one of the address too many is refused", || {
        status(&served) == 503
    });
    served.reload(&open(""));
    assert_eq!(status(&served), 200);
    is_undisturbed(&mut first);
    drop((first, held));
    served.server.stop();
}

#[test]
fn half_sent_requests_go_when_all_together_may_keep_less() {
    let served = Served::with(&open(""));
    let mut half = served.server.http();
    let head = format!("POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n{JSON}");
    half.send(format!(
        "{head}Content-Length: 50000\r\n\r\n{}",
        "x".repeat(40_000)
    ))
    .unwrap();
    until("it is kept", || {
        total(&served, "unfinished_bytes") >= 40_000
    });
    served.reload(&open("[limits]\nunfinished_size_max = 1_024"));
    half.send("x").unwrap();
    assert_eq!(half.answer().unwrap().status, 503);
    drop(half);
    served.server.stop();
}

#[test]
fn a_stop_takes_as_long_as_the_new_setting_says() {
    let served = Served::with(&open("stop_ms_max = 60_000"));
    let mut half = served.server.http();
    half.send("GET /v1/stats HTTP/1.1\r\nHost").unwrap();
    until("it is there", || served.status()["connections"] == 1);
    served.reload(&open("stop_ms_max = 0\n[http]\nhead_ms_max = 3_600_000"));
    let began = Instant::now();
    let (code, out, err) = served.command(&["stop"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(began.elapsed() < PATIENCE, "not by the old time");
    assert!(err.contains("connections_cut 1"), "{out}{err}");
}

#[test]
fn rooms_and_users_go_by_the_new_bounds_and_times_of_the_chat() {
    let served = Served::with(&open(""));
    let mut ann = ChatClient::login(&served.server, "ann", &["tea"]);
    let bob = ChatClient::login(&served.server, "bob", &["tea"]);
    let chat = "rooms_per_connection_max = 2\nleft_ms = 0\npage_messages_max = 3\n\
                connections_per_user_max = 1";
    served.reload(&open(&format!("[chat]\n{chat}")));
    ann.ok(json!({"type": "join", "room": "two"}));
    let (code, message) = ann.err(json!({"type": "join", "room": "three"}));
    assert_eq!(code, "forbidden", "{message}");
    let answer = ann.ask(json!({"type": "history", "channel": "tea", "limit": 4}));
    assert_eq!(answer["type"], "err", "{answer}");
    drop(bob);
    loop {
        if ann.next()["type"] == "left" {
            break;
        }
    }
    let mut again = ChatClient::login(&served.server, "ann", &["tea"]);
    let closed = loop {
        if let Err(code) = ann.hear_or_close() {
            break code;
        }
    };
    assert_eq!(closed, 4003);
    served.reload(&open("[chat]\npresence_users_max = 0"));
    is_undisturbed(&mut again);
    drop((ann, again));
    served.server.stop();
}

#[test]
fn what_memory_keeps_of_a_channel_shrinks_with_a_reload() {
    let memory = |chat: &str| format!("[chat]\n{chat}\n[store]\ndata = \"none\"\n");
    let served = Served::with(&format!("control = \"c\"\n{}", memory("")));
    let mut ann = ChatClient::login(&served.server, "ann", &["tea"]);
    for number in 0..20 {
        ann.ok(say("tea", &number.to_string()));
    }
    let kept = |ann: &mut ChatClient| {
        let page = ann.ok(json!({"type": "history", "channel": "tea", "limit": 100}));
        page["messages"]
            .as_array()
            .unwrap_or_else(|| panic!("{page}"))
            .len()
    };
    assert_eq!(kept(&mut ann), 20);
    served.reload(&format!(
        "control = \"c\"\n{}",
        memory("ring_messages_max = 5")
    ));
    until("the rest has gone", || kept(&mut ann) == 5);
    served.reload(&format!("control = \"c\"\n{}", memory("ring_ms = 1_000")));
    until("all has gone", || kept(&mut ann) == 0);
    drop(ann);
    served.server.stop();
}

#[test]
fn channels_gather_and_skip_by_the_new_patterns() {
    let served = Served::with(&open(""));
    let mut ann = ChatClient::login(&served.server, "ann", &["live-1"]);
    ann.ok_keeping(say("live-1", "one"));
    assert_eq!(total(&served, "gathered"), 0);
    served.reload(&open("[chat]\ngather = [\"live-* delay=1ms\"]"));
    ann.ok_keeping(say("live-1", "two"));
    until("it was gathered", || total(&served, "gathered") > 0);
    let before = total(&served, "gathered");
    served.reload(&open(""));
    ann.ok_keeping(say("live-1", "three"));
    assert_eq!(total(&served, "gathered"), before);
    ann.hear_offsets("live-1", 1..=3);
    drop(ann);
    served.server.stop();
}

#[test]
fn the_store_goes_by_the_new_bounds_and_the_new_policy() {
    let store = |more: &str| format!("[store]\ndata = \"d\"\n{more}\n");
    let served = Served::with(&store(""));
    let mut ann = ChatClient::login(&served.server, "ann", &["tea"]);
    for number in 0..20 {
        ann.ok(say("tea", &number.to_string()));
    }
    let oldest = |ann: &mut ChatClient| {
        let history = json!({"type": "history", "channel": "tea", "limit": 100, "after": 0});
        let page = ann.ok(history);
        page["messages"][0]["offset"]
            .as_u64()
            .unwrap_or_else(|| panic!("{page}"))
    };
    assert_eq!(oldest(&mut ann), 1);
    served.reload(&store("messages_max = 5"));
    assert_eq!(oldest(&mut ann), 16);
    served.reload(&store(
        "keep = [\"tea messages=2\"]\nsync = \"interval 100ms\"",
    ));
    assert_eq!(oldest(&mut ann), 19);
    let sync = |served: &Served| {
        let stats = served.server.http().get("/v1/stats").body;
        let stats: Value = serde_json::from_str(&stats).unwrap();
        stats["sync"].as_str().unwrap().to_owned()
    };
    assert!(sync(&served).starts_with("interval:"), "{}", sync(&served));
    served.reload(&store(
        "disk_free_size_min = 1_099_511_627_776\nsync = \"os\"",
    ));
    assert!(sync(&served).starts_with("os:"), "{}", sync(&served));
    until("nothing more is stored", || {
        ann.ask(say("tea", "too much"))["code"] == "disk_full"
    });
    served.reload(&store(""));
    until("there is room again", || {
        ann.ask(say("tea", "again"))["type"] == "ok"
    });
    drop(ann);
    served.server.stop();
}

#[test]
fn the_files_shrink_to_the_new_bound_of_all_of_them() {
    let store = |more: &str| format!("[store]\ndata = \"d\"\nsync = \"os\"\n{more}\n");
    let served = Served::with(&store("segment_size_max = 262_144"));
    let body = json!({"to": {"room": "tea"}, "data": "x".repeat(60_000)}).to_string();
    let mut http = served.server.http();
    let bytes = |http: &mut HttpClient| {
        let stats: Value = serde_json::from_str(&http.get("/v1/stats").body).unwrap();
        stats["store"]["bytes"]
            .as_u64()
            .unwrap_or_else(|| panic!("{stats}"))
    };
    while bytes(&mut http) < 4 << 20 {
        let answer = http.ask_with_json("POST", "/v1/messages", &body);
        assert_eq!(answer.unwrap().status, 200);
    }
    served.reload(&store(
        "segment_size_max = 262_144\ntotal_size_max = 1_048_576",
    ));
    until("the oldest files have gone", || bytes(&mut http) <= 1 << 20);
    drop(http);
    served.server.stop();
}

/// The settings of class reload in the file that `tidings init` writes, each with its section and value.
fn settings_of_class_reload(file: &str) -> Vec<(String, String, String)> {
    let (mut section, mut is_reload, mut settings) = ("", false, Vec::new());
    for line in file.lines() {
        let text = line.trim_start_matches('#');
        if text.starts_with(" A change is in force after ") {
            is_reload = text.ends_with("`tidings reload`.");
        }
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = text.split_once(" = ")
            && !key.contains(' ')
            && is_reload
            && let Ok(number) = value.replace('_', "").parse::<u64>()
        {
            let other = number.saturating_sub(1).max(1) + u64::from(number <= 1);
            settings.push((section.to_owned(), key.to_owned(), other.to_string()));
        }
    }
    settings
}

#[test]
fn every_number_of_class_reload_is_taken_one_by_one_and_all_at_once() {
    let served = Served::with(&open(""));
    let (code, _, err) = said(&mut tidings(served.path(), &["init"]));
    assert_eq!(code, 0, "{err}");
    let file = std::fs::read_to_string(served.path().join("tidings.toml")).unwrap();
    let settings = settings_of_class_reload(&file);
    assert!(settings.len() > 60, "{settings:?}");
    let mut client = ChatClient::login(&served.server, "ann", &["tea"]);
    let mut all = std::collections::BTreeMap::<String, String>::new();
    all.insert("store".into(), "data = \"d\"\n".into());
    let text = |all: &std::collections::BTreeMap<String, String>| {
        let table = |(name, lines): (&String, &String)| match &**name {
            "" => lines.clone(),
            name => format!("[{name}]\n{lines}"),
        };
        all.iter().map(table).collect::<String>()
    };
    for (section, key, value) in &settings {
        let lines = all.entry(section.clone()).or_default();
        *lines += &format!("{key} = {value}\n");
        let out = served.reload(&text(&all));
        assert!(out.contains(&format!("{key}: ")), "{section}.{key}: {out}");
        is_undisturbed(&mut client);
    }
    let out = served.reload(&open(""));
    assert_eq!(out.lines().count(), settings.len() + 1, "{out}");
    is_undisturbed(&mut client);
    let generation = served.status()["settings"]["generation"].as_u64();
    assert_eq!(generation, Some(settings.len() as u64 + 2));
    let (_, out, _) = said(&mut tidings(
        served.path(),
        &["reload", "--config", "t.toml"],
    ));
    assert!(!out.contains(SECRET));
    drop(client);
    served.server.stop();
}

#[test]
fn another_key_of_links_counts_from_the_reload_on_and_what_was_taken_is_delivered() {
    let uplink = |key: &str| format!("[store]\ndata = \"d\"\n[uplink]\nkey = \"{key}\"\n");
    let (old, new) = (format!("{SECRET}-old"), format!("{SECRET}-new"));
    let server = Served::with(&uplink(&old));
    let mut ann = ChatClient::login(&server.server, "ann", &["tea"]);
    let of_gateway = |key: &str| {
        format!(
            "[gateway]\nupstreams = [\"ws://{}/link\"]\nretry_ms_min = 10\nretry_ms_max = 50\n\
             link_key = \"{key}\"\n",
            server.server.address
        )
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.toml"), of_gateway(&old)).unwrap();
    let arguments = ["gateway", "--listen", "127.0.0.1:0", "--config", "t.toml"];
    let gateway = Program::start(&mut tidings(folder.path(), &arguments));
    let mut http = gateway.http();
    let mut post = |number: u64| {
        let body = json!({"to": {"room": "tea"}, "data": number}).to_string();
        let answer = http.ask_with_json("POST", "/v1/messages", &body);
        assert_eq!(answer.unwrap().status, 202);
    };
    post(1);
    ann.hear_offsets("tea", 1..=1);
    let closed = |stats: &Value| stats["upstreams"][0]["lost"].as_u64().unwrap();
    let link = || serde_json::from_str::<Value>(&gateway.http().get("/v1/stats").body).unwrap();
    assert_eq!(closed(&link()), 0);
    server.reload(&uplink(&new));
    until("the link of the old key is closed", || closed(&link()) > 0);
    post(2);
    std::fs::write(folder.path().join("t.toml"), of_gateway(&new)).unwrap();
    let reload = ["reload", "--gateway", "--config", "t.toml"];
    let (code, _, err) = said(&mut tidings(folder.path(), &reload));
    assert_eq!(code, 0, "{err}");
    ann.hear_offsets("tea", 2..=2);
    is_undisturbed(&mut ann);
    drop((http, ann));
    gateway.stop();
    server.server.stop();
}
