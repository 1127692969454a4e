//! The HTTP API: checks the key of a request, finds its handler, and answers.
//!
//! [`routes`] is the table of what there is; each entry names its handler, a method of [`HttpApi`].
//! A handler reads an [`ApiCall`] and returns an [`ApiReply`]; it never sees the responder.
//!
//! | file | handlers |
//! |---|---|
//! | `messages.rs` | `post_message`, `post_batch`, `room_history`, `user_history`, `purge_room`, `purge_inbox` |
//! | `rooms.rs` | `rooms`, `room`, `members`, `add_member`, `remove_member` |
//! | `users.rs` | `users`, `user`, `kick` |
//! | `connections.rs` | `connections`, `connection`, `disconnect`, `bind`, `unbind`, `session`, `set_session` |
//! | `nodes.rs` | `nodes`, `drain_node` |
//! | `numbers.rs` | `stats`, `metrics`, `openapi` |

mod body;
mod call;
mod caller;
mod connections;
mod guard;
mod messages;
mod nodes;
mod numbers;
mod orders;
mod query;
mod reply;
mod rooms;
mod routes;
mod users;

use std::sync::{Arc, OnceLock};

use super::links::Links;
use super::services::Services;
use super::sessions::Sessions;
use crate::api::Refused;
use crate::api::auth::bearer;
use crate::api::json::Json;
use crate::api::refusal::{Refusal, method_not_allowed};
use crate::base::{Fd, Metric};
use crate::server::{Head, Request, Responder, Response, WorkerHandle};
use call::ApiCall;
use caller::is_token;
use query::Query;
use reply::ApiReply;
use routes::ApiResource;

/// Bytes of the body of a light request at the most: with short names that is some 200 receivers, who
/// take 0.2 ms.
const LIGHT_BODY_BYTES_MAX: usize = 1_024;

/// Answers back ends.
pub(super) struct HttpApi {
    services: Arc<Services>,
    sessions: Arc<Sessions>,
    links: Arc<Links>,
    /// Numbers of the program around the endpoint.
    host_metrics: fn() -> Vec<Metric>,
    host_groups: OnceLock<Vec<MetricGroup>>,
}

/// Numbers of the program around the endpoint that belong together, under their name.
pub type MetricGroup = (&'static str, Box<dyn Fn() -> Vec<Metric> + Send + Sync>);

impl HttpApi {
    pub(super) fn new(
        services: Arc<Services>,
        sessions: Arc<Sessions>,
        links: Arc<Links>,
        host_metrics: fn() -> Vec<Metric>,
    ) -> Self {
        Self {
            services,
            sessions,
            links,
            host_metrics,
            host_groups: OnceLock::new(),
        }
    }

    /// Shows these groups as well; only the first call counts.
    pub(super) fn show_groups(&self, groups: Vec<MetricGroup>) {
        self.host_groups.set(groups).ok();
    }

    /// Answers a request if its path is one of the API's; gives it back otherwise.
    pub(super) fn answer(
        &self,
        server: &WorkerHandle,
        request: Request,
        responder: Responder,
    ) -> Option<(Request, Responder)> {
        let reply = match ApiResource::at(request.path()) {
            Ok(None) => return Some((request, responder)),
            Ok(Some(resource)) => self.reply(server, &request, resource),
            Err(refusal) => Err(refusal),
        };
        match reply {
            Ok(reply) => reply.send(self, responder),
            Err(refusal) => {
                self.note_wrong(&request, &refusal);
                responder.end(refusal.response());
            }
        }
        None
    }

    /// Counts and logs a request or a message that was wrong.
    fn note_wrong(&self, request: &Request, refusal: &Refusal) {
        let key = bearer(request.header("authorization"));
        let key = key.and_then(|key| self.sessions.name_of_key(key));
        let asked = self.asked(request, key.as_deref());
        self.sessions.note_wrong(refusal.code, asked);
    }

    fn asked<'a>(&self, request: &'a Request, who: Option<&'a str>) -> Refused<'a> {
        Refused {
            host: request.header("host"),
            origin: request.header("origin"),
            ..self.sessions.refused(request.fd, who)
        }
    }

    /// Judges by the head alone a request that brings a body; returns whether the path is the
    /// API's.
    ///
    /// # Errors
    ///
    /// The answer, which no body could change.
    pub(super) fn admit_head(&self, head: &Head, fd: Fd) -> Result<bool, Response> {
        let resource = match ApiResource::at(head.path()) {
            Ok(None) => return Ok(false),
            Ok(Some(resource)) => resource,
            Err(refusal) => return Err(refusal.response()),
        };
        let Some(route) = resource.route(head.method()) else {
            return Err(method_not_allowed(&resource.allow()));
        };
        let asked = || Refused {
            host: head.field_text("host"),
            origin: head.field_text("origin"),
            ..self.sessions.refused(fd, None)
        };
        let field = head.field_text("authorization");
        let caller = self.caller(route.guard, field, asked);
        caller.map_err(|refusal| refusal.response())?;
        Ok(true)
    }

    /// Whether a request may be answered on a reactor's thread: short, to a route that looks into
    /// memory alone, and without a token, whose signature may take long to check.
    pub(super) fn is_light(&self, head: &Head, body: &[u8]) -> bool {
        if body.len() > LIGHT_BODY_BYTES_MAX {
            return false;
        }
        let resource = ApiResource::at(head.path()).ok().flatten();
        let route = resource.and_then(|resource| resource.route(head.method()));
        route.is_some_and(|route| route.is_light)
            && !bearer(head.field_text("authorization")).is_some_and(is_token)
    }

    /// Answers at once where nobody else has to be asked, and from the thread for look-ups in a cluster.
    fn ask(
        &self,
        question: impl FnOnce(&Arc<Services>) -> Result<Json, Refusal> + Send + 'static,
    ) -> Result<ApiReply, Refusal> {
        match self.services.nodes() {
            None => question(&self.services).map(ApiReply::Json),
            Some(_) => Ok(ApiReply::Ask(Box::new(question))),
        }
    }

    fn reply(
        &self,
        server: &WorkerHandle,
        request: &Request,
        resource: ApiResource<'_>,
    ) -> Result<ApiReply, Refusal> {
        let Some(route) = resource.route(request.method()) else {
            return Ok(ApiReply::Response(method_not_allowed(&resource.allow())));
        };
        if matches!(request.method(), "GET" | "HEAD") && !server.exists(request.fd) {
            // The client has gone, so no answer is heard.
            return Ok(ApiReply::Response(Response::new(503)));
        }
        let field = request.header("authorization");
        let caller = self.caller(route.guard, field, || self.asked(request, None))?;
        if caller.is_known() {
            server.vouch_for(request.fd);
        }
        if route.guard.is_limited() {
            self.sessions.admit_request(request.fd, caller.actor())?;
        }
        let call = ApiCall {
            server,
            request,
            caller,
            names: resource.names,
            query: Query::of(request.query(), route.query)?,
        };
        (route.handler)(self, &call)
    }
}
