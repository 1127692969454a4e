//! What stands beside an endpoint on the same server.

use crate::base::Fd;
use crate::server::{Frame, Request, Responder, WorkerHandle};

/// The rest of a server that has an endpoint: requests and WebSockets that aren't the endpoint's.
pub trait EndpointHost: Send + Sync + 'static {
    /// Learns that the server listens and the endpoint has begun.
    fn started(&self, _: &WorkerHandle) {}

    /// Whether a new WebSocket is the host's own; the endpoint then hears nothing of it.
    fn takes(&self, _: &Request) -> bool {
        false
    }

    /// Whether a gateway that has opened this WebSocket at `/link` has shown the present key.
    fn admits_link(&self, _: &Request) -> bool {
        true
    }

    /// Whether an open WebSocket is the host's own.
    fn is_own(&self, _: Fd) -> bool {
        false
    }

    /// Whether a message of one of its own WebSockets may be received on a reactor's thread: what is
    /// done with it waits for nothing, and costs little.
    fn is_light(&self, _: Frame<'_>) -> bool {
        false
    }

    /// Receives a message of one of its own WebSockets.
    fn receive(&self, _: &WorkerHandle, _: Frame<'_>) {}

    /// Forgets one of its own WebSockets, which has ended.
    fn closed(&self, _: Fd) {}

    /// Answers a request that isn't for the endpoint's API.
    fn answer(&self, request: Request, responder: Responder);
}
