//! The times that the main thread of a server goes by, which a reload changes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::settings::ServerSettings;

/// Times in milliseconds; each is read when that begins which it bounds.
#[derive(Debug, Default)]
pub(super) struct MainTimes {
    stop_delay: AtomicU64,
    stop_max: AtomicU64,
    freeze_max: AtomicU64,
    pause_max: AtomicU64,
    thaw_max: AtomicU64,
}

impl MainTimes {
    pub(super) fn of(settings: &ServerSettings) -> Self {
        let times = Self::default();
        times.set(settings);
        times
    }

    /// Puts other times into force.
    pub(super) fn set(&self, settings: &ServerSettings) {
        let times = [
            (&self.stop_delay, settings.stop_delay_ms),
            (&self.stop_max, settings.stop_ms_max),
            (&self.freeze_max, settings.freeze_ms_max),
            (&self.pause_max, settings.pause_ms_max),
            (&self.thaw_max, settings.thaw_ms_max),
        ];
        for (own, ms) in times {
            own.store(ms, Ordering::Relaxed);
        }
    }

    /// Time from the word that the server stops until it takes nothing new.
    pub(super) fn stop_delay_ms(&self) -> u64 {
        self.stop_delay.load(Ordering::Relaxed)
    }

    /// Time that a stop may take until the connections that are left are cut.
    pub(super) fn stop_ms_max(&self) -> u64 {
        self.stop_max.load(Ordering::Relaxed)
    }

    /// Time in which all has to come to a stand.
    pub(super) fn freeze_ms_max(&self) -> u64 {
        self.freeze_max.load(Ordering::Relaxed)
    }

    /// Longest stand that an upgrade is dared for.
    pub(super) fn pause_ms_max(&self) -> u64 {
        self.pause_max.load(Ordering::Relaxed)
    }

    /// Time in which the next image has to go on.
    pub(super) fn thaw_ms_max(&self) -> u64 {
        self.thaw_max.load(Ordering::Relaxed)
    }
}
