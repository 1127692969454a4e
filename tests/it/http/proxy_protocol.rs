//! The PROXY protocol: a connection says whom it is from before anything else, and only a trusted proxy may.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::http::HttpClient;
use crate::support::parsed;
use crate::support::program::Program;

const LINE: &str = "PROXY TCP4 203.0.113.9 10.0.0.2 51402 9502\r\n";

const REQUEST: &str =
    "GET /v1/stats HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer not-a-key-0123456789\r\n\r\n";

const KEY: &str = "a-key-of-the-shop-0123";

/// A server that wants a header on every connection.
fn server(settings: &[&str]) -> Program {
    let key = format!("api_keys.shop.key={KEY}");
    let all = ["proxy_protocol=0.0.0.0:0", "proxies_trusted=127.0.0.1"];
    let settings = all
        .iter()
        .chain(settings)
        .flat_map(|setting| ["--set", setting]);
    Program::serve(
        &["--set", &key]
            .into_iter()
            .chain(settings)
            .collect::<Vec<_>>(),
    )
}

/// Version 2 of the same.
fn binary() -> Vec<u8> {
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    let ports = [51_402_u16.to_be_bytes(), 9_502_u16.to_be_bytes()].concat();
    [&start[..], &[203, 0, 113, 9, 10, 0, 0, 2], &ports].concat()
}

#[test]
fn a_trusted_proxy_says_in_either_version_whom_a_connection_is_from() {
    let server = server(&[]);
    for header in [LINE.as_bytes().to_vec(), binary()] {
        let all = [&header[..], REQUEST.as_bytes()].concat();
        // In one piece, cut inside the header, cut behind it.
        for cut in [all.len(), 1, 13, header.len(), header.len() + 3] {
            let mut http = HttpClient::connect(server.address);
            http.send(&all[..cut]).unwrap();
            http.send(&all[cut..]).unwrap();
            assert_eq!(http.answer().unwrap().status, 401);
            // The header was the connection's, and what a client writes now is nobody's word.
            for fields in ["", "X-Forwarded-For: 198.51.100.1\r\n"] {
                let entry = own_entry(&mut http, fields);
                assert_eq!(entry["peer"], json!("203.0.113.9:51402"), "{entry}");
            }
        }
    }
    // It speaks for itself.
    let mut http = HttpClient::connect(server.address);
    http.send(["PROXY UNKNOWN\r\n", REQUEST].concat()).unwrap();
    assert_eq!(http.answer().unwrap().status, 401);
    let entry = own_entry(&mut http, "");
    assert!(
        entry["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{entry}"
    );
    assert_eq!(entry["proxy"], Value::Null);
    drop(http);
    server.stop();
}

#[test]
fn whoever_begins_with_anything_else_is_cut() {
    let mut server = server(&[]);
    for bytes in [
        REQUEST,
        "PROXY TCP4 name 10.0.0.2 1 2\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0",
    ] {
        let mut http = HttpClient::connect(server.address);
        http.send(bytes).unwrap();
        assert!(http.is_closed(), "{bytes:?}");
    }
    let line = server.stderr.wait_for("refused reason=\"proxy_header\"");
    assert!(line.contains("peer=\"127.0.0.1:"), "{line}");
    server.stop();
}

#[test]
fn a_header_of_a_peer_that_is_not_trusted_is_not_read() {
    let mut server = server(&["proxies_trusted=10.0.0.0/8"]);
    let mut http = HttpClient::connect(server.address);
    // It may be cut before this has been sent.
    let _ = http.send([LINE, REQUEST].concat());
    assert!(http.is_closed());
    server
        .stderr
        .wait_for("only a trusted proxy may begin with a PROXY header");
    server.stop();
}

#[test]
fn an_address_that_no_setting_names_takes_no_header() {
    let server = Program::serve(&[
        "--set",
        "proxies_trusted=127.0.0.1",
        "--set",
        "proxy_protocol=127.0.0.1:1",
    ]);
    let mut http = server.http();
    assert_eq!(http.get("/v1/stats").status, 200);
    let mut http = HttpClient::connect(server.address);
    http.send([LINE, REQUEST].concat()).unwrap();
    assert_eq!(http.answer().unwrap().status, 400);
    server.stop();
}

#[test]
fn a_header_that_never_ends_has_no_more_time_than_a_head() {
    let server = server(&["http.head_ms_max=300"]);
    let mut http = HttpClient::connect(server.address);
    let began = Instant::now();
    let mut bytes = LINE.bytes();
    // A byte now and then buys no time.
    while !http.has_answer() && began.elapsed().as_secs() < 10 {
        let Some(byte) = bytes.next().filter(|byte| *byte != b'\r') else {
            break;
        };
        if http.send([byte]).is_err() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(http.is_closed());
    let took = began.elapsed().as_millis();
    assert!((300..10_000).contains(&took), "{took} ms");
    server.stop();
}

#[test]
fn without_keys_a_client_of_another_machine_is_refused() {
    let settings = [
        "--set",
        "proxy_protocol=0.0.0.0:0",
        "--set",
        "proxies_trusted=127.0.0.1",
    ];
    let server = Program::serve(&settings);
    let request = "GET /v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (line, status) in [
        (LINE, 403),
        ("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", 200),
        ("PROXY UNKNOWN\r\n", 200),
    ] {
        let mut http = HttpClient::connect(server.address);
        http.send([line, request].concat()).unwrap();
        assert_eq!(http.answer().unwrap().status, status, "{line}");
    }
    server.stop();
}

/// The entry of the newest connection, which asks for it.
fn own_entry(http: &mut HttpClient, fields: &str) -> Value {
    let fields = format!("Authorization: Bearer {KEY}\r\n{fields}");
    let list = http.ask_with("GET", "/v1/connections", &fields, "");
    let list = parsed(&list.unwrap().body);
    let fd = list["connections"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    let answer = http.ask_with("GET", &format!("/v1/connections/{fd}"), &fields, "");
    parsed(&answer.unwrap().body)
}

#[test]
fn the_entry_of_a_connection_has_the_client_and_the_proxy() {
    let server = server(&[]);
    let mut http = HttpClient::connect(server.address);
    http.send(LINE).unwrap();
    let entry = own_entry(&mut http, "");
    assert_eq!(entry["peer"], json!("203.0.113.9:51402"), "{entry}");
    assert!(
        entry["proxy"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{entry}"
    );
    drop(http);
    server.stop();
}
