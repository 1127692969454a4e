//! The serial numbers of a node's connections: blocks of the cluster that are this node's alone.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tidings::base::fd::serials_by_clock;
use tidings::cluster::ClusterNode;
use tidings::handover::{Handover, HandoverWriter, SectionFormat};
use tidings::server::SerialBlocks;

/// The section of the blocks.
pub(super) const SERIALS_FORMAT: SectionFormat = SectionFormat {
    name: "serial-blocks",
    version: 1,
    oldest_reader: 1,
};

/// Pause before a block is asked for once more.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Reserves the first block, or goes on with those that were handed over; a thread reserves more once they
/// run short.
///
/// # Errors
///
/// The cluster gives no block.
pub(super) fn reserve(
    node: &Arc<ClusterNode>,
    handover: Option<&Handover<'_>>,
) -> anyhow::Result<Arc<SerialBlocks>> {
    let kept = handover.and_then(|handover| handover.section(SERIALS_FORMAT.name));
    let starts = match kept {
        Some(section) => {
            section.check(SERIALS_FORMAT.version)?;
            let record = &mut section.records().needed()?;
            record.list(|record| record.u64())?
        }
        None => {
            let block = node.serial_block(serials_by_clock());
            vec![block.context("no serial numbers can be reserved")?]
        }
    };
    // One call at a time is enough: the thread looks whether there is need.
    let (wake, woken) = sync_channel(1);
    let runs_short = move || _ = wake.try_send(());
    let blocks = Arc::new(SerialBlocks::new(starts, runs_short));
    let (node, theirs) = (Arc::clone(node), Arc::downgrade(&blocks));
    let run = move || {
        while woken.recv().is_ok() {
            while let Some(blocks) = theirs.upgrade().filter(|blocks| blocks.is_short()) {
                let at_least = blocks.starts().last().map_or(0, |last| last + 1);
                match node.serial_block(at_least.max(serials_by_clock())) {
                    Ok(start) => blocks.add(start),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "no more serial numbers can be reserved");
                        thread::sleep(AGAIN_AFTER);
                    }
                }
            }
        }
    };
    let thread = thread::Builder::new().name("serials".into());
    // Ends with the blocks.
    drop(thread.spawn(run).context("can't start a thread")?);
    Ok(blocks)
}

/// Writes down what the next image of the program goes on with.
pub(super) fn write_down(blocks: &SerialBlocks, writer: &mut HandoverWriter) {
    let starts = blocks.starts();
    writer.section_of(SERIALS_FORMAT).record(|record| {
        record.list(starts.iter(), |record, start| record.u64(*start));
    });
}
