//! Clients over a Unix socket, with the types of those over TCP: their streams are only sent to and
//! received from.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::http::HttpClient;
use super::websocket::WebSocketClient;

fn connected(path: &Path) -> TcpStream {
    let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    OwnedFd::from(stream).into()
}

pub fn http_at(path: &Path) -> HttpClient {
    HttpClient::on(connected(path))
}

pub fn websocket_at(path: &Path, target: &str) -> WebSocketClient {
    let mut stream = connected(path);
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    WebSocketClient::on(stream)
}
