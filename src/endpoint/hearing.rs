//! What the other nodes of a cluster send to this one, on its way to the chat and to the connections.

use std::sync::Arc;

use super::Endpoint;
use super::server_sink::ServerSink;
use super::services::Services;
use super::sessions::REPLACED;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{
    ErrorCode, Heard, HeardMessage, Hearing, NodeAnswer, NodeFigures, NodeRequest, Position,
    QuietRoom,
};
use crate::server::Handle;

/// The endpoint, as the threads that read the bus know it.
struct EndpointHearing(Arc<Endpoint>);

impl Endpoint {
    /// Returns the endpoint's ear, for the threads that read what the other nodes of a cluster send.
    #[must_use]
    pub fn hearing(self: &Arc<Self>) -> Arc<dyn Hearing> {
        Arc::new(EndpointHearing(Arc::clone(self)))
    }
}

impl EndpointHearing {
    fn services(&self) -> &Arc<Services> {
        &self.0.services
    }
}

/// The answer to what another node asks.
fn answered(done: Result<(), Refusal>) -> NodeAnswer {
    match done {
        Ok(()) => NodeAnswer {
            status: 200,
            body: "{}".into(),
        },
        Err(refusal) => NodeAnswer {
            status: refusal.status,
            body: refusal.json().end().into(),
        },
    }
}

impl Hearing for EndpointHearing {
    fn message(&self, message: &HeardMessage<'_>) -> Heard {
        let services = self.services();
        // Nobody is connected before the server runs: whatever came then is read from the log.
        let Some(mut sink) = ServerSink::anywhere(services) else {
            return Heard::Unknown;
        };
        let now = services.tick();
        let mut hear = |heard: &HeardMessage<'_>| services.chat.hear(&mut sink, now, heard);
        if let Some(cluster) = &services.cluster
            && (cluster.first_answers).holds(message, &mut |heard| {
                hear(heard);
            })
        {
            return Heard::Posted;
        }
        hear(message)
    }

    fn reset(&self, channel: &str, position: Position) {
        let services = self.services();
        if let Some(mut sink) = ServerSink::anywhere(services) {
            services.chat.reset(&mut sink, channel, position);
        }
    }

    fn posted(&self, channel: &str) -> Option<Position> {
        self.services().chat.posted(channel)
    }

    fn attach(&self, channels: &[Arc<str>]) {
        let names: Vec<Box<str>> = channels.iter().map(|name| Box::from(&**name)).collect();
        self.services().attach(&names, None, |attached| {
            if let Err(refusal) = attached {
                let reason = &*refusal.message;
                tracing::warn!(reason, "channels can't be attached once more");
            }
        });
    }

    fn is_pressed(&self) -> bool {
        let server = self.services().server();
        server.is_some_and(crate::server::Handle::is_pressed)
    }

    fn joined(&self, room: &str, uid: &str, users: usize) {
        let services = self.services();
        if let Some(mut sink) = ServerSink::anywhere(services) {
            services.chat.hear_joined(&mut sink, room, uid, users);
        }
    }

    fn left(&self, room: &str, uid: &str, users: usize) {
        let services = self.services();
        let Some(mut sink) = ServerSink::anywhere(services) else {
            return;
        };
        let heard = services.chat.hear_left(&mut sink, room, uid, users);
        if heard == QuietRoom::Ends {
            services.tell_who_is_there(room);
        }
    }

    fn member(&self, room: &str, uid: &str, lasting: bool) {
        self.services().follow_member(room, uid, lasting);
    }

    fn channels(&self, visit: &mut dyn FnMut(&Arc<str>, Position)) {
        self.services().chat.attached_channels(visit);
    }

    fn figures(&self) -> NodeFigures {
        let stats = self.services().chat.stats();
        NodeFigures {
            connections: stats.connections as u64,
            logged_in: stats.logged_in as u64,
            rooms: stats.rooms as u64,
            messages: stats.messages,
            ..NodeFigures::default()
        }
    }

    fn request(&self, request: NodeRequest) -> NodeAnswer {
        let services = self.services();
        let Some(server) = services.server().map(Handle::gathering) else {
            let refusal = Refusal::new(ErrorCode::Unavailable, "this node doesn't run yet");
            return answered(Err(refusal));
        };
        let none = |fd: Fd| Refusal::not_found(format!("there is no connection {fd}"));
        let answer = match request {
            NodeRequest::Push { fd, message } => {
                answered(server.push(fd, &*message).map_err(|_| none(fd)))
            }
            NodeRequest::Kick { fd: Some(fd), .. } if !server.is_established(fd) => {
                answered(Err(none(fd)))
            }
            NodeRequest::Kick {
                fd: Some(fd),
                code,
                reason,
                ..
            } => {
                let sessions = &self.0.sessions;
                sessions.kick(&server, fd, (code, &reason), REPLACED);
                answered(Ok(()))
            }
            NodeRequest::Kick { fd: None, .. } => {
                answered(Err(Refusal::bad_request("a kick has to name a connection")))
            }
            NodeRequest::Http {
                method,
                target,
                body,
                ..
            } => (self.0.http).answer_node(&server, (&method, &target), &body),
            NodeRequest::Drain { within_ms } => answered(services.drain(within_ms)),
        };
        server.flush();
        answer
    }
}
