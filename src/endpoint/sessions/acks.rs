//! Acknowledgements on their way to the disk: many of one user become one record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::Tick;
use crate::base::sync::lock;
use crate::chat::User;
use crate::endpoint::services::Services;
use crate::endpoint::store_task::{ReplyTo, StoreTask};

/// Milliseconds after which acknowledgements are given to the disk: with the disk's own time they
/// are written within a second.
const STORE_EVERY_MS: u64 = 500;

/// Acknowledgements that wait, one a channel and user; more are given to the disk at once. This
/// many take some 10 MB.
const WAITING_MAX: usize = 100_000;

/// The newest acknowledgement of each user in each channel, until it is given to the disk.
#[derive(Debug, Default)]
pub(super) struct Acks(Mutex<PendingAcks>);

#[derive(Debug, Default)]
struct PendingAcks {
    offsets: BTreeMap<(Arc<str>, User), u64>,
    stored: Option<Tick>,
}

impl Acks {
    /// Notes that a user has received everything of a channel up to `offset`.
    pub(super) fn note(&self, services: &Services, channel: &str, user: User, offset: u64) {
        let mut waiting = lock(&self.0);
        let known = waiting.offsets.entry((channel.into(), user)).or_default();
        *known = offset.max(*known);
        if waiting.offsets.len() >= WAITING_MAX {
            store(services, &mut waiting);
        }
    }

    /// Gives the pending acknowledgements to the disk if it is time.
    pub(super) fn store_if_due(&self, services: &Services) {
        let now = services.now().tick;
        let mut waiting = lock(&self.0);
        if waiting
            .stored
            .is_none_or(|stored| stored.after(STORE_EVERY_MS) <= now)
        {
            waiting.stored = Some(now);
            store(services, &mut waiting);
        }
    }

    /// Gives the pending acknowledgements to the disk.
    pub(super) fn store(&self, services: &Services) {
        store(services, &mut lock(&self.0));
    }
}

fn store(services: &Services, waiting: &mut PendingAcks) {
    for ((channel, user), offset) in std::mem::take(&mut waiting.offsets) {
        let task = StoreTask::Ack {
            channel,
            user,
            offset,
        };
        services.store(task, ReplyTo::Nobody);
    }
}
