//! A server that is its endpoint's alone.

use tidings::endpoint::EndpointHost;
use tidings::server::{Request, Responder, Response};

/// Answers 404 to whatever isn't the endpoint's.
pub struct NothingElse;

impl EndpointHost for NothingElse {
    fn answer(&self, _: Request, responder: Responder) {
        responder.end(Response::new(404));
    }
}
