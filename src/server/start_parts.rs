//! The parts of a server that are made before its threads.

use std::io;
use std::sync::Arc;

use mio::Waker;

use super::process::{ProcessLaunch, ProcessSpec, Supervisor};
use super::settings::ServerSettings;
use super::shared::ServerShared;
use super::upgrade::UPGRADE_VAR;
use crate::base::pressure::Pressure;

/// Lists the pressures of the queues that all connections feed: the user's own, and the mailboxes'.
pub(super) fn all_pressures(
    own: Vec<Arc<Pressure>>,
    shared: &ServerShared,
) -> Arc<[Arc<Pressure>]> {
    let mailboxes = shared.mailboxes.iter();
    let of_mailboxes = mailboxes.filter_map(|mailbox| mailbox.pressure());
    own.into_iter().chain(of_mailboxes.cloned()).collect()
}

/// Makes the supervisor of the processes of these names.
pub(super) fn supervisor<'a>(
    (names, launch): (impl Iterator<Item = &'a str>, &ProcessLaunch),
    settings: &ServerSettings,
    waker: Arc<Waker>,
) -> io::Result<Supervisor> {
    let mut launch = launch.clone();
    // A process is no image of its server.
    launch.variables_withheld.push(UPGRADE_VAR.into());
    let specs = names.map(|name| Ok(ProcessSpec::new(name)?.with_launch(launch.clone())));
    let specs = specs.collect::<io::Result<Vec<_>>>()?;
    // A waker that fails is logged where the server itself uses it.
    Supervisor::new(
        specs,
        settings.process,
        Arc::new(move || drop(waker.wake())),
    )
}
