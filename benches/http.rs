//! What HTTP costs a request: its head, a handshake, an answer.

use std::fmt;

use divan::{Bencher, black_box};
use tidings::proto::http::{AnswerContext, AnswerTo, Head, HttpLimits, Response, Version, parse};
use tidings::proto::websocket::handshake::accept;

const SMALL_GET: &str = "GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:9502\r\nUser-Agent: curl/8.5.0\r\n\
    Accept: */*\r\n\r\n";

const BROWSER_HANDSHAKE: &str = "GET /ws?uid=ann&room=lobby HTTP/1.1\r\nHost: localhost:9502\r\n\
    Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 \
    Safari/537.36\r\nUpgrade: websocket\r\nOrigin: http://localhost:9502\r\nSec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

#[derive(Debug, Clone, Copy)]
enum Request {
    SmallGet,
    BrowserHandshake,
}

impl Request {
    fn bytes(self) -> &'static str {
        match self {
            Self::SmallGet => SMALL_GET,
            Self::BrowserHandshake => BROWSER_HANDSHAKE,
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn main() {
    divan::main();
}

fn head_of(bytes: &str) -> Head {
    let parsed = parse(bytes.as_bytes(), &mut 0, &HttpLimits::default());
    parsed.expect("a valid head").expect("a whole head").0
}

#[divan::bench(args = [Request::SmallGet, Request::BrowserHandshake])]
fn head(bencher: Bencher, request: Request) {
    let bytes = request.bytes();
    bencher.bench(|| head_of(black_box(bytes)));
}

/// What the connection asks of every head.
#[divan::bench(args = [Request::SmallGet, Request::BrowserHandshake])]
fn questions(bencher: Bencher, request: Request) {
    let head = head_of(request.bytes());
    bencher.bench(|| {
        let head = black_box(&head);
        (
            head.framing(),
            head.expects_continue(),
            head.answer_to(),
            head.asks_for_websocket(),
        )
    });
}

#[divan::bench]
fn handshake(bencher: Bencher) {
    let head = head_of(BROWSER_HANDSHAKE);
    bencher.bench(|| accept(black_box(&head), None));
}

#[divan::bench]
fn answer(bencher: Bencher) {
    let to = AnswerTo {
        head_only: false,
        keep_alive: true,
        version: Version::Http11,
    };
    let context = AnswerContext {
        date: "Sun, 06 Nov 1994 08:49:37 GMT",
        idle_s: 75,
    };
    let response = Response::text("Hello, World!");
    bencher.bench(|| black_box(&response).encode(to, context));
}
