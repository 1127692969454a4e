//! What the command line needs of a client: where a server is, a request by HTTP, a WebSocket of the
//! native protocol, and what becomes of a refusal or a Close.
//!
//! Nothing here knows the settings or prints; it only speaks HTTP and WebSocket, by TLS or without.

mod address;
mod connection;
mod error;
mod frame;
mod http;
mod websocket;

pub use address::ServerAddress;
pub use error::ClientError;
pub use frame::{Frame, Unreadable};
pub use http::{get, post};
pub use websocket::Client;
