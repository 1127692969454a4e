//! The answer to a post, which waits for the disk.

use std::sync::{Arc, Mutex, PoisonError};

use super::outbox::Refused;
use crate::chat::ErrorCode;
use crate::endpoint::Refusal;
use crate::endpoint::common::Json;
use crate::server::{Responder, Response};

/// How the answer is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One message: its refusal is the answer's.
    Single,
    /// Several: each has its own result, and the answer is good.
    Batch,
}

/// An answer in the making; sent once every ticket of it is done.
///
/// Dropped before that, which only a dying disk thread does, it answers 500.
#[derive(Debug)]
pub(super) struct Answer {
    shape: Shape,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    responder: Option<Responder>,
    results: Vec<Option<Result<String, Refusal>>>,
    missing: usize,
}

/// The right to one result.
#[derive(Debug)]
pub(super) struct Ticket {
    answer: Arc<Answer>,
    place: usize,
}

impl Answer {
    /// An answer of so many results.
    pub(super) fn new(shape: Shape, responder: Responder, count: usize) -> Arc<Self> {
        let answer = Arc::new(Self {
            shape,
            state: Mutex::new(State {
                responder: Some(responder),
                results: (0..count).map(|_| None).collect(),
                missing: count,
            }),
        });
        if count == 0 {
            answer.end_if_whole();
        }
        answer
    }

    /// The right to the result of this place.
    pub(super) fn ticket(self: &Arc<Self>, place: usize) -> Ticket {
        Ticket {
            answer: Arc::clone(self),
            place,
        }
    }

    fn put(&self, place: usize, result: Result<String, Refusal>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(state.results[place].is_none(), "one ticket a place");
        state.results[place] = Some(result);
        state.missing -= 1;
        drop(state);
        self.end_if_whole();
    }

    fn end_if_whole(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.missing > 0 {
            return;
        }
        let results = std::mem::take(&mut state.results);
        let Some(responder) = state.responder.take() else {
            return;
        };
        drop(state);
        responder.end(self.response(results.into_iter().flatten().collect()));
    }

    fn response(&self, mut results: Vec<Result<String, Refusal>>) -> Response {
        if self.shape == Shape::Single
            && let Some(Err(_)) = results.first()
            && let Some(Err(refusal)) = results.pop()
        {
            return refused(&refusal);
        }
        let results = results
            .into_iter()
            .map(|result| result.unwrap_or_else(|refusal| error(&refusal)));
        Response::json(Json::object().array("results", results).end()).with_status(202)
    }
}

impl Ticket {
    /// The message is on disk, for the first time or as a repeat; or it isn't.
    pub(super) fn done(self, id: &str, taken: Result<bool, Refused>) {
        let result = taken.map_err(refusal).map(|is_repeat| {
            let queued = Json::object().string("id", id).flag("queued", true);
            match is_repeat {
                true => queued.flag("duplicate", true).end(),
                false => queued.end(),
            }
        });
        self.answer.put(self.place, result);
    }

    /// The message is none.
    pub(super) fn refuse(self, refusal: Refusal) {
        self.answer.put(self.place, Err(refusal));
    }
}

pub(super) fn refusal(why: Refused) -> Refusal {
    match why {
        Refused::Full => Refusal::new(
            ErrorCode::Unavailable,
            "the outbox is full; it empties once the upstreams are reached",
        ),
        Refused::DiskFull => {
            Refusal::new(ErrorCode::DiskFull, "the gateway's disk is as good as full")
        }
        Refused::Failed => Refusal::new(
            ErrorCode::Unavailable,
            "the outbox can't be written just now",
        ),
    }
}

/// `{"error":{"code","message"}}` with the status that goes with it.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let response = Response::json(error(refusal)).with_status(refusal.status);
    match refusal.code {
        ErrorCode::Unauthorized => response.field("WWW-Authenticate", "Bearer"),
        ErrorCode::RateLimited | ErrorCode::Unavailable | ErrorCode::DiskFull => {
            response.field("Retry-After", &refusal.retry_after_s.to_string())
        }
        _ => response,
    }
}

fn error(refusal: &Refusal) -> String {
    let error = Json::object()
        .string("code", refusal.code.name())
        .string("message", &refusal.message);
    Json::object().raw("error", &error.end()).end()
}
