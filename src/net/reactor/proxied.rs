//! Requests that come through proxies: whom each of them is from, before anybody else looks at it.

use std::cell::Cell;

use super::{ReactorContext, ReactorShared};
use crate::base::{Fd, PeerAddress};
use crate::proto::connection::Verdict;
use crate::proto::http::{Head, Response};

/// The answer to a WebSocket above `connections_per_address_max`.
const OVER_SHARE: &str = "{\"error\":{\"code\":\"unavailable\",\"message\":\
    \"too many connections of your address have not logged in\"}}";

impl ReactorContext {
    /// Judges a request; notes first whom a trusted proxy sends it for. A WebSocket that is one too many
    /// of its address is refused, and `over_share` is set.
    pub(super) fn judge(
        &self,
        shared: &ReactorShared,
        head: &Head,
        fd: Fd,
        over_share: &Cell<bool>,
    ) -> Verdict {
        let rules = &self.limits.proxies;
        if rules.is_empty() {
            return (self.gate)(head, fd);
        }
        let Some(sender) = shared.directory.sender(fd).filter(|one| rules.trusts(*one)) else {
            return (self.gate)(head, fd);
        };
        let client = rules.client(head, sender);
        let is_secure = rules.is_secure(head, sender);
        shared.directory.set_client(fd, client, is_secure);
        let verdict = (self.gate)(head, fd);
        let passes = !matches!(verdict, Verdict::Answer(_));
        if passes && head.asks_for_websocket() && !self.admits(shared, fd, client) {
            over_share.set(true);
            let answer = Response::json(OVER_SHARE).with_status(503);
            return Verdict::Answer(answer.field("Retry-After", "5"));
        }
        verdict
    }

    /// Counts a WebSocket with its client's address, which wasn't known when the connection came. Other
    /// requests aren't counted: the connection is the proxy's, and serves many.
    fn admits(&self, shared: &ReactorShared, fd: Fd, client: PeerAddress) -> bool {
        shared.strangers.remove(fd);
        if !shared.strangers.admits(client) {
            return false;
        }
        shared.strangers.insert(fd, client);
        true
    }
}
