//! The HTTP API: who asks, what for, and the answer.

mod body;
mod messages;
mod numbers;
mod people;
mod route;

use super::endpoint::Endpoint;
use crate::api::auth::authorize;
use crate::api::body::{json_body, json_body_or_none};
use crate::api::json::Json;
use crate::api::refusal::{Refusal, method_not_allowed};
use crate::chat::Actor;
use crate::server::{Request, Responder, Response, WorkerHandle};
use people::connections;
use route::{Query, Resource};

/// What the API has to say of itself.
const OPENAPI: &str = include_str!("openapi.json");

/// An answer in the making.
enum Answer {
    /// 200 with this object.
    Object(Json),
    /// Anything else.
    Other(Response),
    /// The disk thread answers.
    Later,
}

impl Endpoint {
    /// Answers a request if its path is one of the API's; gives it back otherwise.
    pub fn answer(
        &self,
        server: &WorkerHandle,
        request: Request,
        responder: Responder,
    ) -> Option<(Request, Responder)> {
        let resource = match Resource::at(request.path()) {
            Ok(None) => return Some((request, responder)),
            Ok(Some(resource)) => Ok(resource),
            Err(refusal) => Err(refusal),
        };
        let mut responder = Some(responder);
        let response =
            resource.and_then(|resource| self.respond(server, &request, &resource, &mut responder));
        let response = response.unwrap_or_else(|refusal| Some(refusal.response()));
        // Taken by whoever answers later.
        if let (Some(responder), Some(response)) = (responder, response) {
            responder.end(response);
        }
        None
    }

    fn respond(
        &self,
        server: &WorkerHandle,
        request: &Request,
        resource: &Resource<'_>,
        responder: &mut Option<Responder>,
    ) -> Result<Option<Response>, Refusal> {
        let method = request.method();
        if !resource.methods().split(", ").any(|known| known == method) {
            return Ok(Some(method_not_allowed(resource.methods())));
        }
        // The description holds no secret, and says how to show a key.
        let key = match resource {
            Resource::OpenApi => None,
            _ => authorize(&*self.access, request)?,
        };
        let key = key.as_deref().unwrap_or_default();
        // Whoever watches the server must see it when it is busy, too.
        if !matches!(
            resource,
            Resource::OpenApi | Resource::Stats | Resource::Metrics
        ) {
            self.limits.request(self.now().tick.0, key)?;
        }
        let answer = self.object(server, request, (resource, responder), key)?;
        Ok(match answer {
            Answer::Object(json) => Some(Response::json(json.end())),
            Answer::Other(response) => Some(response),
            Answer::Later => None,
        })
    }

    fn object(
        &self,
        server: &WorkerHandle,
        request: &Request,
        (resource, responder): (&Resource<'_>, &mut Option<Responder>),
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
            (Resource::Messages, _) => {
                return self.post_message(server, actor, json_body(request)?, responder);
            }
            (Resource::Batch, _) => {
                return self.post_batch(server, actor, json_body(request)?, responder);
            }
            (Resource::Rooms, _) => self.rooms(&query)?,
            (Resource::Room(room), _) => self.room(room)?,
            (Resource::Members(room), _) => self.members(server, room, &query)?,
            (Resource::Member(room, uid), method) => {
                return self.set_member((room, uid), method == "PUT", responder);
            }
            (Resource::RoomMessages(room), "DELETE") => {
                return self.purge(server, room, responder);
            }
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
