//! The reply of a handler, and the one place that sends it.

use std::sync::Arc;

use super::HttpApi;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::api::reply::{JoinedReply, ReplyResult, ReplyShape};
use crate::base::Fd;
use crate::chat::{NodeAnswer, NodeRequest, PendingMessage, Receipt, SayOutcome};
use crate::endpoint::asker::Asker;
use crate::endpoint::attaching::EnterOrder;
use crate::endpoint::frames;
use crate::endpoint::history::HistoryQuestion;
use crate::endpoint::services::Services;
use crate::endpoint::store_task::{MessageGroup, ReplyTo, StoreTask, Stored};
use crate::server::{Responder, Response};

/// The answer to a request, now or once the disk has done something.
pub(super) enum ApiReply {
    /// The answer is a 200 with this object.
    Json(Json),
    /// The answer is this one.
    Response(Response),
    /// The answer is the outcome of one task.
    Stored(StoreTask),
    /// The answer has a result for each message, and goes out with the last of them.
    Each(Vec<ApiResult>),
    /// The outcome of a task that takes a right from a user, once nothing more is done of what the
    /// user's connections asked for before.
    StoredAfter(StoreTask, Box<str>),
    /// The answer comes once the log of a cluster knows of this login by the back end.
    Bind(EnterOrder),
    /// The answer is a page that the log of a cluster keeps.
    History(HistoryQuestion),
    /// 200 with this object, once nothing more is done of what these connections asked for.
    After(Vec<Fd>, Json),
    /// The answer may have to be waited for, since it stands in what the nodes of a cluster share.
    Ask(ApiQuestion),
    /// The same, once nothing more is done of what these connections asked for.
    AskAfter(Vec<Fd>, ApiQuestion),
    /// The answer is that of the node that this connection is on.
    Elsewhere(Fd, NodeRequest),
    /// The answer is that of the node of this name, or this one where it is this node itself.
    OfNode(Box<str>, NodeRequest, Json),
}

/// A message to a connection that another node has.
pub(super) struct FarMessage {
    /// The connection.
    pub(super) fd: Fd,
    /// The frame that is pushed.
    pub(super) text: Box<str>,
    /// What the sender is answered if there is such a connection.
    pub(super) receipt: String,
}

impl FarMessage {
    /// Has the other node push it.
    fn push(self, services: &Services) -> Result<String, Refusal> {
        services.push_elsewhere(self.fd, self.text)?;
        Ok(self.receipt)
    }

    /// The answer where it is the only message of a request.
    pub(super) fn alone(self) -> ApiReply {
        ApiReply::Ask(Box::new(move |services| {
            let receipt = self.push(services)?;
            Ok(Json::object().array("results", [receipt]))
        }))
    }
}

/// What brings a result that isn't known yet.
enum ResultSource {
    Group(MessageGroup),
    Far(FarMessage),
}

/// A question to the nodes of a cluster.
pub(super) type ApiQuestion = Box<dyn FnOnce(&Arc<Services>) -> Result<Json, Refusal> + Send>;

/// One of several results.
pub(super) enum ApiResult {
    /// The result is known.
    Ready(ReplyResult),
    /// The result comes once this message is stored.
    Stored(PendingMessage),
    /// The result comes once another node has pushed this message.
    Far(FarMessage),
}

