//! HTTP and WebSocket on one port: what comes by HTTP is pushed to a connected WebSocket.
//!
//! ```text
//! cargo run --release --example http_and_websocket
//! websocat ws://127.0.0.1:9502/                              says its fd
//! curl -d 'hello from HTTP' http://127.0.0.1:9502/push/FD    with that fd
//! ```

use serde_json::json;
use tidings::server::{Fd, Request, Responder, Response, Server, ServerError, WorkerHandle};

fn main() -> Result<(), ServerError> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9502".into());
    Server::builder()
        .listen(&address)
        .on_start(move |_| {
            println!("connect to ws://{address}/, which says its fd, then");
            println!("curl -d 'hello from HTTP' http://{address}/push/FD");
        })
        .on_open(|server, request| {
            server
                .push(request.fd, &json!({ "fd": request.fd.0 }).to_string())
                .ok();
        })
        .on_message(|server, frame| {
            server
                .push(frame.fd, &json!(["hello", "world"]).to_string())
                .ok();
        })
        .on_request(|server, request, responder| push(server, &request, responder))
        .on_close(|_, fd, reason| println!("{fd} is gone: {reason}"))
        .run()?;
    Ok(())
}

/// `POST /push/{fd}`: the body goes to that WebSocket.
fn push(server: &WorkerHandle, request: &Request, responder: Responder) {
    let fd = request
        .path()
        .strip_prefix("/push/")
        .and_then(|fd| fd.parse().ok());
    let (Some(fd), Ok(text)) = (fd, std::str::from_utf8(request.body())) else {
        let help = "POST a text to /push/FD, where FD is what a WebSocket was told on opening\n";
        return responder.end(Response::text(help).with_status(404));
    };
    match server.push(Fd(fd), text) {
        Ok(()) => responder.end(Response::json(json!({ "pushed": fd }).to_string())),
        Err(error) => responder.end(Response::text(format!("{error}\n")).with_status(404)),
    }
}
