//! The server under load: hundreds of clients on real sockets, a room at full rate, many channels,
//! thousands of clients that connect or leave at once, reloads, upgrades. The real binary, in a process of its own.
//!
//! A binary of its own, since these tests take all of the machine that they get, and bound times and
//! memory meanwhile: beside them others would be late.
#![cfg(feature = "cli")]

mod catch_up;
mod crowd;
mod many_channels;
mod neglect;
mod pauses;
mod presence;
mod reloads;
#[path = "../support/mod.rs"]
mod support;
mod upgrades;
