//! The reactors of a handover, and the events that wait for their connections' turns, read and checked
//! before the commit.

use std::io;
use std::sync::Arc;

use super::entered::Entered;
use super::kernel::DescriptorKind;
use crate::handover::{Handover, HandoverError};
use crate::net::budget::ByteBudget;
use crate::net::frame_table::{FRAMES, HandedFrames};
use crate::net::reactor::{REACTOR, ReactorHandover};
use crate::server::turns::{HandedWaiting, WAITING, read_waiting};

/// Reads all reactors, whose frames are counted in this budget.
///
/// # Errors
///
/// The handover can't be read, is of another number of reactors, or names a socket that isn't there.
pub(in crate::server) fn reactors(
    entered: &Entered,
    count: usize,
    budget: &Arc<ByteBudget>,
) -> io::Result<Vec<ReactorHandover>> {
    let handover = entered.handover()?;
    let reactors = read(&handover, budget).map_err(io::Error::other)?;
    if reactors.len() != count {
        let had = reactors.len();
        return Err(io::Error::other(format!(
            "there were {had} reactors, and shall be {count}: that takes a restart"
        )));
    }
    for socket in reactors.iter().flat_map(ReactorHandover::sockets) {
        entered.check(socket, DescriptorKind::Socket)?;
    }
    Ok(reactors)
}

/// Reads the reactors of a trial handover, and gives them up again.
///
/// # Errors
///
/// The handover can't be read.
pub fn rehearse_reactors(handover: &Handover<'_>) -> Result<(), HandoverError> {
    read(handover, &ByteBudget::new(usize::MAX))?;
    all_waiting(handover).map(drop)
}

/// Reads what waits on the threads that run callbacks.
///
/// # Errors
///
/// The handover can't be read.
pub(in crate::server) fn waiting(entered: &Entered) -> io::Result<HandedWaiting> {
    all_waiting(&entered.handover()?).map_err(io::Error::other)
}

fn all_waiting(handover: &Handover<'_>) -> Result<HandedWaiting, HandoverError> {
    let mut waiting = HandedWaiting::default();
    for section in handover.sections().filter(|one| one.kind() == WAITING.name) {
        read_waiting(section, &mut waiting)?;
    }
    Ok(waiting)
}

fn read(
    handover: &Handover<'_>,
    budget: &Arc<ByteBudget>,
) -> Result<Vec<ReactorHandover>, HandoverError> {
    let frames = HandedFrames::read(handover.needed(FRAMES.name)?, budget)?;
    let sections = handover.sections().filter(|one| one.kind() == REACTOR.name);
    sections
        .map(|section| ReactorHandover::read(section, &frames))
        .collect()
}
