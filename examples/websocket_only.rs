//! A WebSocket server and nothing else: clients send and receive on the socket.
//!
//! ```text
//! cargo run --release --example websocket_only
//! websocat ws://127.0.0.1:9502/
//! ```

use serde_json::json;
use tidings::server::{Server, ServerError};

fn main() -> Result<(), ServerError> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9502".into());
    Server::builder()
        .listen(&address)
        .on_start(move |_| println!("connect to ws://{address}/"))
        .on_open(|_, request| println!("{} is here, and asked for {}", request.fd, request.path()))
        .on_message(|server, frame| {
            println!(
                "{} says {:?}",
                frame.fd,
                frame.text().unwrap_or("something binary")
            );
            server
                .push(frame.fd, &json!(["hello", "world"]).to_string())
                .ok();
        })
        .on_close(|_, fd, reason| println!("{fd} is gone: {reason}"))
        .run()?;
    Ok(())
}
