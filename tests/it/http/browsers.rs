//! Pages of other origins: those that are listed may use the whole API, the others learn nothing.

use crate::support::http::Answer;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

const KEY: &str = "a-key-of-the-shop-0123";

const APP: &str = "https://app.example";

/// A server with a key that lets pages of [`APP`] in.
fn server(more: &[&str]) -> Program {
    let key = format!("api_keys.shop.key={KEY}");
    Program::serve(&[&["--set", &key, "--allow-origin", APP], more].concat())
}

fn ask(server: &Program, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let lines: String = lines.collect();
    let mut http = server.http();
    http.ask_with(method, path, &lines, body).unwrap()
}

/// Sends a whole request as it stands, and gives the answer's head.
fn raw(server: &Program, request: &str) -> Answer {
    let mut http = server.http();
    http.send(request).unwrap();
    http.head().unwrap()
}

#[test]
fn a_page_of_a_listed_origin_uses_the_whole_api_and_reads_its_errors() {
    let server = server(&[
        "--set",
        "limits.requests_per_s_max=1",
        "--set",
        "limits.requests_burst_max=2",
    ]);
    let preflight = ask(
        &server,
        "OPTIONS",
        "/v1/messages",
        &[
            ("Origin", APP),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type",
            ),
        ],
        "",
    );
    assert_eq!(preflight.status, 204);
    for (name, expected) in [
        ("access-control-allow-origin", APP),
        (
            "access-control-allow-methods",
            "get, head, post, put, delete",
        ),
        (
            "access-control-allow-headers",
            "authorization, content-type",
        ),
        ("access-control-max-age", "600"),
        ("vary", "origin"),
    ] {
        assert_eq!(preflight.field(name), Some(expected), "{name}");
    }
    let bearer = format!("Bearer {KEY}");
    let page = [
        ("Origin", APP),
        ("Authorization", &bearer),
        ("Content-Type", "application/json"),
    ];
    let message = r#"{"to":{"room":"lobby"},"data":1}"#;
    for (path, fields, body, status) in [
        ("/v1/messages", &page[..], message, 200),
        ("/v1/messages", &page[..2], message, 415),
        // Over the rate, which a page has to see to wait as long as it is told.
        ("/v1/messages", &page[..], message, 429),
        ("/v1/messages", &page[..1], message, 401),
        ("/v1/nothing", &page[..], message, 404),
    ] {
        let answer = ask(&server, "POST", path, fields, body);
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            answer.field("access-control-allow-origin"),
            Some(APP),
            "{answer:?}"
        );
        assert_eq!(
            answer.field("access-control-expose-headers"),
            Some("retry-after")
        );
        assert_eq!(answer.field("vary"), Some("origin"));
    }
    let websocket = server.websocket_with("/ws", &[("Origin", APP)]);
    drop(websocket);
    server.stop();
}

#[test]
fn an_error_of_the_connection_itself_can_be_read_by_the_page_too() {
    let server = server(&[
        "--set",
        "http.body_size_max=64",
        "--set",
        "http.body_ms_max=100",
    ]);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\nAuthorization: Bearer {KEY}\r\n"
    );
    for (rest, status) in [
        ("Content-Length: 65\r\n\r\n", 413),
        ("Expect: more\r\nContent-Length: 5\r\n\r\n", 417),
        ("Content-Length: 5\r\n\r\nslow", 408),
        ("Transfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    ] {
        let answer = raw(&server, &format!("{head}{rest}"));
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            answer.field("access-control-allow-origin"),
            Some(APP),
            "{answer:?}"
        );
    }
    server.stop();
}

#[test]
fn a_page_of_another_origin_learns_nothing() {
    let server = server(&[]);
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
    ] {
        let fields = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
        ];
        let preflight = ask(&server, "OPTIONS", "/v1/messages", &fields, "");
        assert_eq!(preflight.status, 403, "{origin}");
        let answer = ask(&server, "GET", "/openapi.json", &fields[..1], "");
        assert_eq!(answer.status, 403, "{origin}");
        for answer in [preflight, answer] {
            assert!(!answer.fields.contains("access-control"), "{answer:?}");
            assert_eq!(answer.field("vary"), Some("origin"));
        }
    }
    let unasked = ask(&server, "OPTIONS", "/v1/messages", &[], "");
    assert_eq!(unasked.status, 405);
    server.stop();
}

