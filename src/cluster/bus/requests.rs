//! What nodes ask of each other: numbers under which answers are awaited, and the JSON of both. Pure state.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use serde_json::{Value, json};
use thiserror::Error;

use crate::base::Fd;
use crate::chat::{NodeAnswer, NodeRequest};

/// Requests of this node, and of others to it, that may wait at a time; those who ask are bounded
/// besides.
pub(super) const REQUESTS_MAX: usize = 1_024;

/// The reason why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Too many requests wait already.
    #[error("too many requests to other nodes wait")]
    TooMany,
    /// The other node didn't answer in time.
    #[error("the node doesn't answer")]
    NoAnswer,
}

#[derive(Debug)]
struct AwaitedAnswer {
    due: Instant,
    answer: Option<NodeAnswer>,
}

/// The requests that this node has made.
#[derive(Debug, Default)]
pub(super) struct RequestTable {
    last_number: u64,
    awaited: HashMap<u64, AwaitedAnswer, FixedState>,
}

impl RequestTable {
    /// Begins a request that waits for so long; returns its number.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMany`].
    pub(super) fn begin(&mut self, now: Instant, patience: Duration) -> Result<u64, RequestError> {
        if self.awaited.len() >= REQUESTS_MAX {
            // Those whose askers have gone away make room.
            self.awaited.retain(|_, awaited| now < awaited.due);
        }
        if self.awaited.len() >= REQUESTS_MAX {
            return Err(RequestError::TooMany);
        }
        self.last_number += 1;
        let due = now + patience;
        let awaited = AwaitedAnswer { due, answer: None };
        self.awaited.insert(self.last_number, awaited);
        Ok(self.last_number)
    }

    /// Takes an answer that came; `false` if nobody waits for it any more.
    pub(super) fn answer(&mut self, number: u64, answer: NodeAnswer) -> bool {
        let awaited = self.awaited.get_mut(&number);
        awaited.is_some_and(|awaited| awaited.answer.replace(answer).is_none())
    }

    /// Takes the outcome of a request; `None` while it waits.
    pub(super) fn outcome(
        &mut self,
        number: u64,
        now: Instant,
    ) -> Option<Result<NodeAnswer, RequestError>> {
        let awaited = self.awaited.get_mut(&number);
        let outcome = match awaited {
            None => return Some(Err(RequestError::NoAnswer)),
            Some(awaited) => match awaited.answer.take() {
                Some(answer) => Ok(answer),
                None if now < awaited.due => return None,
                None => Err(RequestError::NoAnswer),
            },
        };
        self.awaited.remove(&number);
        Some(outcome)
    }

    /// Counts the requests that wait.
    #[must_use]
    pub(super) fn awaited(&self) -> usize {
        self.awaited.len()
    }
}

/// Writes a request.
#[must_use]
pub(super) fn request_json(request: &NodeRequest) -> String {
    let value = match request {
        NodeRequest::Push { fd, message } => json!({"push": {"fd": fd.0, "message": message}}),
        NodeRequest::Kick {
            uid,
            fd,
            code,
            reason,
        } => {
            let fd = fd.map(|fd| fd.0);
            json!({"kick": {"uid": uid, "fd": fd, "code": code, "reason": reason}})
        }
        NodeRequest::Http {
            method,
            target,
            body,
            key,
        } => json!({"http": {"method": method, "target": target, "body": body, "key": key}}),
        NodeRequest::Drain { within_ms } => json!({"drain": {"within_ms": within_ms}}),
    };
    value.to_string()
}

/// Reads a request; `None` if this program doesn't know such a one.
#[must_use]
pub(super) fn read_request(text: &str) -> Option<NodeRequest> {
    let value: Value = serde_json::from_str(text).ok()?;
    let (kind, of) = value.as_object()?.iter().next()?;
    let fd = || of["fd"].as_u64().map(Fd);
    Some(match kind.as_str() {
        "push" => NodeRequest::Push {
            fd: fd()?,
            message: text_of(of, "message")?,
        },
        "kick" => NodeRequest::Kick {
            uid: text_of(of, "uid"),
            fd: fd(),
            code: of["code"].as_u64()?.try_into().ok()?,
            reason: text_of(of, "reason")?,
        },
        "http" => NodeRequest::Http {
            method: text_of(of, "method")?,
            target: text_of(of, "target")?,
            body: text_of(of, "body")?,
            key: text_of(of, "key")?,
        },
        "drain" => NodeRequest::Drain {
            within_ms: of["within_ms"].as_u64()?,
        },
        _ => return None,
    })
}

/// Writes an answer.
#[must_use]
pub(super) fn answer_json(answer: &NodeAnswer) -> String {
    json!({"status": answer.status, "body": answer.body}).to_string()
}

/// Reads an answer.
#[must_use]
pub(super) fn read_answer(text: &str) -> Option<NodeAnswer> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(NodeAnswer {
        status: value["status"].as_u64()?.try_into().ok()?,
        body: text_of(&value, "body")?,
    })
}

fn text_of(value: &Value, field: &str) -> Option<Box<str>> {
    value[field].as_str().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn answer(status: u16) -> NodeAnswer {
        let body = r#"{"kicked":"ä\""}"#.into();
        NodeAnswer { status, body }
    }

    #[test]
    fn an_answer_finds_its_request_and_a_late_one_nobody() {
        let now = Instant::now();
        let mut table = RequestTable::default();
        let first = table.begin(now, PATIENCE).unwrap();
        let second = table.begin(now, PATIENCE).unwrap();
        assert!(table.answer(second, answer(200)));
        assert!(!table.answer(second + 1, answer(200)));
        assert_eq!(table.outcome(first, now), None);
        assert_eq!(table.outcome(second, now), Some(Ok(answer(200))));
        let late = now + PATIENCE;
        let none = Some(Err(RequestError::NoAnswer));
        assert_eq!(table.outcome(first, late), none);
        assert!(!table.answer(first, answer(200)), "it came too late");
        assert_eq!(table.awaited(), 0);
    }

    #[test]
    fn no_more_wait_than_may_and_those_that_nobody_took_make_room() {
        let now = Instant::now();
        let mut table = RequestTable::default();
        for _ in 0..REQUESTS_MAX {
            table.begin(now, PATIENCE).unwrap();
        }
        assert_eq!(table.begin(now, PATIENCE), Err(RequestError::TooMany));
        assert!(table.begin(now + PATIENCE, PATIENCE).is_ok());
        assert_eq!(table.awaited(), 1);
    }

    #[test]
    fn requests_and_answers_are_read_as_they_were_written() {
        for request in [
            NodeRequest::Push {
                fd: Fd(7),
                message: r#"{"a":"\"\n"}"#.into(),
            },
            NodeRequest::Kick {
                uid: Some("ann".into()),
                fd: None,
                code: 4_003,
                reason: "kicked".into(),
            },
            NodeRequest::Kick {
                uid: None,
                fd: Some(Fd(1 << 52)),
                code: 1_000,
                reason: "".into(),
            },
            NodeRequest::Http {
                method: "GET".into(),
                target: "/v1/connections/7?a=b".into(),
                body: "".into(),
                key: "shop".into(),
            },
            NodeRequest::Drain { within_ms: 9 },
        ] {
            assert_eq!(read_request(&request_json(&request)), Some(request));
        }
        assert_eq!(read_answer(&answer_json(&answer(503))), Some(answer(503)));
        for text in ["", "{}", "[]", r#"{"dance":{}}"#, r#"{"push":{"fd":-1}}"#] {
            assert_eq!(read_request(text), None, "{text}");
        }
    }
}
