//! The endpoint's threads in a freeze: the one that reads pages rests first, since it posts what it has
//! read; then the one that writes, with nothing left to write.

use std::sync::Arc;

use super::services::Services;
use super::sessions::Sessions;
use crate::base::rest::RestOrder;
use crate::server::Freezes;

/// The thread that reads pages for clients that return: it rests between two of them.
pub(super) struct ReplayRest(pub(super) Arc<Services>);

impl Freezes for ReplayRest {
    fn name(&self) -> &'static str {
        "the replay thread, which reads a page of history"
    }

    fn rest(&self, order: RestOrder) {
        self.0.replays.rest(order);
    }

    fn thaw(&self) {
        self.0.replays.thaw();
    }
}

/// The thread for look-ups: it rests once all that waits is answered.
pub(super) struct LookupRest(pub(super) Arc<Services>);

impl Freezes for LookupRest {
    fn name(&self) -> &'static str {
        "the thread for look-ups, which waits for the cluster"
    }

    fn rest(&self, order: RestOrder) {
        if let Some(cluster) = &self.0.cluster {
            cluster.lookups.rest(order);
        }
    }

    fn thaw(&self) {
        if let Some(cluster) = &self.0.cluster {
            cluster.lookups.thaw();
        }
    }
}

/// The disk thread, and the endpoint's clock.
pub(super) struct DiskRest {
    pub(super) services: Arc<Services>,
    pub(super) sessions: Arc<Sessions>,
}

impl Freezes for DiskRest {
    fn name(&self) -> &'static str {
        "the disk"
    }

    fn hush(&self) {
        self.services.clock.stop();
        // Most of them are written while requests are answered.
        self.sessions.finish();
    }

    fn rest(&self, order: RestOrder) {
        self.sessions.finish();
        self.services.disk.rest(order);
    }

    fn thaw(&self) {
        self.services.disk.thaw();
        self.services.clock.go_on();
    }
}
