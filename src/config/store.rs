//! The library's store settings, made from ours.

use std::path::PathBuf;
use std::sync::Arc;

use super::Settings;
use tidings::endpoint::ReplaySettings;
use tidings::server::Watermarks;
use tidings::store::{DiskSettings, Retention, StoreSettings, SyncPolicy};

/// The word that stands for no folder.
const IN_MEMORY: &str = "none";

impl Settings {
    /// Returns the folder of the data; `None` keeps everything in memory only.
    #[must_use]
    pub fn data(&self) -> Option<PathBuf> {
        (self.store.data != IN_MEMORY).then(|| self.store.data.clone().into())
    }

    /// Makes the settings of the library's store.
    #[must_use]
    pub fn store(&self) -> StoreSettings {
        let store = &self.store;
        let otherwise = Retention {
            messages_max: store.messages_max,
            age_ms_max: store.age_ms_max,
            bytes_max: store.channel_size_max,
        };
        let rules = store.keep.clone();
        let retention = move |channel: &str| {
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
            dedup_entries_max: self.chat.repeat_entries_max,
            channels_max: (self.chat.channels_max).saturating_add(self.chat.unclaimed_lines_max),
            ..StoreSettings::new(self.data().unwrap_or_default())
        }
    }

    /// Says in words from which moment a message counts as stored, and what a client can rely on
    /// then.
    #[must_use]
    pub fn promise(&self) -> &'static str {
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
        DiskSettings {
            marks: Watermarks {
                items_high: queues.disk_items_high,
                items_low: queues.disk_items_high / 4,
                bytes_high: queues.disk_size_high,
                bytes_low: queues.disk_size_high / 4,
            },
            batch_records_max: queues.disk_batch_max,
            commit_delay_percent: queues.disk_gather_percent as u32,
            commit_delay_us_max: queues.disk_gather_us_max as u32,
            ..DiskSettings::default()
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