#[test]
fn what_a_foreign_page_asks_for_without_its_origin_is_refused() {
    let server = Program::serve(&[]);
    for (site, path, status) in [
        ("cross-site", "/v1/stats", 403),
        ("Cross-Site", "/v1/rooms", 403),
        // The page itself may be linked to.
        ("cross-site", "/", 200),
        ("same-origin", "/v1/stats", 200),
        ("same-site", "/v1/stats", 200),
        // Typed into the address bar.
        ("none", "/v1/stats", 200),
    ] {
        let answer = ask(&server, "GET", path, &[("Sec-Fetch-Site", site)], "");
        assert_eq!(answer.status, status, "{site} {path}");
    }
    server.stop();
}

#[test]
fn every_page_may_load_the_client_and_nothing_else() {
    for server in [Program::serve(&[]), server(&["--set", "page=off"])] {
        for origin in ["https://evil.example", "null", APP] {
            let fields = [("Origin", origin), ("Sec-Fetch-Site", "cross-site")];
            for path in ["/client.js", "/client.d.ts"] {
                let answer = ask(&server, "GET", path, &fields, "");
                assert_eq!(answer.status, 200, "{path} {origin}");
                let allowed = answer
                    .fields
                    .matches("access-control-allow-origin: ")
                    .count();
                assert_eq!(
                    (allowed, answer.field("access-control-allow-origin")),
                    (1, Some("*"))
                );
            }
        }
        let evil = [("Origin", "https://evil.example")];
        assert_eq!(ask(&server, "POST", "/client.js", &evil, "").status, 403);
        assert_eq!(ask(&server, "GET", "/page.js", &evil, "").status, 403);
        server.stop();
    }
}

#[test]
fn no_answer_lets_a_browser_guess_what_it_is() {
    let server = server(&["--set", "http.head_ms_max=200", "--set", "page=on"]);
    let host = "Host: 127.0.0.1\r\n";
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\n{host}\r\n"), 200),
        (format!("GET /healthz HTTP/1.1\r\n{host}\r\n"), 200),
        (format!("GET /v1/stats HTTP/1.1\r\n{host}\r\n"), 401),
        (format!("GET /no HTTP/1.1\r\n{host}\r\n"), 404),
        (format!("PUT / HTTP/1.1\r\n{host}\r\n"), 405),
        (format!("GET /ws HTTP/1.1\r\n{host}\r\n"), 426),
        (format!("GET / HTTP/1.1\r\n{host}X"), 408),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/2.0\r\n\r\n".to_owned(), 505),
        (format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000)), 414),
    ] {
        let answer = raw(&server, &request);
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            answer
                .fields
                .matches("x-content-type-options: nosniff")
                .count(),
            1
        );
    }
    server.stop();
    for bound in [
        "reactor.connections_max=1",
        "limits.connections_per_address_max=1",
    ] {
        let full = Program::serve(&["--set", bound]);
        let mut kept = full.http();
        assert_eq!(kept.get("/healthz").status, 200);
        let answer = raw(&full, &format!("GET / HTTP/1.1\r\n{host}\r\n"));
        assert_eq!(answer.status, 503, "there is one connection too many");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        drop(kept);
        full.stop();
    }
}

#[test]
fn a_browser_that_offers_subprotocols_gets_one() {
    let server = Program::serve(&[]);
    // The library of the client gives up where none of those that it offered is chosen.
    for offer in ["tidings", "tidings, json", "bearer.abc"] {
        let fields = [("Sec-WebSocket-Protocol", offer)];
        let mut client = WebSocketClient::connect_with(server.address, "/ws", &fields);
        assert!(client.hear_text().contains("hello"), "{offer}");
    }
    server.stop();
}

#[test]
fn a_get_without_an_upgrade_is_told_what_a_proxy_has_to_pass_on() {
    let server = Program::serve(&[]);
    for method in ["GET", "POST"] {
        let answer = ask(&server, method, "/ws", &[], "");
        assert_eq!(answer.status, 426);
        assert_eq!(answer.field("upgrade"), Some("websocket"));
        assert!(
            answer.fields.contains("connection: keep-alive, upgrade"),
            "{answer:?}"
        );
        assert!(
            answer
                .body
                .contains("have it pass Upgrade and Connection on"),
            "{answer:?}"
        );
    }
    server.stop();
}
