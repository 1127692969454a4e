//! The upgrade in place: one image of the program executes the next, in the same process, and hands it
//! everything by a file in memory.
//!
//! `stages` is the course of an upgrade: the next image is chosen (`images`), rehearsed (`rehearsal`) and
//! executed (`replacement`). `kernel` is what the system does, `entered` how the next image begins and how
//! it goes back, `descriptors` the list of all that is carried. What a part of the server hands over stands beside
//! that part; the file in memory is a [`Handover`](crate::handover::Handover).
//!
//! Invariant: until the commit the image before is one `execve` away, with all that it had.

mod descriptors;
mod desk;
mod entered;
mod error;
mod frozen;
mod images;
pub mod kernel;
mod listeners;
mod memory;
mod outcome;
mod pause;
mod processes;
mod program;
mod program_state;
mod reactors;
mod rehearsal;
mod rehearsed;
mod replacement;
mod sections;
mod server_state;
mod stages;
mod start_gate;
mod thawed_server;

pub use crate::net::frame_table::FRAMES;
pub use crate::net::reactor::REACTOR;
pub use crate::server::process::PROCESSES_FORMAT as PROCESSES;
pub use crate::server::turns::WAITING;
pub use descriptors::DESCRIPTORS;
pub(super) use desk::UpgradeDesk;
pub use entered::{Entered, ThawRelay, UPGRADE_VAR, entered};
pub use error::{RehearsalError, UpgradeError};
pub use frozen::ServerHandover;
pub use images::started_by;
pub(super) use listeners::duplicated;
pub use outcome::UpgradeOutcome;
pub use pause::{now_us, since};
pub use processes::rehearse_processes;
pub(super) use program::{ThawedProgram, UpgradableProgram};
pub use reactors::rehearse_reactors;
pub(super) use reactors::{reactors, waiting};
pub use rehearsal::{REHEARSE_VAR, RehearsalCall};
pub use rehearsed::give_way;
pub(super) use rehearsed::{chain, is_rehearsal, rehearse, report};
pub use sections::{FreezeSections, SectionError, ThawSections, ThawedSection};
pub use server_state::SERVER;
pub use stages::{Collect, Collected, HandOver, RehearsedUpgrade, UpgradeCourse};
pub(super) use start_gate::StartGate;
pub(super) use thawed_server::{CommittedParts, ThawedServer};
