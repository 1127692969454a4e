//! The processes of a handover, read and checked before the commit.

use std::io;

use super::entered::Entered;
use super::kernel::kind_of;
use crate::handover::{Handover, HandoverError};
use crate::server::process::{PROCESSES_FORMAT, ProcessSettings, ProcessesHandover, Supervisor};

/// Reads the processes, which have to be among those of the supervisor; `None` where there were none.
///
/// # Errors
///
/// The handover can't be read, doesn't fit the program, or names a descriptor that isn't there.
pub(super) fn processes(
    entered: &Entered,
    supervisor: &Supervisor,
    settings: &ProcessSettings,
) -> io::Result<Option<ProcessesHandover>> {
    let stats = supervisor.stats();
    let names: Vec<&str> = stats.iter().map(|one| &*one.name).collect();
    let processes = read(&entered.handover()?, &names, settings).map_err(io::Error::other)?;
    for number in processes.iter().flat_map(ProcessesHandover::descriptors) {
        entered.check(number, kind_of(number)?)?;
    }
    Ok(processes)
}

/// Reads the processes of a trial handover as a program with processes of these names would, and gives
/// them up again.
///
/// # Errors
///
/// The handover can't be read, or doesn't fit the program.
pub fn rehearse_processes(
    handover: &Handover<'_>,
    names: &[&str],
    settings: &ProcessSettings,
) -> Result<(), HandoverError> {
    read(handover, names, settings).map(drop)
}

fn read(
    handover: &Handover<'_>,
    names: &[&str],
    settings: &ProcessSettings,
) -> Result<Option<ProcessesHandover>, HandoverError> {
    let section = handover.section(PROCESSES_FORMAT.name);
    let processes = section.map(|section| ProcessesHandover::read(&section, names, settings));
    processes.transpose()
}
