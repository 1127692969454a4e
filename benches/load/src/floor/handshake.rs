//! The WebSocket handshake (RFC 6455 §4.2), as short as a server can answer it.

use std::io;

use tungstenite::handshake::derive_accept_key;

/// The answer to a handshake and the handshake's size; `None` while it is incomplete.
///
/// # Errors
///
/// It isn't a handshake.
pub(crate) fn handshake(head: &[u8]) -> io::Result<Option<(String, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let size = match request.parse(head).map_err(io::Error::other)? {
        httparse::Status::Complete(size) => size,
        httparse::Status::Partial => return Ok(None),
    };
    let key = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("sec-websocket-key"));
    let key = key.ok_or_else(|| io::Error::other("no handshake"))?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.value)
    );
    Ok(Some((answer, size)))
}
