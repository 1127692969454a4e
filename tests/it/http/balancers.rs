//! Balancers, probes and proxies that keep connections: they are told what they have to know, and in
//! time.

use std::time::Instant;

use rustix::process::Signal;

use crate::support::http::HttpClient;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

/// The first request of a connection as it stands, and the status of its answer.
fn status_of(server: &Program, request: &str) -> u16 {
    let mut http = server.http();
    http.send(request).unwrap();
    http.head().unwrap().status
}

#[test]
fn a_probe_may_name_any_host_or_none() {
    let key = ["--set", "api_keys.shop.key=a-key-of-the-shop-0123"];
    for flags in [&[][..], &key[..]] {
        let server = Program::serve(flags);
        for path in ["/healthz", "/readyz"] {
            for fields in [
                "",
                "Host: 10.0.0.7\r\n",
                "Host: tidings.internal:9502\r\nX-Forwarded-For: 10.0.0.1\r\nVia: 1.1 balancer\r\n",
                "Host: localhost\r\nOrigin: https://elsewhere.example\r\n",
            ] {
                for method in ["GET", "HEAD"] {
                    let request = format!("{method} {path} HTTP/1.0\r\n{fields}\r\n");
                    assert_eq!(status_of(&server, &request), 200, "{request:?}");
                }
            }
            let request = format!("OPTIONS {path} HTTP/1.0\r\n\r\n");
            assert_eq!(status_of(&server, &request), 405, "{request:?}");
        }
        server.stop();
    }
}

#[test]
fn no_host_is_no_wrong_host() {
    let server = Program::serve(&[]);
    assert_eq!(status_of(&server, "GET /v1/stats HTTP/1.0\r\n\r\n"), 200);
    let wrong = "GET /v1/stats HTTP/1.0\r\nHost: evil.example\r\n\r\n";
    assert_eq!(status_of(&server, wrong), 403);
    let proxied = "GET /v1/stats HTTP/1.0\r\nVia: 1.0 proxy\r\n\r\n";
    assert_eq!(status_of(&server, proxied), 403);
    server.stop();
}

#[test]
fn an_answer_says_how_long_its_connection_is_kept() {
    let mut server = Program::serve(&[]);
    let answer = server.http().get("/healthz");
    assert_eq!(answer.field("keep-alive"), Some("timeout=75"));
    assert_eq!(answer.field("connection"), Some("keep-alive"));
    let mut last = server.http();
    last.send("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let answer = last.answer().unwrap();
    assert_eq!((answer.field("keep-alive"), answer.closes), (None, true));
    server.stop();
    server = Program::serve(&["--set", "http.idle_ms_max=1500"]);
    let mut http = server.http();
    assert_eq!(http.get("/healthz").field("keep-alive"), Some("timeout=1"));
    let began = Instant::now();
    assert!(http.is_at_end());
    // Never sooner than was told.
    assert!(
        began.elapsed().as_millis() >= 1_000,
        "{:?}",
        began.elapsed()
    );
    server.stop();
}

#[test]
fn a_server_that_is_about_to_stop_says_so_and_takes_new_work_until_then() {
    let mut server = Program::serve(&["--stop-delay-ms", "1500"]);
    let mut member = server.websocket("/ws");
    assert!(member.hear_text().contains("hello"));
    assert_eq!(server.http().get("/readyz").status, 200);
    server.signal(Signal::TERM);
    let began = Instant::now();
    server.stderr.wait_for("about to stop");
    let answer = server.http().get("/readyz");
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    );
    assert!(
        answer.body.contains("stopping") && !answer.closes,
        "{answer:?}"
    );
    // A balancer that hasn't looked yet sends what it always did.
    let mut http = server.http();
    let posted = http.ask_with_json("POST", "/v1/messages", r#"{"to":{"room":"a"},"data":1}"#);
    assert_eq!(posted.unwrap().status, 200);
    assert_eq!(server.http().get("/healthz").status, 200);
    let mut late = WebSocketClient::connect(server.address, "/ws");
    assert!(late.hear_text().contains("hello"));
    server.stderr.wait_for("draining");
    assert!(
        began.elapsed().as_millis() >= 1_500,
        "{:?}",
        began.elapsed()
    );
    drop((http, member, late));
    assert_eq!(server.exit_code(), 0);
    assert!(HttpClient::try_connect(server.address).is_err());
}

#[test]
fn who_cant_wait_for_a_stop_says_it_twice() {
    let mut server = Program::serve(&["--stop-delay-ms", "600000"]);
    server.signal(Signal::TERM);
    server.stderr.wait_for("about to stop");
    let began = Instant::now();
    server.signal(Signal::TERM);
    server.stderr.wait_for("stopping immediately");
    server.ended();
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}
