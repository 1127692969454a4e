//! The HTTP API: who asks, what for, and the answer.

mod body;
mod messages;
mod numbers;
mod people;
mod route;

use std::borrow::Cow;

use super::access::bearer;
use super::door::Door;
use super::json::Json;
use super::refusal::Refusal;
use crate::chat::{Actor, ErrorCode};
use crate::server::{Request, Responder, Response, WorkerHandle};
use people::connections;
use route::{Query, Resource};

/// What the API has to say of itself.
const OPENAPI: &str = include_str!("openapi.json");

/// Who asks: an API key's name, empty in open mode.
type Key<'a> = Cow<'a, str>;

/// An answer in the making.
enum Answer {
    /// 200 with this object.
    Object(Json),
    /// Anything else.
    Other(Response),
}

impl Door {
    /// Answers a request if its path is one of the API's; gives it back otherwise.
    pub fn answer(
        &self,
        server: &WorkerHandle,
        request: Request,
        responder: Responder,
    ) -> Option<(Request, Responder)> {
        let response = match Resource::at(request.path()) {
            Ok(None) => return Some((request, responder)),
            Ok(Some(resource)) => self.respond(server, &request, &resource),
            Err(refusal) => Err(refusal),
        };
        responder.end(response.unwrap_or_else(|refusal| refused(&refusal)));
        None
    }

    fn respond(
        &self,
        server: &WorkerHandle,
        request: &Request,
        resource: &Resource<'_>,
    ) -> Result<Response, Refusal> {
        let method = request.method();
        if !resource.methods().split(", ").any(|known| known == method) {
            let message = format!("{} is answered here", resource.methods());
            let refusal = Refusal::bad_request(message).with_status(405);
            return Ok(refused(&refusal).field("Allow", resource.methods()));
        }
        // The description holds no secret, and says how to show a key.
        let key = match resource {
            Resource::OpenApi => Cow::Borrowed(""),
            _ => self.key(request)?,
        };
        // Whoever watches the server must see it when it is busy, too.
        if !matches!(
            resource,
            Resource::OpenApi | Resource::Stats | Resource::Metrics
        ) {
            self.limits.request(self.now().tick.0, &key)?;
        }
        let answer = self.object(server, request, resource, &key)?;
        Ok(match answer {
            Answer::Object(json) => Response::json(json.end()),
            Answer::Other(response) => response,
        })
    }

    /// Who asks.
    fn key(&self, request: &Request) -> Result<Key<'static>, Refusal> {
        if self.access.is_open() {
            return Ok(Cow::Borrowed(""));
        }
        let refusal = |message| Refusal::new(ErrorCode::Unauthorized, message);
        let key = bearer(request.header("authorization")).ok_or_else(|| {
            refusal("Authorization is missing; it has to be Bearer and an API key")
        })?;
        let name = self
            .access
            .api_key(key)
            .ok_or_else(|| refusal("Authorization holds no API key of ours"))?;
        Ok(Cow::Owned(name.to_string()))
    }

    fn object(
        &self,
        server: &WorkerHandle,
        request: &Request,
        resource: &Resource<'_>,
        key: &str,
    ) -> Result<Answer, Refusal> {
        let actor = Actor::Key(key);
        let method = if request.method() == "HEAD" {
            "GET"
        } else {
            request.method()
        };
        let known: &[&str] = match (resource, method) {
            (Resource::Rooms, _) => &["prefix", "limit", "after"],
            (Resource::Members(_) | Resource::Connections, _) => &["limit", "after"],
            (Resource::RoomMessages(_), "GET") | (Resource::UserMessages(_), _) => {
                &["after", "before", "limit"]
            }
            (Resource::Users, _) => &["uid"],
            _ => &[],
        };
        let query = Query::of(request.query(), known)?;
        Ok(Answer::Object(match (resource, method) {
            (Resource::Messages, _) => self.post_message(server, actor, json_body(request)?)?,
            (Resource::Batch, _) => self.post_batch(server, actor, json_body(request)?)?,
            (Resource::Rooms, _) => self.rooms(&query)?,
            (Resource::Room(room), _) => self.room(room)?,
            (Resource::Members(room), _) => self.members(server, room, &query)?,
            (Resource::Member(room, uid), "PUT") => self.add_member(server, room, uid)?,
            (Resource::Member(room, uid), _) => self.remove_member(server, room, uid)?,
            (Resource::RoomMessages(room), "DELETE") => self.purge(server, room)?,
            (Resource::RoomMessages(room), _) => self.history(actor, room, &query)?,
            (Resource::Users, _) => self.users(&query)?,
            (Resource::User(uid), _) => self.user(uid),
            (Resource::UserMessages(uid), _) => self.history(actor, &format!("@{uid}"), &query)?,
            (Resource::Kick(uid), _) => self.kick(server, uid, json_body_or_none(request)?)?,
            (Resource::Connections, _) => connections(server, &query)?,
            (Resource::Connection(fd), "DELETE") => self.disconnect(server, *fd)?,
            (Resource::Connection(fd), _) => self.connection(server, *fd)?,
            (Resource::ConnectionUser(fd), "PUT") => self.bind(server, *fd, json_body(request)?)?,
            (Resource::ConnectionUser(fd), _) => self.unbind(server, *fd)?,
            (Resource::Stats, _) => return Ok(Answer::Other(self.stats(server))),
            (Resource::Metrics, _) => return Ok(Answer::Other(self.metrics(server))),
            (Resource::OpenApi, _) => return Ok(Answer::Other(Response::json(OPENAPI))),
        }))
    }
}

/// The body as text, which has to be there as JSON.
fn json_body(request: &Request) -> Result<&str, Refusal> {
    let kind = request.header("content-type").unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let refusal = Refusal::bad_request("Content-Type has to be application/json");
        return Err(refusal.with_status(415));
    }
    std::str::from_utf8(request.body()).map_err(|_| Refusal::bad_request("the body is no UTF-8"))
}

fn json_body_or_none(request: &Request) -> Result<&str, Refusal> {
    if request.body().is_empty() {
        Ok("")
    } else {
        json_body(request)
    }
}

/// `{"error":{"code","message"}}` with the status that goes with it.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let response = Response::json(error(refusal).end()).with_status(refusal.status);
    match refusal.code {
        ErrorCode::Unauthorized => response.field("WWW-Authenticate", "Bearer"),
        ErrorCode::RateLimited | ErrorCode::Unavailable => {
            response.field("Retry-After", &refusal.retry_after_s.to_string())
        }
        _ => response,
    }
}

fn error(refusal: &Refusal) -> Json {
    let error = Json::object()
        .string("code", refusal.code.name())
        .string("message", &refusal.message);
    Json::object().raw("error", &error.end())
}
