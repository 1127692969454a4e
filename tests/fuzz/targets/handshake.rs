//! A WebSocket handshake, beside tungstenite's server: where both take it, both answer the same key.

use tidings::proto::http::{Head, HttpLimits, Version, parse};
use tidings::proto::websocket::extension;
use tidings::proto::websocket::handshake::accept;
use tungstenite::handshake::server::create_response;
use tungstenite::http::{self, Request};

const ACCEPT: &str = "Sec-WebSocket-Accept: ";

/// Answers a handshake.
pub fn handshake(data: &[u8]) {
    let Ok(Some((head, _))) = parse(data, &mut 0, &HttpLimits::default()) else {
        return;
    };
    let deflate = extension::choose(&head);
    let answer = match accept(&head, deflate) {
        Ok(answer) => String::from_utf8(answer).expect("the answer is ASCII"),
        Err(error) => {
            assert!((400..=599).contains(&error.response().status()));
            return;
        }
    };
    assert!(head.asks_for_websocket(), "it was never asked for");
    assert_eq!((head.method(), head.version()), ("GET", Version::Http11));
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"));
    let chosen = answer.contains("\r\nSec-WebSocket-Protocol: ");
    let lines = 5 + usize::from(deflate.is_some()) + usize::from(chosen);
    assert_eq!(
        answer.matches("\r\n").count(),
        lines,
        "one head: {answer:?}"
    );
    let request = request(&head);
    if let Some(theirs) = request.and_then(|request| create_response(&request).ok()) {
        let theirs = theirs.headers()["sec-websocket-accept"].to_str();
        let ours = answer
            .split(ACCEPT)
            .nth(1)
            .and_then(|rest| rest.lines().next());
        assert_eq!(ours, theirs.ok(), "another key");
    }
}

/// The head as tungstenite takes it; `None` where the types of `http` don't hold it.
fn request(head: &Head) -> Option<Request<()>> {
    let mut request = Request::builder()
        .method(head.method())
        .uri(head.target())
        .version(http::Version::HTTP_11);
    for (name, value) in head.fields() {
        request = request.header(name, value);
    }
    request.body(()).ok()
}
