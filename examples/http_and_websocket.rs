//! HTTP and WebSocket on one port: what comes by HTTP is pushed to a connected WebSocket.
//!
//! ```text
//! cargo run --release --example http_and_websocket
//! ```
//!
//! Open <http://127.0.0.1:9502/> in a browser: the page is a WebSocket client that shows its `fd`,
//! and the command to push to it. Without a browser:
//!
//! ```text
//! websocat ws://127.0.0.1:9502/                              says its fd
//! curl -d 'hello from HTTP' http://127.0.0.1:9502/push/FD    with that fd
//! ```
//!
//! Each message of a WebSocket is answered with `["hello","world"]`.

use serde_json::json;
use tidings::server::{Fd, Request, Responder, Response, Server, ServerError, WorkerHandle};

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>tidings</title>
<p>Push to this page: <code>connecting …</code></p>
<form><input placeholder="say something" autofocus> <button>send</button></form><pre></pre>
<script>
const at = name => document.querySelector(name)
const show = line => at("pre").append(line + "\n")
const socket = new WebSocket(`ws://${location.host}/`)
socket.addEventListener("message", ({ data }) => {
  at("code").textContent = `curl -d hello ${location.origin}/push/${JSON.parse(data).fd}`
}, { once: true })
socket.onmessage = ({ data }) => show("< " + data)
socket.onclose = ({ code }) => show(`closed with ${code}`)
at("form").onsubmit = event => {
  event.preventDefault()
  show("> " + at("input").value)
  socket.send(at("input").value)
  at("form").reset()
}
</script>
"#;

fn main() -> Result<(), ServerError> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let listen = std::env::args().nth(1);
    Server::builder()
        .listen(listen.as_deref().unwrap_or("127.0.0.1:9502"))
        .on_start(|server| {
            for address in server.addresses() {
                println!("listening on http://{address}/");
                println!("try: open it in a browser; or websocat ws://{address}/, then");
                println!("try: curl -d 'hello from HTTP' http://{address}/push/FD");
            }
        })
        .on_open(|server, request| {
            let _ = server.push(request.fd, &json!({ "fd": request.fd.0 }).to_string());
        })
        .on_message(|server, frame| {
            let _ = server.push(frame.fd, &json!(["hello", "world"]).to_string());
        })
        .on_request(answer)
        .on_close(|_, fd, reason| println!("{fd} is gone: {reason}"))
        .run()?;
    Ok(())
}

/// `GET /` is the page; `POST /push/{fd}` sends its body to that WebSocket.
fn answer(server: &WorkerHandle, request: Request, responder: Responder) {
    let fd = request.path().strip_prefix("/push/").map(str::parse);
    responder.end(match (request.method(), request.path(), fd) {
        ("GET", "/", _) => Response::text(PAGE).field("Content-Type", "text/html; charset=utf-8"),
        ("POST", _, Some(Ok(fd))) => match std::str::from_utf8(request.body()) {
            Ok(text) => match server.push(Fd(fd), text) {
                Ok(()) => Response::json(json!({ "pushed": fd }).to_string()),
                Err(error) => Response::text(format!("{error}\n")).with_status(404),
            },
            Err(error) => Response::text(format!("{error}\n")).with_status(400),
        },
        _ => Response::text("GET /, or POST a text to /push/FD\n").with_status(404),
    });
}