impl ApiReply {
    /// Answers the request, or has the disk thread do it.
    pub(super) fn send(self, api: &HttpApi, responder: Responder) {
        let services = &api.services;
        match self {
            Self::Json(json) => responder.end(Response::json(json.end())),
            Self::Response(response) => responder.end(response),
            Self::Stored(task) => services.store(task, ReplyTo::Request(responder)),
            Self::Each(results) => send_each(results, services, responder),
            Self::History(question) => question.ask(services, Asker::Request(responder)),
            Self::Bind(order) => {
                let answer = move |bound| Asker::Request(responder).tell(None, bound);
                api.sessions.bind_by_log(order, Box::new(answer));
            }
            Self::StoredAfter(task, uid) => {
                let (services, sessions) = (Arc::clone(services), Arc::clone(&api.sessions));
                let call = move |stored: Result<Stored, Refusal>| {
                    let user = services.chat.user(&uid);
                    let fds = user.map(|user| user.connections).unwrap_or_default();
                    let answer = ReplyTo::Request(responder);
                    sessions.after_commands(&fds, move || answer.tell(None, stored));
                };
                api.services.store(task, ReplyTo::Call(Box::new(call)));
            }
            Self::Ask(question) => ask(services, question, responder),
            Self::AskAfter(fds, question) => {
                let services = Arc::clone(services);
                let ask = move || ask(&services, question, responder);
                api.sessions.after_commands(&fds, ask);
            }
            Self::Elsewhere(fd, request) => {
                let question = move |services: &Arc<Services>| {
                    let answer = services.ask_node_of(fd, &request)?;
                    Ok(of_node(&answer))
                };
                services.answer_later(responder, question);
            }
            Self::OfNode(name, request, here) => {
                let question = move |services: &Arc<Services>| {
                    let node = services.node_named(&name)?;
                    if node.is_own {
                        return Ok(Response::json(here.end()));
                    }
                    let answer = services.ask_node(node.generation, &request)?;
                    Ok(of_node(&answer))
                };
                services.answer_later(responder, question);
            }
            Self::After(fds, json) => {
                let answer = move || responder.end(Response::json(json.end()));
                api.sessions.after_commands(&fds, answer);
            }
        }
    }
}

fn ask(services: &Arc<Services>, question: ApiQuestion, responder: Responder) {
    services.answer_later(responder, move |services| {
        Ok(Response::json(question(services)?.end()))
    });
}

/// The answer of another node, as the back end gets it.
fn of_node(answer: &NodeAnswer) -> Response {
    Response::json(String::from(&*answer.body)).with_status(answer.status)
}

fn send_each(results: Vec<ApiResult>, services: &Arc<Services>, responder: Responder) {
    // Messages in a row are stored together, and their results fill one place.
    let (mut known, mut sources) = (Vec::new(), Vec::<ResultSource>::new());
    let mut results = results.into_iter();
    while let Some(result) = results.next() {
        let mut draft = match result {
            ApiResult::Ready(result) => {
                known.push(Some(result));
                continue;
            }
            ApiResult::Far(message) => {
                known.push(None);
                sources.push(ResultSource::Far(message));
                continue;
            }
            ApiResult::Stored(draft) => draft,
        };
        if let (Some(None), Some(ResultSource::Group(group))) = (known.last(), sources.last_mut()) {
            match group.add(draft) {
                Ok(()) => continue,
                Err(full) => draft = full,
            }
        }
        known.push(None);
        sources.push(ResultSource::Group(MessageGroup::of(draft, results.len())));
    }
    let slots = JoinedReply::start(responder, (ReplyShape::Several, 200), known);
    for (slot, source) in slots.into_iter().zip(sources) {
        match source {
            ResultSource::Group(group) => {
                services.store(StoreTask::SayEach(group), ReplyTo::Slot(slot));
            }
            ResultSource::Far(message) => {
                services.fill_later(slot, |services| message.push(services))
            }
        }
    }
}

impl From<Json> for ApiReply {
    fn from(json: Json) -> Self {
        Self::Json(json)
    }
}

impl From<SayOutcome> for ApiResult {
    fn from(outcome: SayOutcome) -> Self {
        match outcome {
            SayOutcome::Said(receipt) => Self::Ready(Ok(said(&receipt))),
            SayOutcome::Pending(draft) => Self::Stored(draft),
        }
    }
}

fn said(receipt: &Receipt<'_>) -> String {
    frames::said(Json::object(), receipt).end()
}
