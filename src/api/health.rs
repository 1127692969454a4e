//! The answers that say whether a server lives and is ready, made on the reactor's thread so that a
//! stuck worker doesn't look like death.

use std::borrow::Cow;

use super::json::Json;
use crate::server::{Head, Response};

/// The path that is answered while the process lives.
pub const LIVENESS_PATH: &str = "/healthz";

/// The path that is answered with 200 only while requests can be taken.
pub const READINESS_PATH: &str = "/readyz";

/// The methods of both paths, as `Allow` lists them.
pub const HEALTH_METHODS: &str = "GET, HEAD";

/// What every look at [`LIVENESS_PATH`] finds.
const ALIVE: &str = "{\"status\":\"ok\"}";

/// The ability of a server to take requests at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerReadiness {
    /// The server takes requests.
    Ready,
    /// The server can't do its work; the words say why.
    Unready(Cow<'static, str>),
    /// The server hasn't begun yet, or is about to end.
    Stopping,
}

impl ServerReadiness {
    fn response(self) -> Response {
        match self {
            Self::Ready => status("ready"),
            Self::Unready(why) => unready(&why),
            Self::Stopping => unready("stopping"),
        }
    }
}

/// Answers `GET` and `HEAD` of the two paths; `None` for every other request.
pub fn answer(head: &Head, readiness: impl FnOnce() -> ServerReadiness) -> Option<Response> {
    match (head.method(), head.path()) {
        ("GET" | "HEAD", LIVENESS_PATH) => Some(Response::json(ALIVE)),
        ("GET" | "HEAD", READINESS_PATH) => Some(readiness().response()),
        _ => None,
    }
}

/// Whether a path is one of the two: another method than `GET` and `HEAD` gets 405 there.
#[must_use]
pub fn is_health_path(path: &str) -> bool {
    matches!(path, LIVENESS_PATH | READINESS_PATH)
}

/// A 503 says when to look again (RFC 9110 §15.6.4).
fn unready(why: &str) -> Response {
    status(why).with_status(503).field("Retry-After", "1")
}

fn status(status: &str) -> Response {
    Response::json(Json::object().string("status", status).end())
}
