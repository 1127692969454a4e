//! Layer 2: reactors and what they own.

pub mod mailbox;
pub mod marks;
pub mod topics;
pub mod wheel;
