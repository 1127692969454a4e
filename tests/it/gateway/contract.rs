//! What a gateway promises to those who post, while everything is well.

use serde_json::{Value, json};

use super::machine::{LINK_KEY, Machine, message};
use super::upstream::{SENTENCE, Upstream};
use crate::support::http::{Answer, HttpClient, JSON};
use crate::support::numbers::assert_same_names;
use crate::support::tls::everywhere;
use crate::support::wait::{until, until_within};

fn body(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap()
}

#[test]
fn what_is_posted_arrives_once_in_order_and_byte_for_byte() {
    let upstream = Upstream::start();
    let mut machine = Machine::start(&[upstream.address]);
    let posted =
        r#"{"from":7,"id":"x","data":{"b": 1.0,"a":"\u00e4"},"to":{"users":["ann","bob"]}}"#;
    let answer = machine.post("/v1/messages", posted);
    assert_eq!(answer.status, 202);
    assert_eq!(
        body(&answer),
        json!({"results": [{"id": "x", "queued": true}]})
    );
    for number in 1..=50 {
        assert_eq!(machine.say("ann", number).status, 202);
    }
    machine.until_settled();
    let first = upstream.state().log[0].clone();
    assert_eq!(first["to"], json!({"users": ["ann", "bob"]}));
    assert_eq!((&first["from"], &first["id"]), (&json!("7"), &json!("x")));
    assert_eq!(first["data"].to_string(), r#"{"a":"ä","b":1.0}"#);
    assert_eq!(upstream.heard_of("ann"), (1..=50).collect::<Vec<_>>());
    let open = upstream.state().opens[0].clone();
    assert_eq!((&open["name"], &open["first"]), (&json!("gw-1"), &json!(1)));
    let said = machine.stop();
    assert!(said.contains(": 0 messages"), "{said}");
    until("the link says goodbye", || {
        upstream.state().ends.back() == Some(&Some(1001))
    });
}

#[test]
fn a_batch_is_answered_one_by_one() {
    let upstream = Upstream::start();
    let machine = Machine::start(&[upstream.address]);
    let batch = format!(
        r#"{{"messages":[{},{{"to":{{"fd":7}},"data":1}},{},{{"to":{{"all":true}},"data":null}}]}}"#,
        message("ann", 1),
        message("ann", 1)
    );
    let answer = machine.post("/v1/messages/batch", &batch);
    assert_eq!(answer.status, 202);
    let results = body(&answer)["results"].clone();
    assert_eq!(results[0], json!({"id": "ann-1", "queued": true}));
    assert_eq!(results[1]["error"]["code"], "bad_request");
    assert_eq!(
        results[2],
        json!({"id": "ann-1", "queued": true, "duplicate": true})
    );
    assert_eq!(results[3]["id"].as_str().unwrap().len(), 16, "{results}");
    let empty = machine.post("/v1/messages/batch", r#"{"messages":[]}"#);
    assert_eq!((empty.status, body(&empty)), (202, json!({"results": []})));
    machine.until_settled();
    assert_eq!(upstream.count(), 2);
}

#[test]
fn a_repeat_is_known_by_its_id_also_after_a_restart() {
    let upstream = Upstream::start();
    let mut machine = Machine::start(&[upstream.address]);
    assert_eq!(machine.say("ann", 1).status, 202);
    for _ in 0..2 {
        let again = machine.say("ann", 1);
        assert_eq!(body(&again)["results"][0]["duplicate"], true, "{again:?}");
        machine.kill();
        machine.start_again();
    }
    machine.until_settled();
    assert_eq!(upstream.heard_of("ann"), [1]);
}

#[test]
fn what_a_gateway_cant_take_is_refused_with_a_reason() {
    let upstream = Upstream::start();
    let machine = Machine::start(&[upstream.address]);
    let long = "x".repeat(70_000);
    for (posted, status, word) in [
        (r#"{"to":{"fd":7},"data":1}"#.to_owned(), 400, "fd"),
        (r#"{"to":{"room":"a"}}"#.to_owned(), 400, "data"),
        (
            r#"{"to":{"room":"a"},"data":1,"rom":2}"#.to_owned(),
            400,
            "rom",
        ),
        (
            format!(r#"{{"to":{{"room":"a"}},"data":"{long}"}}"#),
            413,
            "data",
        ),
    ] {
        let answer = machine.post("/v1/messages", &posted);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            body(&answer)["error"]["message"]
                .as_str()
                .unwrap()
                .contains(word)
        );
    }
    let mut http = HttpClient::connect(machine.address());
    for (method, path, status) in [
        ("GET", "/v1/messages", 405),
        ("POST", "/v1/messages", 415),
        ("GET", "/v1/rooms", 404),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
    ] {
        assert_eq!(http.ask(method, path, "").unwrap().status, status, "{path}");
    }
    machine.until_link(0, "open");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn with_api_keys_only_who_has_one_may_post() {
    let upstream = Upstream::start();
    let key = "key-of-the-shop-0123";
    let flag = format!("api_keys.shop.key={key}");
    let machine = Machine::start_with(&[upstream.address], &["--set", &flag]);
    assert_eq!(machine.say("ann", 1).status, 401);
    let mut http = HttpClient::connect(machine.address());
    assert_eq!(http.ask("GET", "/metrics", "").unwrap().status, 401);
    for (path, key, status) in [
        ("/v1/messages", "key-of-nobody-at-all", 401),
        ("/v1/messages/batch", "key-of-nobody-at-all", 401),
        ("/v1/stats", key, 405),
        ("/v1/rooms", key, 404),
    ] {
        let mut http = HttpClient::connect(machine.address());
        // No byte of the body comes: the head says enough.
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\
             Content-Length: 100\r\n\r\n"
        );
        http.send(head).unwrap();
        assert_eq!(http.answer().unwrap().status, status, "{path}");
    }
    let posted = message("ann", 1);
    let fields = format!("{JSON}Authorization: Bearer {key}\r\n");
    let answer = http.ask_with("POST", "/v1/messages", &fields, &posted);
    assert_eq!(answer.unwrap().status, 202);
    until("it arrives", || upstream.heard_of("ann") == [1]);
}

#[test]
fn every_upstream_gets_every_message_and_none_holds_up_another() {
    let (near, mut far) = (Upstream::start(), Upstream::start());
    far.kill();
    let mut machine = Machine::start(&[near.address, far.address]);
    for number in 1..=20 {
        assert_eq!(machine.say("ann", number).status, 202);
    }
    until("the near one has all", || near.count() == 20);
    let stats = machine.stats();
    assert_eq!(stats["upstreams"][1]["waiting"], 20, "{stats}");
    assert_eq!(stats["outbox"]["messages"], 20, "{stats}");
    far.start_again();
    until_within("the far one has all", super::FLOWS_WITHIN, || {
        far.count() == 20
    });
    machine.until_settled();

    far.kill();
    assert_eq!(machine.say("ann", 21).status, 202);
    until("the near one has it", || near.count() == 21);
    machine.stop();
    // Whoever is taken out of the settings holds nothing back any more.
    machine.set_upstreams(&[near.address]);
    machine.start_again();
    machine.until_settled();
    assert_eq!(near.heard_of("ann"), (1..=21).collect::<Vec<_>>());
}

#[test]
fn a_refused_message_is_kept_apart_and_may_be_tried_again() {
    let upstream = Upstream::start();
    upstream.state().refused.insert("ann-2".into());
    let mut machine = Machine::start(&[upstream.address]);
    for number in 1..=3 {
        assert_eq!(machine.say("ann", number).status, 202);
    }
    machine.until_settled();
    assert_eq!(upstream.heard_of("ann"), [1, 3]);
    assert_eq!(machine.stats()["outbox"]["dead_letters"], 1);
    assert!(
        machine
            .metrics()
            .contains("\ntidings_gateway_outbox_dead_letters_stored_total 1\n")
    );
    // While it runs, and afterwards.
    let shown = machine.outbox("dead");
    machine.stop();

    let outbox = |what: &str| machine.outbox(what);
    assert_eq!(outbox("dead"), shown);
    let letter: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&letter["code"], &letter["message"], &letter["n"]),
        (&json!("bad_request"), &json!(SENTENCE), &json!(2))
    );
    assert_eq!(letter["posting"]["id"], "ann-2");
    assert_eq!(
        letter["upstream"],
        everywhere::websocket_url(upstream.address, "/link")
    );
    let cut = machine.outbox_with("dead", &["--limit", "0"]);
    assert!(cut.stdout.is_empty(), "{cut:?}");
    assert!(cut.stderr.starts_with(b"there are more"), "{cut:?}");
    assert_eq!(outbox("list"), "");
    assert_eq!(outbox("retry"), "1 messages wait again\n");
    assert_eq!(outbox("dead"), "");
    assert!(outbox("list").contains("\"id\":\"ann-2\""));

    upstream.state().refused.clear();
    machine.start_again();
    machine.until_settled();
    assert_eq!(upstream.heard_of("ann"), [1, 3, 2]);
}

#[test]
fn numbers_are_told_for_people_and_for_prometheus() {
    let upstream = Upstream::start();
    let machine = Machine::start(&[upstream.address]);
    machine.until_link(0, "open");
    upstream.state().is_mute = true;
    for number in 1..=3 {
        machine.say("ann", number);
    }
    machine.say("ann", 3);
    until("they are there", || upstream.count() == 3);
    let stats = machine.stats();
    let outbox = &stats["outbox"];
    assert_eq!(
        (&outbox["messages"], &outbox["taken"]),
        (&json!(3), &json!(3)),
        "{stats}"
    );
    assert_eq!(outbox["repeats"], 1, "{stats}");
    assert!(outbox["bytes"].as_u64().unwrap() > 0, "{stats}");
    assert!(outbox["oldest_age_ms"].is_u64() && stats["processes"][0]["pid"].is_u64());
    let metrics = machine.metrics();
    assert_same_names(&stats, &metrics, "tidings_gateway_");
    for line in [
        "tidings_gateway_outbox_messages 3".to_owned(),
        "tidings_gateway_outbox_taken_total 3".to_owned(),
        format!(
            "tidings_gateway_upstream_waiting{{upstream={:?}}} 3",
            everywhere::websocket_url(upstream.address, "/link")
        ),
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line} in {metrics}"
        );
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            name.starts_with("tidings_gateway_") && value.parse::<u64>().is_ok(),
            "{line}"
        );
    }
}

#[test]
fn a_gateway_says_what_is_missing_and_a_folder_has_one_gateway() {
    let upstream = Upstream::start();
    let machine = Machine::start(&[upstream.address]);
    let fails = |command: &mut std::process::Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails(&mut machine.command()).contains("in use by another process"));
    let said = fails(machine.command().env_remove("TIDINGS_GATEWAY_LINK_KEY"));
    assert!(said.contains("gateway.link_key"), "{said}");
    let mut alone = std::process::Command::new(env!("CARGO_BIN_EXE_tidings"));
    let said = fails(alone.args(["gateway", "--link-key", LINK_KEY]));
    assert!(said.contains("--upstream"), "{said}");
    let said = fails(machine.command().args(["--upstream", "http://x/link"]));
    assert!(said.contains("ws://10.0.0.2:9502/link"), "{said}");
    let said = fails(machine.command().args(["--set", "gateway.upstream=x"]));
    assert!(said.contains("did you mean gateway.upstreams?"), "{said}");
    let mut open = std::process::Command::new(env!("CARGO_BIN_EXE_tidings"));
    let said = fails(open.args(["gateway", "--listen", "0.0.0.0:0"]));
    assert!(said.contains("--insecure"), "{said}");
}
