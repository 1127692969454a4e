//! Without TLS in the program under test no suite goes over it.

use std::net::SocketAddr;

pub fn is_on() -> bool {
    false
}

pub fn ca_file() -> Option<&'static str> {
    None
}

pub fn before(server: SocketAddr) -> SocketAddr {
    server
}

pub fn carries(_: SocketAddr) {}

pub fn websocket_url(server: SocketAddr, path: &str) -> String {
    format!("ws://{server}{path}")
}
