//! The bus of a node: what is sent to it is held until it is safe, and posted in the order of each channel's
//! log; what is missing is read from there.
//!
//! A thread reads the bus ([`BusEar`]), another one reads the log and sends ([`BusReader`]); they share
//! [`BusState`]. The rest is pure: `safe` holds frames, `behind` keeps those of channels that miss
//! something, `look` compares channels with the engine, `alive` knows whether the bus hears, and
//! `requests` what nodes ask of each other.
//!
//! Invariant: a message is posted only behind the one before it in its channel's log, and only once it is safe.
//! The chat itself sees to the order, under the lock of the channel's shard; no position stands here.

mod alive;
mod backoff;
mod behind;
mod ear;
mod log;
mod look;
mod numbers;
mod posting;
mod requests;
mod safe;
mod state;
#[cfg(test)]
mod tests;
mod threads;

pub use self::ear::BusEar;
pub use self::log::BusReader;
pub use self::numbers::{BusCounters, BusNumber, BusNumbers};
pub use self::requests::RequestError;
pub use self::state::BusState;
pub use self::threads::{BusThreads, parts};
