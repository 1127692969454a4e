//! How long a node has heard nothing of the others, and when it sends its clients to those that hear.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tidings::cluster::shared::{NodePart, NodeShared};
use tidings::endpoint::Endpoint;

/// Time over which the closes are spread.
const WITHIN_MS: u64 = 10_000;

/// A watch over the bus of a node.
pub(super) struct Deafness {
    shared: Arc<NodeShared>,
    endpoint: Weak<Endpoint>,
    /// Since when nothing is heard, and whether the clients were sent away for it.
    since: Option<(Instant, bool)>,
}

impl Deafness {
    pub(super) fn new(shared: Arc<NodeShared>, endpoint: &Arc<Endpoint>) -> Self {
        Self {
            shared,
            endpoint: Arc::downgrade(endpoint),
            since: None,
        }
    }

    /// Sends the clients away once the node has been deaf for so long as the settings say; takes new ones
    /// again once it hears.
    pub(super) fn look(&mut self) {
        let deaf_max = Duration::from_millis(self.shared.settings.deaf_ms_max);
        if deaf_max.is_zero() {
            return;
        }
        match (self.shared.is_ready(NodePart::Bus), &mut self.since) {
            (true, None) => {}
            (true, Some((_, was_sent))) => {
                if *was_sent {
                    self.shared.set_draining(false);
                }
                self.since = None;
            }
            (false, None) => self.since = Some((Instant::now(), false)),
            (false, Some((since, was_sent))) if !*was_sent && since.elapsed() >= deaf_max => {
                *was_sent = true;
                tracing::warn!("the node hears nothing of the others: its clients are sent away");
                self.shared.set_draining(true);
                if let Some(endpoint) = self.endpoint.upgrade() {
                    endpoint.send_away(WITHIN_MS);
                }
            }
            (false, Some(_)) => {}
        }
    }
}
