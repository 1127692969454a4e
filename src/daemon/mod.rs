//! Layer 7: `tidings serve`, put together from the library's public face alone.

mod announce;
mod echo;
mod gateway;
mod keys;
mod origin;
mod paths;
mod serve;
mod storage;

pub use gateway::gateway;
pub use serve::serve;
