//! Clients that others wrote, against the real server.
//!
//! The programs come from `tests/tools/install`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::tools::{against_both, run, tool};
use crate::support::PATIENCE;

#[test]
fn the_ws_of_node_gets_along_with_us() {
    against_both(&["--ping-ms", "50"], |server| {
        let mut client = Command::new("node");
        client
            .env("NODE_PATH", tool("node/node_modules"))
            .arg(script("ws_client.cjs"))
            .arg(server.url("ws", "/echo"));
        let told = run(&mut client, PATIENCE);
        assert!(told.ends_with("\n7 claims hold\n"), "{told}");
    });
}

#[test]
fn the_websockets_of_python_get_along_with_us() {
    against_both(&[], |server| {
        let mut client = Command::new(tool("python3/bin/python"));
        client
            .arg(script("websockets_client.py"))
            .arg(server.url("ws", "/echo"));
        let told = run(&mut client, PATIENCE);
        assert!(told.ends_with("\n6 claims hold\n"), "{told}");
    });
}

#[test]
fn the_ws_of_node_compresses_with_us() {
    against_both(&["--set", "websocket.deflate=true"], |server| {
        let mut client = Command::new("node");
        client
            .env("NODE_PATH", tool("node/node_modules"))
            .arg(script("ws_deflate.cjs"))
            .arg(server.url("ws", "/echo"));
        let told = run(&mut client, PATIENCE);
        assert!(told.ends_with("\n4 claims hold\n"), "{told}");
    });
}

#[test]
fn the_websockets_of_python_compress_with_us() {
    against_both(&["--set", "websocket.deflate=true"], |server| {
        let mut client = Command::new(tool("python3/bin/python"));
        client
            .arg(script("websockets_deflate.py"))
            .arg(server.url("ws", "/echo"));
        let told = run(&mut client, PATIENCE);
        assert!(told.ends_with("\n3 claims hold\n"), "{told}");
    });
}

fn script(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools");
    folder.join(name)
}

#[test]
fn curl_makes_its_second_request_on_the_first_connection() {
    against_both(&[], |server| {
        let (health, stats) = (
            server.url("http", "/healthz"),
            server.url("http", "/v1/stats"),
        );
        let told = curl(&[
            "-o/dev/null",
            &health,
            "-o/dev/null",
            &stats,
            "-w%{http_code} %{num_connects}\n",
        ]);
        assert_eq!(told, "200 1\n200 0\n");
    });
}

#[test]
fn curl_gets_the_head_of_get_for_head() {
    against_both(&[], |server| {
        for path in ["/healthz", "/nowhere"] {
            let url = server.url("http", path);
            let (of_get, body) = heads_and_body(&curl(&["-i", &url]));
            let (of_head, nothing) = heads_and_body(&curl(&["--head", &url]));
            assert_eq!(nothing, "", "{path}");
            let length = format!("Content-Length: {}", body.len());
            for field in [
                of_get[0][0].as_str(),
                &length,
                "Content-Type: application/json",
            ] {
                assert!(of_get[0].iter().any(|line| line == field), "{of_get:?}");
                assert!(of_head[0].iter().any(|line| line == field), "{of_head:?}");
            }
        }
    });
}

#[test]
fn curl_is_told_in_json_what_is_not_there_and_what_may_not_be() {
    against_both(&[], |server| {
        for (method, path, status, code) in [
            ("GET", "/nowhere", "404 Not Found", "not_found"),
            ("POST", "/nowhere", "404 Not Found", "not_found"),
            (
                "DELETE",
                "/healthz",
                "405 Method Not Allowed",
                "bad_request",
            ),
            ("POST", "/v1/stats", "405 Method Not Allowed", "bad_request"),
        ] {
            let (heads, body) =
                heads_and_body(&curl(&["-i", "-X", method, &server.url("http", path)]));
            assert_eq!(heads[0][0], format!("HTTP/1.1 {status}"));
            assert_eq!(error_code(&body), code, "{method} {path}");
            let allow = heads[0].iter().any(|line| line == "Allow: GET, HEAD");
            assert_eq!(allow, status.starts_with("405"), "{heads:?}");
        }
    });
}

