//! The ground floor: ids, time, pressure, the body of a message, and the description of a number.
//!
//! Every other layer may use this one; this one uses none. Only types on which two independent
//! layers have to agree belong here: an id, a moment, a level of pressure, how many lines strangers may
//! cause in the log, what a message says, the description of a number, and the few lines that take a
//! lock, read a clock, tell of a thread's death, have a thread rest, find the largest holder of something
//! or wait until several owners have taken something new.
//! Protocols, input and output never do.

mod address_block;
mod by_size;
mod channel_kind;
pub mod clock;
mod deflated;
pub mod fd;
mod foreign;
mod hash_keys;
pub mod line_budget;
pub mod message;
pub mod metric;
mod network;
mod peer_address;
pub mod position;
pub mod pressure;
pub mod rest;
mod rollout;
pub mod serial_blocks;
pub mod sync;
mod tick;
mod tick_clock;
pub mod vital;

pub use address_block::AddressBlock;
pub use by_size::BySize;
pub use channel_kind::ChannelKind;
pub use deflated::DeflatedData;
pub use fd::{Fd, REACTORS_MAX};
pub use foreign::ForeignText;
pub use hash_keys::HashKeys;
pub use message::MessageBody;
pub use metric::{Metric, MetricKind};
pub use network::{Network, NoNetwork};
pub use peer_address::PeerAddress;
pub use position::{Epoch, Position};
pub use pressure::{Pressure, Watermarks};
pub use rollout::{Rollout, RolloutPart};
pub use tick::Tick;
pub use tick_clock::TickClock;
