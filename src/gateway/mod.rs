//! Layer 6: two machines. A gateway takes messages by HTTP where they arise, keeps them in an outbox
//! on disk, and has a process of its own bring them to the servers that push them on.

mod backlog;
mod frames;
mod link;

pub use link::{LinkSettings, LinkState};
