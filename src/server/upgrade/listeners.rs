//! The listening sockets of the image before, up to the commit and through it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::Signal;

use super::entered::Entered;
use super::kernel::DescriptorKind;
use super::server_state::ServerState;
use crate::net::{Listener, SocketFile};

/// Makes a second descriptor of each listening socket: one that is closed before the commit takes no
/// listener away.
pub(in crate::server) fn duplicated(entered: &Entered) -> io::Result<Vec<Listener>> {
    let state = ServerState::read(&entered.handover()?).map_err(io::Error::other)?;
    let listeners = state.listeners.into_iter().map(|handed| {
        let socket: OwnedFd = entered.duplicate(handed.number, DescriptorKind::Socket)?;
        let mut listener = Listener::of(socket)?;
        listener.file = SocketFile::of(&listener.address, handed.identity);
        Ok(listener)
    });
    listeners.collect()
}

/// Closes the first descriptors of the listening sockets, after the commit, and gives the signals that
/// wait.
pub(in crate::server) fn adopt_server(entered: &Entered) -> Vec<Signal> {
    // The same was read before the commit.
    let state = entered.handover().ok();
    let Some(state) = state.and_then(|handover| ServerState::read(&handover).ok()) else {
        return Vec::new();
    };
    for listener in state.listeners {
        drop(entered.adopt(listener.number));
    }
    let signals = state.signals.into_iter();
    signals.filter_map(Signal::from_named_raw).collect()
}
