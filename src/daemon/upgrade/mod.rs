//! The upgrade in place, as the daemon goes about it: what it hands over beside its server, and how the
//! next image goes on with that. The stages are those of every server (`server::upgrade`).

mod changes;
mod sections;
mod stages;
mod state;
mod thaw;

pub use changes::refuse_changes;
pub use sections::KNOWN;
pub(super) use sections::same_sections;
pub(super) use stages::{HandOver, UpgradeOrder, Upgrading};
pub use state::{DaemonState, PendingErrands};
pub use thaw::Thaw;
pub(super) use thaw::ThawedDaemon;

/// The command by which a program rehearses.
pub const COMMAND: &str = "rehearse";
