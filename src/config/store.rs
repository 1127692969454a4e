//! The library's store settings, made from ours.

use std::path::PathBuf;
use std::sync::Arc;

use super::Settings;
use tidings::endpoint::ReplaySettings;
use tidings::server::Watermarks;
use tidings::store::{DiskSettings, Retention, StoreSettings, SyncPolicy};

/// Records and bytes that one call to the engine of a cluster takes at most: nothing else is done there
/// meanwhile, for two or three milliseconds.
const CALL_RECORDS_MAX: usize = 256;
const CALL_BYTES_MAX: usize = 256 * 1_024;

/// The word that stands for no folder.
const IN_MEMORY: &str = "none";

impl Settings {
    /// Returns the folder of the data; `None` keeps everything in memory only, or in the cluster.
    #[must_use]
    pub fn data(&self) -> Option<PathBuf> {
        self.data_alone().filter(|_| !self.is_node())
    }

    /// Returns the folder of the data that the server would have if it were alone.
    #[must_use]
    pub fn data_alone(&self) -> Option<PathBuf> {
        (self.store.data != IN_MEMORY).then(|| self.store.data.clone().into())
    }

    /// Makes the settings of the library's store.
    #[must_use]
    pub fn store(&self) -> StoreSettings {
        let store = &self.store;
        let alone = Retention {
            messages_max: store.messages_max,
            age_ms_max: store.age_ms_max,
            bytes_max: store.channel_size_max,
        };
        let in_cluster = self.is_node().then(|| self.retention_in_cluster());
        let rules = store.keep.clone();
        let retention = move |channel: &str| {
            let otherwise = in_cluster.as_ref().map_or(alone, |bounds| bounds(channel));
            let rule = rules.iter().find(|rule| rule.pattern.matches(channel));
            rule.map_or(otherwise, |rule| rule.retention(otherwise))
        };
        StoreSettings {
            sync: store.sync.0,
            retention: Arc::new(retention),
            bytes_max: store.total_size_max,
            free_bytes_min: store.disk_free_size_min,
            segment_bytes_max: store.segment_size_max,
            dedup_ms: self.chat.repeat_ms,
            dedup_entries_max: match self.is_node() {
                true => self.cluster.ids_max,
                false => self.chat.repeat_entries_max,
            },
            dedup_entries_per_sender_max: self.cluster.ids_per_sender_max,
            channels_max: (self.chat.channels_max).saturating_add(self.chat.unclaimed_lines_max),
            ..StoreSettings::new(self.data().unwrap_or_default())
        }
    }

    /// Says in words from which moment a message counts as stored, and what a client can rely on
    /// then.
    #[must_use]
    pub fn promise(&self) -> &'static str {
        if self.is_node() {
            return self.promise_in_cluster();
        }
        match (self.data(), self.store.sync.0) {
            (None, _) => "none: messages are in memory, and gone after a restart",
            (_, SyncPolicy::Always) => {
                "always: what was answered survives a crash of the program, the system, the power"
            }
            (_, SyncPolicy::IntervalMs(_)) => {
                "interval: what was answered survives a crash of the program; one of the system or \
                 the power may take what came since the last sync"
            }
            (_, SyncPolicy::Os) => {
                "os: what was answered survives a crash of the program; one of the system or the \
                 power may take what the system has not written yet"
            }
        }
    }

    /// Makes the settings of the disk thread and its queue.
    #[must_use]
    pub fn disk(&self) -> DiskSettings {
        let queues = &self.queues;
        let call = match self.is_node() {
            true => (CALL_RECORDS_MAX, CALL_BYTES_MAX),
            false => (usize::MAX, DiskSettings::default().batch_bytes_max),
        };
        DiskSettings {
            marks: Watermarks {
                items_high: queues.disk_items_high,
                items_low: queues.disk_items_high / 4,
                bytes_high: queues.disk_size_high,
                bytes_low: queues.disk_size_high / 4,
            },
            batch_records_max: queues.disk_batch_max.min(call.0),
            batch_bytes_max: call.1,
            commit_delay_percent: queues.disk_gather_percent as u32,
            commit_delay_us_max: queues.disk_gather_us_max as u32,
        }
    }

    /// Makes the bounds for connections that catch up from the disk.
    #[must_use]
    pub fn replays(&self) -> ReplaySettings {
        ReplaySettings {
            active_max: self.store.replays_active_max,
            replays_max: self.store.replays_max,
            page_bytes_max: self.chat.page_size_max,
            outbox_bytes_low: self.outbox.size_max / 2,
        }
    }
}
