//! tidings: a chat and push server, and the Swoole-style library under it.

#[cfg(feature = "chat")]
pub mod chat;
#[cfg(feature = "chat")]
pub mod door;
pub mod net;
pub mod proto;
pub mod server;
