//! Layer 2: the reactors. They own the sockets and everything that belongs to one connection.
//!
//! A reactor is a thread with one `Poll`. Its turn: wait for events, read from the connections that
//! have something, carry out the commands of the other threads, let time pass, hand what was read
//! to the owner of the events, write every outbox once. It never waits anywhere but in `poll`.

pub mod budget;
pub mod command;
pub mod counters;
pub mod directory;

mod listener;
#[cfg(loom)]
mod loom_queue;
pub mod mailbox;

mod outbox;
pub mod reactor;
mod slots;
pub mod topics;
pub mod wheel;

pub use listener::{Listener, listen};
