//! Layer 6: two machines. A gateway takes messages by HTTP where they arise, keeps them in an outbox
//! on disk, and has a process of its own bring them to the servers that push them on.

mod backlog;
mod frames;
mod link;
mod names;
mod pipe;
mod push;
mod seat;
mod socket;
mod target;

pub use link::{LinkSettings, LinkState};
pub use push::push;
pub use target::{Target, TargetError};

/// A number that nobody can guess and that hardly comes twice.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Keyed by the system's randomness.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
