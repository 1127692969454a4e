//! The gateway's threads in a freeze: the relay rests first, since it gives the disk what upstreams have
//! acknowledged; then the disk thread, with nothing left to write.

use std::sync::Arc;

use super::outbox::Outbox;
use super::relay::RelayHandle;
use crate::base::rest::RestOrder;
use crate::server::Freezes;

/// The relay's thread.
pub(super) struct RelayRest(pub(super) RelayHandle);

impl Freezes for RelayRest {
    fn name(&self) -> &'static str {
        "the relay, which reads a page of the outbox"
    }

    fn rest(&self, order: RestOrder) {
        self.0.rest(order);
    }

    fn thaw(&self) {
        self.0.thaw();
    }
}

/// The disk thread of the outbox.
pub(super) struct OutboxRest(pub(super) Arc<Outbox>);

impl Freezes for OutboxRest {
    fn name(&self) -> &'static str {
        "the disk"
    }

    fn rest(&self, order: RestOrder) {
        self.0.disk.rest(order);
    }

    fn thaw(&self) {
        self.0.disk.thaw();
    }
}
