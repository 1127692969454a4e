//! The services that all threads of an endpoint share: the chat, the clock, the way to the server,
//! the way to the disk.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::replays::Replays;
use super::store_task::{ReplyTo, StoreJob, StoreTask};
use crate::api::refusal::Refusal;
use crate::base::Tick;
use crate::base::clock::unix_ms;
use crate::chat::{Chat, ErrorCode, Moment};
use crate::server::Handle;
use crate::store::{Disk, Reader};

/// The services that callbacks, the disk thread and the replay thread use.
pub(super) struct Services {
    pub(super) chat: Chat,
    pub(super) reader: Arc<dyn Reader>,
    pub(super) disk: Disk<StoreJob>,
    pub(super) replays: Replays,
    data_size_max: usize,
    started: Instant,
    /// The handle, set once the server runs, before anybody connects.
    server: OnceLock<Handle>,
}

impl Services {
    pub(super) fn new(
        chat: Chat,
        reader: Arc<dyn Reader>,
        disk: Disk<StoreJob>,
        replays: Replays,
        data_size_max: usize,
    ) -> Self {
        Self {
            chat,
            reader,
            disk,
            replays,
            data_size_max,
            started: Instant::now(),
            server: OnceLock::new(),
        }
    }

    /// Notes the server that runs.
    pub(super) fn meet(&self, server: Handle) {
        // Only set here, and only once.
        self.server.get_or_init(|| server);
    }

    pub(super) fn server(&self) -> Option<&Handle> {
        self.server.get()
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            tick: self.tick(),
            unix_ms: unix_ms(),
        }
    }

    /// Reads the half of [`Services::now`] that stored messages need.
    pub(super) fn tick(&self) -> Tick {
        Tick(self.started.elapsed().as_millis() as u64)
    }

    /// Has the disk thread carry out a task, and tell the outcome to `reply_to`.
    pub(super) fn store(&self, task: StoreTask, reply_to: ReplyTo) {
        self.disk.submit(StoreJob { task, reply_to });
    }

    /// Checks the size of a message's data, whichever way the message came.
    ///
    /// # Errors
    ///
    /// The data is larger than messages may be.
    pub(super) fn check_size(&self, data: &str) -> Result<(), Refusal> {
        let (size, size_max) = (data.len(), self.data_size_max);
        if size > size_max {
            let message = format!("data has {size} bytes, but at most {size_max} are taken");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        Ok(())
    }
}
