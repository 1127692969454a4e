//! `bench fanout` and `bench publish`, against the floor and against chats that can be trusted or not.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::chat::{Manner, chat};
use super::{Raw, SHORT, bench, complaint, server};

const QUICK: [&str; 6] = ["--members", "20", "--settle", "0.05", "--patience", "0.2"];
const WORDS: [&str; 8] = [
    "--join-frame",
    "JOIN {member}",
    "--joined-marker",
    "WELCOME",
    "--publish-frame",
    "SAY {seq} {data}",
    "--ack-marker",
    "SAID {seq}",
];
const NOTHING_ASTRAY: [(&str, u64); 4] = [
    ("lost", 0),
    ("repeated", 0),
    ("misordered", 0),
    ("stray", 0),
];

fn fanout(url: &str, flags: &[&str]) -> (bool, Value) {
    let (output, json) = bench(&[&["fanout", "--url", url], &QUICK[..], &SHORT, flags].concat());
    (output.status.success(), json)
}

fn assert_counts(json: &Value, counts: &[(&str, u64)]) {
    for (key, count) in counts {
        assert_eq!(json[key], *count, "{key} in {json}");
    }
}

fn assert_positive(json: &Value, keys: &[&str]) {
    for key in keys {
        assert!(json[key].as_f64().unwrap_or(0.0) > 0.0, "{key} in {json}");
    }
}

#[test]
fn every_member_of_the_floor_hears_everything_in_order() {
    let raw = Raw::start_with(&["--fanout"]);
    for flags in [
        &["--in-flight", "1"][..],
        &["--in-flight", "8", "--publishers", "3", "--size", "300"],
        &["--rate", "200", "--publishers", "2"],
    ] {
        let pid = raw.pid();
        let load = [&["--publish-frame", "{data}", "--pid", &pid], flags].concat();
        let (good, json) = fanout(&raw.url, &load);
        assert!(good, "{json}");
        assert_counts(&json, &NOTHING_ASTRAY);
        let published = json["publishes"].as_u64().unwrap();
        assert_counts(&json, &[("deliveries", published * 20)]);
        let keys = [
            "cpu_us_per_delivery",
            "generator_cpu_us_per_delivery",
            "latency_p50_us",
            "last_latency_p50_us",
        ];
        assert_positive(&json, &keys);
        assert!(json["latency_p50_us"].as_f64() <= json["last_latency_p50_us"].as_f64());
    }
}

#[test]
fn a_rate_is_kept_in_a_room() {
    let raw = Raw::start_with(&["--fanout"]);
    let (_, json) = fanout(&raw.url, &["--publish-frame", "{data}", "--rate", "100"]);
    let rate = json["publishes_per_second"].as_f64().unwrap();
    assert!((50.0..=115.0).contains(&rate), "{json}");
}

#[test]
fn a_chat_that_speaks_as_tidings_does_is_measured_both_ways_beside_the_floor() {
    let url = format!("ws://{}/ws", chat(Manner::Honest));
    for flags in [
        &["--in-flight", "1", "--floor", "--rounds", "2"][..],
        &["--in-flight", "4"],
        &["--by", "http", "--in-flight", "4", "--floor"],
    ] {
        let (good, json) = fanout(&url, flags);
        assert!(good, "{json}");
        assert_counts(&json, &NOTHING_ASTRAY);
        assert_positive(&json, &["deliveries_per_second", "ack_latency_p50_us"]);
        if flags.contains(&"--floor") {
            assert_positive(
                &json,
                &["floor_deliveries_per_second", "ratio_last_latency_p50_us"],
            );
        }
    }
}

#[test]
fn a_chat_with_words_of_its_own_is_measured_by_template() {
    let url = format!("ws://{}/chat", chat(Manner::Honest));
    let (good, json) = fanout(&url, &[&WORDS[..], &["--in-flight", "3"]].concat());
    assert!(good, "{json}");
    assert_counts(&json, &NOTHING_ASTRAY);
    assert_positive(&json, &["deliveries", "ack_latency_p50_us"]);
    let post = r#"POST /say {"id":"{publisher}.{seq}","data":{"n":{seq}}}"#;
    let by_request = ["--publish-request", post, "--expect-marker", "\"n\":{seq}"];
    let (good, json) = fanout(&url, &[&WORDS[..4], &by_request].concat());
    assert!(good, "{json}");
    assert_positive(&json, &["deliveries", "ack_latency_p50_us"]);
}

#[test]
fn what_goes_astray_is_counted_in_its_own_way() {
    for (manner, fault) in [
        (Manner::Losing, "lost"),
        (Manner::Doubling, "repeated"),
        (Manner::Swapping, "misordered"),
    ] {
        let url = format!("ws://{}/ws", chat(manner));
        let (good, json) = fanout(&url, &["--in-flight", "4"]);
        assert!(!good, "{manner:?} {json}");
        let others = NOTHING_ASTRAY.iter().filter(|(key, _)| *key != fault);
        // The very last message may be one that the swapping chat still holds back.
        let spared = |key: &str| manner == Manner::Swapping && key == "lost";
        let others: Vec<_> = others.copied().filter(|(key, _)| !spared(key)).collect();
        assert_counts(&json, &others);
        assert_positive(&json, &[fault]);
        assert_positive(&json["failures_by_kind"][fault], &["count"]);
    }
}

