//! What the callbacks, the disk thread and the replay thread share: the chat, the clock, the way to
//! the server, the way to the disk.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::replay::Replays;
use super::server_sink::{Reply, ServerSink};
use super::work::StoreJob;
use crate::base::Tick;
use crate::chat::{Chat, Moment};
use crate::server::Handle;
use crate::store::{Disk, Reader};

/// See the module.
pub(super) struct Services {
    pub(super) chat: Chat,
    pub(super) reader: Arc<dyn Reader>,
    pub(super) disk: Disk<StoreJob>,
    pub(super) replays: Replays,
    started: Instant,
    /// Set once the server runs, before anybody comes.
    server: Arc<OnceLock<Handle>>,
}

impl Services {
    pub(super) fn new(
        chat: Chat,
        reader: Arc<dyn Reader>,
        disk: Disk<StoreJob>,
        replays: Replays,
        server: Arc<OnceLock<Handle>>,
    ) -> Self {
        Self {
            chat,
            reader,
            disk,
            replays,
            started: Instant::now(),
            server,
        }
    }

    /// The server runs.
    pub(super) fn meet(&self, server: Handle) {
        // Only set here, and only once.
        self.server.get_or_init(|| server);
    }

    pub(super) fn server(&self) -> Option<&Handle> {
        self.server.get()
    }

    pub(super) fn now(&self) -> Moment {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Moment {
            tick: self.tick(),
            unix_ms: unix.as_millis() as u64,
        }
    }

    /// The half of [`Services::now`] that what is stored needs.
    pub(super) fn tick(&self) -> Tick {
        Tick(self.started.elapsed().as_millis() as u64)
    }

    /// Sends what the chat gives out, on any thread.
    pub(super) fn sink(&self) -> Option<ServerSink<'_>> {
        let server = Cow::Borrowed(self.server()?);
        Some(ServerSink::new(self, server, Reply::Silent))
    }
}
