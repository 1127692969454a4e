//! The upgrade in place, as the daemon goes about it: the next image is chosen and rehearsed, everything
//! stands still, and the image is executed with all that this one knows.

mod changes;
mod images;
mod pause;
mod rehearsal;
mod sections;
mod stages;
mod state;
mod thaw;

pub use changes::refuse_changes;
pub use rehearsal::COMMAND;
pub use sections::KNOWN;
pub(super) use sections::same_sections;
pub(super) use stages::{HandOver, UpgradeOrder, Upgrading};
pub use state::DaemonState;
pub use thaw::Thaw;
pub(super) use thaw::ThawedDaemon;