#[test]
fn a_message_that_is_refused_is_not_missed() {
    for by in ["websocket", "http"] {
        let url = format!("ws://{}/ws", chat(Manner::Refusing));
        let (good, json) = fanout(&url, &["--by", by]);
        assert!(!good, "{json}");
        assert_counts(&json, &NOTHING_ASTRAY);
        let code = match by {
            "http" => "refused: status 429 rate_limited",
            _ => "refused: rate_limited",
        };
        assert_positive(&json["failures_by_kind"][code], &["count"]);
    }
}

#[test]
fn publishing_counts_what_is_acknowledged() {
    let url = format!("ws://{}/ws", chat(Manner::Honest));
    for flags in [
        &["--in-flight", "16"][..],
        &["--by", "http", "--stored"],
        &["--in-flight", "2", "--batch", "100", "--store", "false"],
    ] {
        let publish = ["publish", "--url", &url, "--connections", "3"];
        let (output, json) = bench(&[&publish[..], &SHORT, flags].concat());
        assert!(output.status.success(), "{json}");
        assert_positive(&json, &["acks", "acks_per_second", "latency_p50_us"]);
    }
}

#[test]
fn what_is_refused_is_counted_by_code() {
    let url = format!("ws://{}/ws", chat(Manner::Refusing));
    for (flags, code) in [
        (&["--in-flight", "4"][..], "rate_limited"),
        (&["--by", "http"], "status 429 rate_limited"),
        (&["--batch", "10"], "rate_limited"),
    ] {
        let publish = ["publish", "--url", &url, "--connections", "1"];
        let (output, json) = bench(&[&publish[..], &SHORT, flags].concat());
        assert!(!output.status.success(), "{json}");
        assert_positive(&json, &["acks"]);
        assert_positive(&json["refused_by_code"], &[code]);
    }
}

/// Takes lines: `HELLO` first, then messages, every fifth of which is refused.
fn takes_lines(socket: TcpStream) {
    let mut lines = BufReader::new(&socket).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "HELLO 0");
    for (number, line) in (1..).zip(lines) {
        let Ok(line) = line else { return };
        assert!(line.starts_with(&format!("PUT {number} {{")), "{line}");
        let answer = match number % 5 {
            0 => "-ERR full\r\n",
            _ => "+OK\r\n",
        };
        if (&socket).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn a_server_that_speaks_neither_websocket_nor_http_is_published_to_by_bytes() {
    let url = server("ws", takes_lines);
    let publish = [
        "publish",
        "--url",
        &url,
        "--connections",
        "1",
        "--in-flight",
        "7",
    ];
    let bytes = [
        "--first-bytes",
        "HELLO {publisher}\r\n",
        "--publish-bytes",
        "PUT {seq} {data}\r\n",
        "--ack-bytes",
        "+OK",
        "--refusal-bytes=-ERR",
    ];
    let (output, json) = bench(&[&publish[..], &SHORT, &bytes].concat());
    assert!(!output.status.success(), "{json}");
    assert_positive(&json, &["acks", "latency_p50_us"]);
    assert_positive(&json["refused_by_code"], &["refused"]);
    // Of the warm-up as well, which counts no acknowledgements.
    let refused = json["refused_by_code"]["refused"].as_u64().unwrap();
    assert!(refused * 4 + 4 >= json["acks"].as_u64().unwrap(), "{json}");
    let said = complaint(&[&publish[..], &["--publish-bytes", "{data}"]].concat());
    assert!(said.contains("--ack-bytes"), "{said}");
}

#[test]
fn templates_that_cannot_work_are_refused_before_the_first_connection() {
    let fanout = ["fanout", "--url", "ws://127.0.0.1:9/"];
    let publish = ["publish", "--url", "ws://127.0.0.1:9/"];
    for (mode, flags, words) in [
        (
            fanout,
            &["--publish-frame", "hello"][..],
            "without the marker",
        ),
        (fanout, &["--publish-request", "hello"], "POST /path body"),
        (fanout, &["--expect-marker", "{seq}"], "a marker needs text"),
        (
            fanout,
            &[
                "--publish-frame",
                "n={seq}",
                "--expect-marker",
                "n={seq}",
                "--publishers",
                "2",
            ],
            "needs {publisher}",
        ),
        (
            publish,
            &["--publish-frame", "{data}"],
            "needs --ack-marker",
        ),
        (publish, &["--size", "20"], "from 48"),
    ] {
        let said = complaint(&[&mode[..], flags].concat());
        assert!(said.contains(words), "{flags:?} said {said}");
    }
}
