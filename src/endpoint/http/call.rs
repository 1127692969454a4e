//! One request to the HTTP API, as its handler reads it.

use std::borrow::Cow;

use super::caller::ApiCaller;
use super::query::Query;
use crate::api::body::{json_body, json_body_or_none};
use crate::api::refusal::Refusal;
use crate::chat::Actor;
use crate::server::{Request, WorkerHandle};

/// The variables of a path, decoded; each is empty, or 0, where the path has none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PathNames<'a> {
    pub(super) room: Cow<'a, str>,
    pub(super) uid: Cow<'a, str>,
    pub(super) node: Cow<'a, str>,
    pub(super) fd: u64,
}

/// A request whose path, method, key and query are as its route wants them.
pub(super) struct ApiCall<'a> {
    pub(super) server: &'a WorkerHandle,
    pub(super) request: &'a Request,
    pub(super) caller: ApiCaller,
    pub(super) names: PathNames<'a>,
    pub(super) query: Query<'a>,
}

impl ApiCall<'_> {
    /// Returns the API key in whose name the chat acts.
    pub(super) fn actor(&self) -> Actor<'_> {
        self.caller.actor()
    }

    /// Returns the body, which has to be there as JSON.
    pub(super) fn body(&self) -> Result<&str, Refusal> {
        json_body(self.request)
    }

    /// Returns the body, which has to be JSON if it isn't empty.
    pub(super) fn body_or_none(&self) -> Result<&str, Refusal> {
        json_body_or_none(self.request)
    }
}
