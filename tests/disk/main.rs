//! Real disks: full ones, and large stores.
//!
//! A binary of its own, since it mounts small disks, for which it has to be root.
#![cfg(feature = "store")]

mod journal;
#[cfg(feature = "cli")]
mod log;
#[cfg(feature = "cli")]
mod server;
mod small_disk;
#[path = "../support/mod.rs"]
mod support;
