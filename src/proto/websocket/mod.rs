//! The server side of WebSocket (RFC 6455), sans-IO.

pub mod handshake;
