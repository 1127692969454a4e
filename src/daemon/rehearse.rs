//! A rehearsal, as the program does it that would take over: everything is read and built as it would be,
//! and thrown away.

use tidings::handover::Handover;
use tidings::server::upgrade::rehearse_reactors;

use super::gateway::rehearse_gateway;
use super::serve::rehearse_endpoint;
use super::upgrade::{KNOWN, refuse_changes};
use crate::config::{Loaded, Purpose};

/// Takes over a trial handover, with settings that are to follow those in force, and gives it up again.
///
/// # Errors
///
/// The reason for which this program can't take over.
pub fn rehearse(
    handover: &Handover<'_>,
    purpose: Purpose,
    in_force: &Loaded,
    next: &Loaded,
) -> anyhow::Result<()> {
    handover.check(KNOWN)?;
    refuse_changes(in_force, next)?;
    rehearse_reactors(handover)?;
    // Under other bounds the same is written down as something else.
    let compares = in_force.settings.changes_to(next).is_empty();
    match purpose {
        Purpose::Gateway => rehearse_gateway(handover, next, compares),
        Purpose::Serve | Purpose::Reading | Purpose::Cluster => {
            rehearse_endpoint(handover, &next.settings, compares)
        }
    }
}
