//! Behind a proxy: whom a request comes from, as a proxy that is trusted says, and nobody else.

use serde_json::Value;

use crate::support::chat_client::ChatClient;
use crate::support::http::HttpClient;
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::unix::http_at;
use crate::support::websocket::WebSocketClient;

const KEY: &str = "a-key-of-the-shop-0123";

fn server(settings: &[&str]) -> Program {
    let key = format!("api_keys.shop.key={KEY}");
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let flags = ["--set", &key].into_iter().chain(settings);
    Program::serve(&flags.collect::<Vec<_>>())
}

fn shown(server: &Program, fd: &Value) -> Value {
    let mut http = server.http();
    let bearer = format!("Authorization: Bearer {KEY}\r\n");
    let path = format!("/v1/connections/{fd}");
    let answer = http.ask_with("GET", &path, &bearer, "").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    parsed(&answer.body)
}

/// The entry of a WebSocket with these fields in its handshake.
fn entry(server: &Program, fields: &[(&str, &str)]) -> Value {
    let mut client = server.websocket_with("/ws", fields);
    let hello = parsed(&client.hear_text());
    shown(server, &hello["fd"])
}

#[test]
fn a_trusted_proxy_tells_the_clients_address_and_nobody_else_does() {
    let invented = [
        ("X-Forwarded-For", "198.51.100.1"),
        ("Forwarded", "for=198.51.100.1"),
        ("X-Real-IP", "198.51.100.1"),
        ("X-Client-IP", "198.51.100.1"),
        ("CF-Connecting-IP", "198.51.100.1"),
        ("Via", "1.1 198.51.100.1"),
    ];
    // Nobody is trusted, or somebody else.
    for settings in [&[][..], &["proxies_trusted=10.0.0.0/8,unix"][..]] {
        let server = server(settings);
        let entry = entry(&server, &invented);
        let peer = entry["peer"].as_str().unwrap();
        assert!(peer.starts_with("127.0.0.1:"), "{entry}");
        assert_eq!(entry["proxy"], Value::Null);
        server.stop();
    }
    for (header, own, told) in [
        (
            "x-forwarded-for",
            ("X-Forwarded-For", "198.51.100.1, 203.0.113.9"),
            "203.0.113.9",
        ),
        (
            "forwarded",
            ("Forwarded", "for=198.51.100.1, for=\"203.0.113.9:5\""),
            "203.0.113.9:5",
        ),
        ("x-real-ip", ("X-Real-IP", "203.0.113.9"), "203.0.113.9"),
    ] {
        let server = server(&[
            "proxies_trusted=127.0.0.0/8",
            &format!("proxy_header={header}"),
        ]);
        // The proxy passes the other fields on as the client wrote them.
        let others = invented
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case(header));
        let fields: Vec<_> = others.copied().chain([own]).collect();
        let entry = entry(&server, &fields);
        assert_eq!(entry["peer"], told, "{entry}");
        assert!(
            entry["proxy"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{entry}"
        );
        server.stop();
    }
}

#[test]
fn each_request_of_a_kept_connection_has_its_own_client() {
    let mut server = server(&["proxies_trusted=127.0.0.1"]);
    let mut http = server.http();
    for client in ["203.0.113.1", "2001:db8::7", "203.0.113.2"] {
        let fields =
            format!("X-Forwarded-For: {client}\r\nAuthorization: Bearer wrong-key-0123456789\r\n");
        assert_eq!(
            http.ask_with("GET", "/v1/stats", &fields, "")
                .unwrap()
                .status,
            401
        );
        let line = server.stderr.wait_for("refused reason=\"api_key\"");
        assert!(line.contains(&format!("peer=\"{client}\"")), "{line}");
    }
    // The proxy's own question, such as a probe.
    assert_eq!(http.get("/v1/stats").status, 401);
    let line = server.stderr.wait_for("refused reason=\"api_key\"");
    assert!(line.contains("peer=\"127.0.0.1:"), "{line}");
    drop(http);
    server.stop();
}

#[test]
fn a_limit_by_address_counts_by_the_clients() {
    let server = Program::serve(&[
        "--insecure",
        "--set",
        "proxies_trusted=127.0.0.1",
        "--set",
        "limits.requests_per_s_max=1",
        "--set",
        "limits.requests_burst_max=1",
    ]);
    let mut http = server.http();
    let mut post = |client: &str| {
        let fields = format!("X-Forwarded-For: {client}\r\nContent-Type: application/json\r\n");
        let body = r#"{"to":{"room":"a"},"data":1}"#;
        http.ask_with("POST", "/v1/messages", &fields, body)
            .unwrap()
            .status
    };
    assert_eq!(post("203.0.113.1"), 200);
    assert_eq!(post("203.0.113.1"), 429);
    assert_eq!(post("203.0.113.2"), 200, "another client of the same proxy");
    assert_eq!(
        post("198.51.100.1, 203.0.113.2"),
        429,
        "an invention helps nobody"
    );
    drop(http);
    server.stop();
}

/// The status of a WebSocket's handshake for a client.
fn handshake(server: &Program, client: &str) -> Result<WebSocketClient, u16> {
    let stream = HttpClient::connect(server.address).into_stream();
    let fields = [("X-Forwarded-For", client)];
    WebSocketClient::upgrade(stream, "/ws", &fields).map_err(|error| match error {
        tungstenite::Error::Http(answer) => answer.status().as_u16(),
        other => panic!("{other}"),
    })
}