#[test]
fn curl_sends_its_body_when_it_is_told_to_and_the_connection_goes_on() {
    against_both(&[], |server| {
        let health = server.url("http", "/healthz");
        let messages = server.url("http", "/v1/messages");
        let body = format!("@{}", script("ws_client.cjs").display());
        for extra in ["Content-Type: text/plain", "Transfer-Encoding: chunked"] {
            // So long that an answer that comes by curl's own patience would not be in time.
            let told = curl(&[
                "-i",
                "-H",
                "Expect: 100-continue",
                "-H",
                extra,
                "--expect100-timeout",
                "60",
                "--data-binary",
                &body,
                &messages,
                "--next",
                "-s",
                "-o/dev/null",
                "-w\n%{num_connects}",
                &health,
            ]);
            let (heads, rest) = heads_and_body(&told);
            assert_eq!(heads[0], ["HTTP/1.1 100 Continue"], "{extra}");
            assert_eq!(
                heads[1][0], "HTTP/1.1 415 Unsupported Media Type",
                "{extra}"
            );
            assert!(rest.ends_with("\n0"), "{extra}: {told}");
        }
    });
}

#[test]
fn curl_is_spared_a_body_that_is_too_large() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![b' '; (1 << 20) + 1]).unwrap();
    let body = format!("@{}", file.path().display());
    against_both(&[], |server| {
        let messages = server.url("http", "/v1/messages");
        let told = curl(&[
            "-H",
            "Expect: 100-continue",
            "--expect100-timeout",
            "60",
            "--data-binary",
            &body,
            "-o/dev/null",
            "-w%{http_code} %{size_upload}",
            &messages,
        ]);
        assert_eq!(told, "413 0");
    });
}

#[test]
fn pages_of_other_servers_are_refused_on_http_and_on_websockets() {
    const UPGRADE: [&str; 8] = [
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Version: 13",
        "-H",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    against_both(&[], |server| {
        for field in [
            "Origin: http://evil.example",
            "Origin: null",
            "Origin: http://127.0.0.1:1",
            "Host: evil.example",
            &format!("Host: evil.example:{}", server.address.port()),
        ] {
            for (path, extra) in [
                ("/metrics", &[][..]),
                ("/v1/stats", &["-X", "POST", "-d", "{}"]),
                ("/nowhere", &["-X", "OPTIONS"]),
                ("/echo", &UPGRADE),
            ] {
                let url = server.url("http", path);
                let (heads, body) =
                    heads_and_body(&curl(&[&["-i", "-H", field], extra, &[&url]].concat()));
                assert_eq!(heads[0][0], "HTTP/1.1 403 Forbidden", "{field} {path}");
                assert_eq!(error_code(&body), "forbidden", "{field} {path}");
            }
        }
        let own = format!("Origin: http://{}", server.address);
        let health = server.url("http", "/healthz");
        assert_eq!(curl(&["-H", &own, &health]), r#"{"status":"ok"}"#);
    });
}

fn curl(arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*"])
        .args(arguments);
    run(&mut curl, PATIENCE)
}

/// The lines of each head that `curl --include` showed, and what follows the last one.
fn heads_and_body(shown: &str) -> (Vec<Vec<String>>, String) {
    let (mut heads, mut rest) = (Vec::new(), shown);
    while let Some((head, after)) = rest
        .split_once("\r\n\r\n")
        .filter(|_| rest.starts_with("HTTP/"))
    {
        heads.push(head.split("\r\n").map(str::to_owned).collect());
        rest = after;
    }
    (heads, rest.to_owned())
}

fn error_code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    body["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
