//! Layer 6: two machines. A gateway takes messages by HTTP where they arise, keeps them in an outbox
//! on disk, and has a process of its own bring them to the servers that push them on.

mod answer;
mod backlog;
mod feeder;
mod frames;
#[expect(
    clippy::module_inception,
    reason = "the noun of this file is the gateway"
)]
mod gateway;
mod link;
mod names;
mod numbers;
mod outbox;
mod pipe;
mod posted;
mod push;
mod seat;
mod settling;
mod shelf;
mod socket;
mod target;

pub use gateway::{Gateway, GatewaySettings, PUSH_PROCESS};
pub use link::{LinkSettings, LinkState};
pub use outbox::{DEAD, OUTBOX, store_settings};
pub use push::push;
pub use shelf::{Shelf, ShelfError};
pub use target::{Target, TargetError};

/// A number that nobody can guess and that hardly comes twice.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // Keyed by the system's randomness.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
