//! What a server knows of connections that came through proxies.

use super::delivery::Delivery;
use super::handle::Handle;
use crate::base::Fd;
use crate::net::directory::ThroughProxy;

impl<D: Delivery> Handle<D> {
    /// Returns what a proxy that is believed has told of a connection's peer; `None` where it came
    /// directly, or isn't there. For the requests of a kept connection it is that of the last one.
    #[must_use]
    pub fn through_proxy(&self, fd: Fd) -> Option<ThroughProxy> {
        self.shared().directory_of(fd)?.through_proxy(fd)
    }
}
