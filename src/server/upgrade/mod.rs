//! The upgrade in place: one image of the program executes the next, in the same process, and hands it
//! everything by a file in memory.
//!
//! `kernel` is what the system does, `entered` how the next image begins and how it goes back,
//! `descriptors` the list of all that is carried. What a part of the server hands over stands beside
//! that part; the file in memory is a [`Handover`](crate::handover::Handover).
//!
//! Invariant: until the commit the image before is one `execve` away, with all that it had.

mod descriptors;
mod entered;
mod frozen;
pub mod kernel;
mod processes;
mod reactors;
mod replacement;
mod server_state;
mod start_gate;
mod thawed_server;

pub use crate::net::frame_table::FRAMES;
pub use crate::net::reactor::REACTOR;
pub use crate::server::process::PROCESSES_FORMAT as PROCESSES;
pub use crate::server::turns::WAITING;
pub use descriptors::DESCRIPTORS;
pub use entered::{Entered, ThawRelay, UPGRADE_VAR, entered};
pub use frozen::ServerHandover;
pub use processes::rehearse_processes;
pub use reactors::rehearse_reactors;
pub(super) use reactors::{reactors, waiting};
pub use replacement::{Images, execute_next, name_descriptors};
pub use server_state::SERVER;
pub(super) use server_state::duplicated;
pub(super) use start_gate::StartGate;
pub(super) use thawed_server::{CommittedParts, ThawedServer};
