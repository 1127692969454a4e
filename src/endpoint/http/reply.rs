//! The reply of a handler, and the one place that sends it.

use std::sync::Arc;

use super::HttpApi;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::api::reply::{JoinedReply, ReplyResult, ReplyShape};
use crate::base::Fd;
use crate::chat::{PendingMessage, Receipt, SayOutcome};
use crate::endpoint::frames;
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
    /// 200 with this object, once nothing more is done of what these connections asked for.
    After(Vec<Fd>, Json),
}

/// One of several results.
pub(super) enum ApiResult {
    /// The result is known.
    Ready(ReplyResult),
    /// The result comes once this message is stored.
    Stored(PendingMessage),
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
            Self::After(fds, json) => {
                let answer = move || responder.end(Response::json(json.end()));
                api.sessions.after_commands(&fds, answer);
            }
        }
    }
}

fn send_each(results: Vec<ApiResult>, services: &Arc<Services>, responder: Responder) {
    // Messages in a row are stored together, and their results fill one place.
    let (mut known, mut groups) = (Vec::new(), Vec::<MessageGroup>::new());
    let mut results = results.into_iter();
    while let Some(result) = results.next() {
        let mut draft = match result {
            ApiResult::Ready(result) => {
                known.push(Some(result));
                continue;
            }
            ApiResult::Stored(draft) => draft,
        };
        if let (Some(None), Some(group)) = (known.last(), groups.last_mut()) {
            match group.add(draft) {
                Ok(()) => continue,
                Err(full) => draft = full,
            }
        }
        known.push(None);
        groups.push(MessageGroup::of(draft, results.len()));
    }
    let slots = JoinedReply::start(responder, (ReplyShape::Several, 200), known);
    for (slot, group) in slots.into_iter().zip(groups) {
        services.store(StoreTask::SayEach(group), ReplyTo::Slot(slot));
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
