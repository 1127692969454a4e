//! One HTTP answer joined from several results, which other threads bring in any order.
//!
//! [`JoinedReply::start`] takes what is known already, and gives a [`ReplySlot`] for each result that
//! isn't. The answer goes out with the last of them, or at once when there is none.
//!
//! Invariant: a request is answered exactly once. Slots that are dropped unfilled, which only a dying
//! thread does, take the responder with them, and that answers 500.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use super::json::Json;
use super::refusal::Refusal;
use crate::base::sync::lock;
use crate::server::{Responder, Response};

/// Bytes that are set aside for a refusal among several results, which most of them don't exceed.
const REFUSAL_BYTES: usize = 128;

/// The outcome of one message: a JSON object, or the reason why there is none.
pub(crate) type ReplyResult = Result<String, Refusal>;

/// The way in which results become an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyShape {
    /// One message was sent: its refusal is the answer's.
    Single,
    /// Several were sent: each has a result of its own, and the answer is a success.
    Several,
}

/// An answer that waits for its results.
#[derive(Debug)]
pub(crate) struct JoinedReply(Mutex<(ReplyResults, Option<Responder>)>);

/// The right and the duty to bring one result.
#[derive(Debug)]
pub(crate) struct ReplySlot {
    reply: Arc<JoinedReply>,
    place: usize,
}

impl JoinedReply {
    /// Begins an answer with this status; gives a slot for each `None`, in their order.
    pub(crate) fn start(
        responder: Responder,
        (shape, status): (ReplyShape, u16),
        results: Vec<Option<ReplyResult>>,
    ) -> Vec<ReplySlot> {
        let mut results = ReplyResults::new((shape, status), results);
        if let Some(response) = results.joined() {
            responder.end(response);
            return Vec::new();
        }
        let places = results.missing();
        let reply = Arc::new(Self(Mutex::new((results, Some(responder)))));
        let slot = |place| ReplySlot {
            reply: Arc::clone(&reply),
            place,
        };
        places.into_iter().map(slot).collect()
    }
}

impl ReplySlot {
    /// Brings the result; the last one sends the answer.
    pub(crate) fn fill(self, result: ReplyResult) {
        let (results, responder) = &mut *lock(&self.reply.0);
        results.fill(self.place, result);
        if let Some(response) = results.joined()
            && let Some(responder) = responder.take()
        {
            responder.end(response);
        }
    }
}

/// The results by themselves.
#[derive(Debug)]
struct ReplyResults {
    shape: ReplyShape,
    status: u16,
    results: Vec<Option<ReplyResult>>,
    missing: usize,
}

impl ReplyResults {
    fn new((shape, status): (ReplyShape, u16), results: Vec<Option<ReplyResult>>) -> Self {
        Self {
            shape,
            status,
            missing: results.iter().filter(|result| result.is_none()).count(),
            results,
        }
    }

    fn missing(&self) -> Vec<usize> {
        let places = self.results.iter().enumerate();
        let missing = places.filter(|(_, result)| result.is_none());
        missing.map(|(place, _)| place).collect()
    }

    fn fill(&mut self, place: usize, result: ReplyResult) {
        debug_assert!(self.results[place].is_none(), "one slot a place");
        self.results[place] = Some(result);
        self.missing -= 1;
    }

    /// Makes the answer once nothing is missing.
    fn joined(&mut self) -> Option<Response> {
        if self.missing > 0 {
            return None;
        }
        let results = std::mem::take(&mut self.results);
        if self.shape == ReplyShape::Single
            && let Some(Some(Err(refusal))) = results.last()
        {
            return Some(refusal.response());
        }
        let results = || results.iter().flatten();
        let sizes = results().map(|result| result.as_ref().map_or(REFUSAL_BYTES, String::len) + 1);
        let texts = results().map(|result| match result {
            Ok(text) => Cow::Borrowed(&**text),
            Err(refusal) => Cow::Owned(refusal.json().end()),
        });
        let json = Json::of_size(sizes.sum::<usize>() + 32).array("results", texts);
        Some(Response::json(json.end()).with_status(self.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal::bad_request("no")
    }

    fn body(response: &Response) -> &str {
        std::str::from_utf8(response.content()).unwrap()
    }

    #[test]
    fn results_stand_in_their_places_in_whatever_order_they_come() {
        let known = vec![None, Some(Ok("1".into())), None];
        let mut results = ReplyResults::new((ReplyShape::Several, 202), known);
        assert_eq!(results.missing(), [0, 2]);
        assert!(results.joined().is_none());
        results.fill(2, Err(refusal()));
        assert!(results.joined().is_none());
        results.fill(0, Ok("0".into()));
        let response = results.joined().unwrap();
        assert_eq!(response.status(), 202);
        let expected = r#"{"results":[0,1,{"error":{"code":"bad_request","message":"no"}}]}"#;
        assert_eq!(body(&response), expected);
    }

    #[test]
    fn the_refusal_of_a_single_message_is_the_answer() {
        let mut results = ReplyResults::new((ReplyShape::Single, 200), vec![None]);
        results.fill(0, Err(refusal()));
        let response = results.joined().unwrap();
        assert_eq!(response.status(), 400);
        assert!(body(&response).starts_with(r#"{"error":"#));
        let taken = vec![Some(Ok("{}".into()))];
        let mut results = ReplyResults::new((ReplyShape::Single, 200), taken);
        assert_eq!(body(&results.joined().unwrap()), r#"{"results":[{}]}"#);
    }

    #[test]
    fn an_empty_batch_is_answered_at_once() {
        let mut results = ReplyResults::new((ReplyShape::Several, 202), Vec::new());
        assert_eq!(body(&results.joined().unwrap()), r#"{"results":[]}"#);
    }
}