#[test]
fn connections_without_a_login_are_bounded_for_each_client_behind_a_proxy() {
    let mut server = server(&[
        "proxies_trusted=127.0.0.1",
        "limits.connections_per_address_max=2",
    ]);
    let one = [1, 2].map(|_| handshake(&server, "203.0.113.1").unwrap());
    assert_eq!(handshake(&server, "203.0.113.1").err(), Some(503));
    let line = server
        .stderr
        .wait_for("refused reason=\"connections_per_address_max\"");
    assert!(line.contains("peer=\"203.0.113.1\""), "{line}");
    let other = handshake(&server, "203.0.113.2").unwrap();
    // The proxy itself may connect as often as it likes.
    let many: Vec<HttpClient> = (0..9).map(|_| server.http()).collect();
    for mut http in many {
        assert_eq!(http.get("/healthz").status, 200);
    }
    // One goes, and there is a place again.
    let [first, second] = one;
    drop(first);
    let again = (0..).find_map(|_| handshake(&server, "203.0.113.1").ok());
    drop((second, other, again));
    server.stop();
}

#[test]
fn the_own_origin_of_a_page_has_the_scheme_that_a_trusted_proxy_tells() {
    let key = format!("api_keys.shop.key={KEY}");
    let status = |server: &Program, origin: &str, proto: &str| {
        let request = format!(
            "GET /openapi.json HTTP/1.1\r\nHost: chat.example\r\nOrigin: {origin}\r\n\
             X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-Proto: {proto}\r\n\r\n"
        );
        let mut http = server.http();
        http.send(request).unwrap();
        http.answer().unwrap().status
    };
    let trusting = Program::serve(&["--set", &key, "--set", "proxies_trusted=127.0.0.1"]);
    let other = Program::serve(&["--set", &key]);
    let (secure, plain) = ("https://chat.example", "http://chat.example");
    for (origin, proto, expected) in [
        (secure, "https", 200),
        (plain, "https", 403),
        (plain, "http", 200),
        (secure, "http", 403),
        (secure, "gopher", 200),
        ("https://evil.example", "https", 403),
    ] {
        assert_eq!(
            status(&trusting, origin, proto),
            expected,
            "{origin} {proto}"
        );
        let unsaid = if origin.contains("evil") { 403 } else { 200 };
        assert_eq!(status(&other, origin, proto), unsaid, "{origin} {proto}");
    }
    trusting.stop();
    other.stop();
}

#[test]
fn open_mode_refuses_what_comes_through_a_proxy_though_it_is_trusted() {
    let server = Program::serve(&["--set", "proxies_trusted=127.0.0.1"]);
    for field in [
        "X-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 x",
    ] {
        let mut http = server.http();
        let answer = http
            .ask_with("GET", "/v1/stats", &format!("{field}\r\n"), "")
            .unwrap();
        assert_eq!(answer.status, 403, "{field}");
    }
    server.stop();
}

#[test]
fn trust_changes_with_a_reload_and_what_was_told_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    let write = |trusted: &str| {
        let text = format!(
            "proxies_trusted = [{trusted}]\n[store]\ndata = \"none\"\n[api_keys.shop]\nkey = \"{KEY}\"\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    write("\"127.0.0.1\"");
    let mut server = Program::serve(&["--config", file.to_str().unwrap()]);
    let client = [("X-Forwarded-For", "203.0.113.1")];
    let mut before = server.websocket_with("/ws", &client);
    let hello = parsed(&before.hear_text());
    write("");
    server.signal(rustix::process::Signal::HUP);
    server.stderr.wait_for("the settings were read anew");
    assert_eq!(shown(&server, &hello["fd"])["peer"], "203.0.113.1");
    let after = entry(&server, &client);
    assert!(
        after["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{after}"
    );
    drop(before);
    server.stop();
}

#[test]
fn a_login_through_a_proxy_is_an_ordinary_one() {
    let server = Program::serve(&["--insecure", "--set", "proxies_trusted=127.0.0.1"]);
    let socket = server.websocket_with("/ws", &[("X-Forwarded-For", "203.0.113.1")]);
    drop(socket);
    let client = ChatClient::connect(&server);
    drop(client);
    server.stop();
}

#[test]
fn whoever_connects_to_a_unix_socket_is_believed_where_the_settings_say_so() {
    for (trusted, told) in [("127.0.0.1", "unix"), ("unix", "203.0.113.9")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.sock");
        let listen = format!("unix:{}", path.display());
        let (key, trusted) = (
            format!("api_keys.shop.key={KEY}"),
            format!("proxies_trusted={trusted}"),
        );
        let mut server = Program::serve(&["--listen", &listen, "--set", &key, "--set", &trusted]);
        let mut http = http_at(&path);
        let fields = "X-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n";
        let answer = http.ask_with("GET", "/v1/stats", fields, "").unwrap();
        assert_eq!(answer.status, 401);
        let line = server.stderr.wait_for("refused reason=\"api_key\"");
        assert!(line.contains(&format!("peer=\"{told}\"")), "{line}");
        drop(http);
        server.stop();
    }
}
