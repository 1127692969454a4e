//! Other settings for a journal that runs.

use std::sync::Arc;

use super::journal::Journal;
use super::maintenance::EXPIRED_AT_ONCE;
use super::settings::{StoreSettings, SyncPolicy};
use super::state::StoreState;

impl Journal {
    /// Goes by other settings from now on.
    pub(super) fn take_settings(&mut self, settings: StoreSettings) {
        let has_other_retention = !Arc::ptr_eq(&self.settings.retention, &settings.retention);
        self.settings = StoreSettings {
            directory: self.settings.directory.clone(),
            when_full: self.settings.when_full,
            ..settings
        };
        self.dedup.set_max(self.settings.dedup_entries_max);
        if has_other_retention {
            let retention = Arc::clone(&self.settings.retention);
            self.view.state_mut().retention = retention;
            self.maintenance.retains_from = Some(0);
            self.maintenance.retain_pieces = 1;
            self.retain_piece();
        }
        let end = self.active.end;
        if self.settings.sync == SyncPolicy::Always
            && self.active.durable < end
            && self.failure().is_none()
            && let Err(error) = self.sync_to(end)
        {
            let error = self.fail(error);
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "what was written before can't be synced"
            );
        }
    }

    /// Has some channels keep what the present retention says; whether there may be more of them.
    pub(super) fn retain_piece(&mut self) -> bool {
        let Some(from) = self.maintenance.retains_from else {
            return false;
        };
        if self.maintenance.retain_pieces == 0 {
            return false;
        }
        self.maintenance.retain_pieces -= 1;
        let next = self.view.state_mut().retain(from, EXPIRED_AT_ONCE);
        self.maintenance.retains_from = next;
        true
    }
}

impl StoreState {
    /// Has channels keep what the present retention says, with the bounds of [`StoreState::expire`].
    fn retain(&mut self, from: usize, channels_max: usize) -> Option<usize> {
        let retention = Arc::clone(&self.retention);
        self.let_go(from, channels_max, |channel, usage, max| {
            channel.log.retain(retention(&channel.name), max, usage)
        })
    }
}
