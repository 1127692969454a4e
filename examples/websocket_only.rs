//! A WebSocket server and nothing else: clients send and receive on the socket.
//!
//! ```text
//! cargo run --release --example websocket_only
//! websocat ws://127.0.0.1:9502/
//! ```
//!
//! Each message is answered with `["hello","world"]`. Ctrl-C stops the server: every WebSocket is
//! closed with 1001.

use serde_json::json;
use tidings::server::{Server, ServerError};

fn main() -> Result<(), ServerError> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let listen = std::env::args().nth(1);
    Server::builder()
        .listen(listen.as_deref().unwrap_or("127.0.0.1:9502"))
        .on_start(|server| {
            for address in server.addresses() {
                println!("listening on ws://{address}/");
                println!("try: websocat ws://{address}/");
            }
        })
        .on_open(|_, request| println!("{} is here, and asked for {}", request.fd, request.path()))
        .on_message(|server, frame| {
            let said = frame.text().unwrap_or("something binary");
            println!("{} says {said:?}", frame.fd);
            // It may have gone meanwhile, which on_close tells.
            let _ = server.push(frame.fd, &json!(["hello", "world"]).to_string());
        })
        .on_close(|_, fd, reason| println!("{fd} is gone: {reason}"))
        .run()?;
    Ok(())
}
