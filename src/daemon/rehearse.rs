//! A rehearsal, as the program does it that would take over: everything is read and built as it would be,
//! and thrown away.

use tidings::handover::Handover;
use tidings::server::upgrade::rehearse_reactors;

use super::serve::rehearse_endpoint;
use super::upgrade::{KNOWN, refuse_changes};
use crate::config::Loaded;

/// Takes over a trial handover, with settings that are to follow those in force, and gives it up again.
///
/// # Errors
///
/// The reason for which this program can't take over.
pub fn rehearse(handover: &Handover<'_>, in_force: &Loaded, next: &Loaded) -> anyhow::Result<()> {
    handover.check(KNOWN)?;
    refuse_changes(in_force, next)?;
    rehearse_reactors(handover)?;
    rehearse_endpoint(handover, &next.settings)
}
