//! The listening sockets of the image before, up to the commit and through it.

use std::io;
use std::net::TcpListener;

use rustix::process::Signal;

use super::entered::Entered;
use super::kernel::DescriptorKind;
use super::server_state::ServerState;

/// Makes a second descriptor of each listening socket: one that is closed before the commit takes no
/// listener away.
pub(in crate::server) fn duplicated(entered: &Entered) -> io::Result<Vec<TcpListener>> {
    let state = ServerState::read(&entered.handover()?).map_err(io::Error::other)?;
    let numbers = state.listeners.into_iter();
    let listeners = numbers.map(|number| entered.duplicate(number, DescriptorKind::Socket));
    listeners.map(|listener| Ok(listener?.into())).collect()
}

/// Closes the first descriptors of the listening sockets, after the commit, and gives the signals that
/// wait.
pub(in crate::server) fn adopt_server(entered: &Entered) -> Vec<Signal> {
    // The same was read before the commit.
    let state = entered.handover().ok();
    let Some(state) = state.and_then(|handover| ServerState::read(&handover).ok()) else {
        return Vec::new();
    };
    for number in state.listeners {
        drop(entered.adopt(number));
    }
    let signals = state.signals.into_iter();
    signals.filter_map(Signal::from_named_raw).collect()
}
