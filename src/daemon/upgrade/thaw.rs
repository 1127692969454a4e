//! A daemon that goes on where an image of the program before it stopped.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde_json::{Value, json};
use tidings::server::upgrade::kernel::DescriptorKind;
use tidings::server::upgrade::{Entered, ThawRelay, since};

use super::state::DaemonState;
use crate::config::Loaded;
use crate::control::{ControlSocket, answer_peer};
use crate::version::version;

/// What a daemon goes on with.
#[derive(Debug)]
pub struct Thaw {
    /// The way to the main thread, and the descriptors.
    pub relay: ThawRelay,
    /// The daemon.
    pub state: DaemonState,
    /// The settings that were in force before.
    pub before: Option<Loaded>,
}

/// The daemon's own things, which become its own after the commit.
#[derive(Debug)]
pub(in crate::daemon) struct ThawedDaemon {
    entered: Arc<Entered>,
    pub(in crate::daemon) state: DaemonState,
    /// The version of the image before.
    from: String,
}

/// The control socket and its clients, with a new owner.
#[derive(Debug)]
pub(in crate::daemon) struct ThawedControl {
    pub(in crate::daemon) socket: ControlSocket,
    /// Clients, and what they have asked so far.
    pub(in crate::daemon) asked: Vec<(UnixStream, Vec<u8>)>,
}

impl Thaw {
    /// Makes a second descriptor of the lock of the data, if there is one.
    pub(in crate::daemon) fn lock(&self) -> anyhow::Result<Option<OwnedFd>> {
        let entered = self.relay.entered();
        let lock = self.state.lock;
        let lock = lock.map(|number| entered.duplicate(number, DescriptorKind::File));
        Ok(lock.transpose()?)
    }

    /// Splits off what the daemon takes over after the commit.
    pub(in crate::daemon) fn daemon(&self) -> anyhow::Result<ThawedDaemon> {
        let entered = self.relay.entered();
        for (number, kind) in self.state.descriptors() {
            entered.check(number, kind)?;
        }
        Ok(ThawedDaemon {
            entered: Arc::clone(entered),
            state: self.state.clone(),
            from: entered.handover()?.head().program.clone(),
        })
    }
}

impl ThawedDaemon {
    /// Says how the upgrade ended, at the moment at which the server goes on.
    pub(in crate::daemon) fn outcome(&self) -> Value {
        let pause_ms = since(self.state.stood_since_us).as_millis() as u64;
        let connections = self.state.connections;
        let (from, to) = (&self.from, version());
        match self.entered.back() {
            None => {
                tracing::info!(from, to, connections, pause_ms, "upgraded");
                json!({
                    "ok": true,
                    "from": from,
                    "to": to,
                    "connections": connections,
                    "pause_ms": pause_ms,
                })
            }
            Some(reason) => {
                tracing::error!(
                    version = to,
                    connections,
                    pause_ms,
                    "the next image could not go on, so this one does: {reason}"
                );
                json!({
                    "ok": false,
                    "error": format!("the next image could not go on: {reason}"),
                    "connections": connections,
                    "pause_ms": pause_ms,
                })
            }
        }
    }

    /// Becomes the owner of the control socket and of its clients, and tells those who wait for the
    /// outcome of the upgrade.
    pub(in crate::daemon) fn control(&self, outcome: &Value) -> Option<ThawedControl> {
        // The journal has a second one.
        drop(
            self.state
                .lock
                .and_then(|number| self.entered.adopt(number)),
        );
        let (number, place) = self.state.control.clone()?;
        let listener = self.entered.adopt(number)?;
        let mut asked = Vec::new();
        for peer in &self.state.peers {
            let Some(stream) = self.entered.adopt(peer.descriptor) else {
                continue;
            };
            let stream = UnixStream::from(stream);
            match peer.awaits_upgrade {
                true => answer_peer(&stream, outcome),
                false => asked.push((stream, peer.asked.clone())),
            }
        }
        Some(ThawedControl {
            socket: ControlSocket::taken_over(listener, place),
            asked,
        })
    }
}
