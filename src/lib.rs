//! tidings: a chat and push server, and the Swoole-style library under it.

pub mod net;
pub mod proto;
pub mod server;
