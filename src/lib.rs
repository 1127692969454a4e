//! tidings: a chat and push server, and the Swoole-style library under it.

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod daemon;
pub mod net;
pub mod proto;
pub mod server;
