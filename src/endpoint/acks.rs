//! Acknowledgements on their way to the disk: many of one user become one record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::services::Services;
use super::work::{ReplyTo, StoreJob, StoreTask};
use crate::base::Tick;
use crate::chat::User;

/// Milliseconds after which they are given to the disk: with its own time they are written within
/// a second.
const STORE_EVERY_MS: u64 = 500;

/// Acknowledgements that wait, one a channel and user; more are given to the disk at once.
const WAITING_MAX: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Acks(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    offsets: BTreeMap<(Arc<str>, User), u64>,
    stored: Option<Tick>,
}

impl Acks {
    /// A user has everything of a channel up to `offset`.
    pub(super) fn note(&self, services: &Services, channel: &str, user: User, offset: u64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = waiting.offsets.entry((channel.into(), user)).or_default();
        *known = offset.max(*known);
        if waiting.offsets.len() >= WAITING_MAX {
            give(services, &mut waiting);
        }
    }

    /// Gives them to the disk if it is time.
    pub(super) fn store_if_due(&self, services: &Services) {
        let now = services.now().tick;
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting
            .stored
            .is_none_or(|stored| stored.after(STORE_EVERY_MS) <= now)
        {
            waiting.stored = Some(now);
            give(services, &mut waiting);
        }
    }

    /// Gives them to the disk.
    pub(super) fn store(&self, services: &Services) {
        give(
            services,
            &mut self.0.lock().unwrap_or_else(PoisonError::into_inner),
        );
    }
}

fn give(services: &Services, waiting: &mut Waiting) {
    for ((channel, user), offset) in std::mem::take(&mut waiting.offsets) {
        let task = StoreTask::Ack {
            channel,
            user,
            offset,
        };
        services.disk.submit(StoreJob::new(task, ReplyTo::Nobody));
    }
}
