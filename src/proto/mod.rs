//! HTTP/1.1, WebSocket, and the connection as a state machine.
//!
//! Bytes and time go in, events and bytes come out. Nothing in here opens a socket, reads a clock
//! or takes a lock, so every test invents its own time and cuts its input wherever it likes. Start
//! with `connection`, which uses `http` until the handshake and `websocket` after it; a `proxy_protocol`
//! header may stand before all of it.

pub mod connection;
pub mod http;
pub mod proxy_protocol;
pub mod websocket;
