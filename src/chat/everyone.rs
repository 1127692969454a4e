//! The channel of all who logged in.

use std::sync::Arc;

use super::call::Call;
use super::log::MessageLog;
use super::placement::Placement;
use crate::base::{Fd, Position};

/// The channel of all users: its log, and the number of its connections.
#[derive(Debug)]
pub(super) struct Everyone {
    pub(super) log: MessageLog,
    pub(super) connections: usize,
}

impl Everyone {
    /// Places a message and sends it to all; `fds` are asked for only if some are left out. Gives
    /// the position and the number of receivers.
    pub(super) fn say(
        &mut self,
        call: &mut Call<'_>,
        name: &Arc<str>,
        placement: &Placement<'_>,
        fds: Vec<Fd>,
    ) -> (Option<Position>, usize) {
        let position = placement.append_to(&mut self.log, call.scope);
        let fds = fds.into_iter();
        let positions = (position, self.log.position());
        let receivers = placement.deliver(call, name, positions, self.connections, fds);
        (position, receivers)
    }
}
