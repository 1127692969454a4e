//! The sections of a handover: those that this program knows, and whether they are the same in its words.

use anyhow::bail;
use tidings::chat::CHAT_FORMAT;
use tidings::cluster::kept::NODE_FORMAT;
use tidings::endpoint::ENDPOINT_FORMAT;
use tidings::gateway::GATEWAY_FORMAT;
use tidings::handover::{Handover, HandoverWriter, SectionFormat};
use tidings::server::upgrade::{DESCRIPTORS, FRAMES, PROCESSES, REACTOR, SERVER, WAITING};
use tidings::store::{JOURNAL_FORMAT, STORE_FORMAT};

use super::state::DAEMON;
use crate::daemon::node_serials::SERIALS_FORMAT;

/// Every section that this program knows.
pub const KNOWN: &[SectionFormat] = &[
    DAEMON,
    DESCRIPTORS,
    SERVER,
    REACTOR,
    FRAMES,
    WAITING,
    PROCESSES,
    GATEWAY_FORMAT,
    CHAT_FORMAT,
    ENDPOINT_FORMAT,
    STORE_FORMAT,
    JOURNAL_FORMAT,
    NODE_FORMAT,
    SERIALS_FORMAT,
];

/// Compares what was written anew with what was handed over, as far as both are of one version.
///
/// # Errors
///
/// A section differs: which.
pub(in crate::daemon) fn same_sections(
    handover: &Handover<'_>,
    again: HandoverWriter,
) -> anyhow::Result<()> {
    let bytes = again.finish(handover.head());
    for section in Handover::read(&bytes)?.sections() {
        // A store may be cleared up when it is opened, and one on disk is rehearsed as one in memory.
        if section.name() == STORE_FORMAT.name {
            continue;
        }
        let Some(before) = handover.section(section.name()) else {
            continue;
        };
        if before.version() == section.version() && before.as_bytes() != section.as_bytes() {
            bail!(
                "section {} of the handover would become another one, of {} bytes instead of {}",
                section.name(),
                section.as_bytes().len(),
                before.as_bytes().len()
            );
        }
    }
    Ok(())
}
