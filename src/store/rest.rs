//! A journal at rest: the program may be replaced, without a drop, and the next one opens the files.

use super::journal::{Health, Journal};

impl Journal {
    /// Confirms what was written, as the drop does, and waits for what is done aside. A rollover that
    /// was begun stays as it is: it goes on here, or its unfinished file is removed by whoever opens the
    /// store next.
    pub(super) fn come_to_rest(&mut self) {
        self.aside.wait();
        if let Health::Failed { .. } = self.health {
            return;
        }
        let end = self.active.end;
        if self.active.durable < end
            && let Err(error) = self.sync_to(end)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the last batches can't be made durable");
            return;
        }
        if self.active.confirmed < end
            && let Err(error) = self.write_sync_marker()
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the last batch can't be confirmed");
        }
    }
}
