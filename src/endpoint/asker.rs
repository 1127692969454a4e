//! Whoever asks what may have to be waited for, and the way to the thread that waits.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::frames;
use super::lookups::LookupTurns;
use super::services::Services;
use super::store_task::SeqDigits;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::api::reply::{ReplyResult, ReplySlot};
use crate::base::Fd;
use crate::base::vital::spawn_vital;
use crate::server::{Handle, Responder, Response};

/// Whoever asked something that may have to be waited for.
pub(super) enum Asker {
    /// A request by HTTP.
    Request(Responder),
    /// A command on a WebSocket, with its number.
    Frame(Fd, SeqDigits),
    /// A command on a WebSocket without a number, which is answered only if it fails.
    Unnumbered(Fd),
}

impl Asker {
    /// Begins the answer.
    pub(super) fn json(&self) -> Json {
        match self {
            Self::Request(_) | Self::Unnumbered(_) => Json::object(),
            Self::Frame(_, seq) => frames::ok(Some(seq)),
        }
    }

    /// Gives the answer.
    pub(super) fn tell(self, server: Option<&Handle>, answer: Result<Json, Refusal>) {
        match (self, answer) {
            (Self::Request(responder), Ok(json)) => responder.end(Response::json(json.end())),
            (Self::Request(responder), Err(refusal)) => responder.end(refusal.response()),
            (Self::Unnumbered(_), Ok(_)) => {}
            (Self::Unnumbered(fd), Err(refusal)) => {
                if let Some(server) = server {
                    server.push(fd, &frames::err(None, &refusal)).ok();
                }
            }
            (Self::Frame(fd, seq), answer) => {
                let text = match answer {
                    Ok(json) => json.end(),
                    Err(refusal) => frames::err(Some(&seq), &refusal),
                };
                if let Some(server) = server {
                    server.push(fd, &text).ok();
                }
            }
        }
    }
}

impl Services {
    /// Asks a question on the thread for look-ups, and gives whoever asked the answer; `question` gets what
    /// the answer begins with. A server by itself has no such thread: its questions never wait.
    pub(super) fn look_up(
        self: &Arc<Self>,
        asker: Asker,
        question: impl FnOnce(&Arc<Self>, Json) -> Result<Json, Refusal> + Send + 'static,
    ) {
        let place = self.cluster.as_ref().map(|cluster| &cluster.lookups);
        let Some(lookups) = place else {
            let answer = question(self, asker.json());
            return asker.tell(self.server(), answer);
        };
        if let Err(refusal) = lookups.take_place() {
            return asker.tell(self.server(), Err(refusal));
        }
        let services = Arc::clone(self);
        let ask = move || {
            let answer = question(&services, asker.json());
            asker.tell(services.server(), answer);
        };
        lookups.put(ask);
    }

    /// Answers a request on the thread for look-ups.
    pub(super) fn answer_later(
        self: &Arc<Self>,
        responder: Responder,
        question: impl FnOnce(&Arc<Self>) -> Result<Response, Refusal> + Send + 'static,
    ) {
        let end = |services: &Arc<Self>, responder: Responder| {
            let answer = question(services);
            responder.end(answer.unwrap_or_else(|refusal| refusal.response()));
        };
        let Some(cluster) = &self.cluster else {
            return end(self, responder);
        };
        if let Err(refusal) = cluster.lookups.take_place() {
            return responder.end(refusal.response());
        }
        let services = Arc::clone(self);
        cluster.lookups.put(move || end(&services, responder));
    }

    /// Brings one of several results from the thread for look-ups.
    pub(super) fn fill_later(
        self: &Arc<Self>,
        slot: ReplySlot,
        question: impl FnOnce(&Self) -> ReplyResult + Send + 'static,
    ) {
        let Some(cluster) = &self.cluster else {
            return slot.fill(question(self));
        };
        if let Err(refusal) = cluster.lookups.take_place() {
            return slot.fill(Err(refusal));
        }
        let services = Arc::clone(self);
        (cluster.lookups).put(move || slot.fill(question(&services)));
    }

    /// Does something on the thread for look-ups that nobody waits for; if too many wait there, it is left
    /// out.
    pub(super) fn do_on_lookups(self: &Arc<Self>, order: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let Some(cluster) = &self.cluster else {
            return order(self);
        };
        if cluster.lookups.take_place().is_ok() {
            let services = Arc::clone(self);
            cluster.lookups.put(move || order(&services));
        }
    }
}

/// Starts the thread.
///
/// # Errors
///
/// The system gives no thread.
pub(super) fn start(services: Arc<Services>, turns: LookupTurns) -> io::Result<JoinHandle<()>> {
    let theirs = Arc::clone(&services);
    let run = move || {
        theirs.wait_for_begin();
        let Some(cluster) = &theirs.cluster else {
            return;
        };
        cluster.lookups.run(&turns);
    };
    spawn_vital("lookups", run, move || {
        services.fail("the thread for look-ups has died");
    })
}
