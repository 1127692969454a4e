//! Frames from a server to a gateway.

use serde::Deserialize;

use super::{PONG, Violation};
use crate::api::json::Json;
use crate::chat::ErrorCode;

/// A frame of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverFrame {
    /// The receiver lives.
    Pong,
    /// The receiver takes messages from this number on.
    OpenOk {
        /// The receiver's own mark, plus one.
        next: u64,
        /// Numbers that the receiver refused for good, of those that the sender still has, each
        /// with the reason: their `pub_err` may have been lost with an earlier link.
        refused: Vec<(u64, String)>,
    },
    /// Everything up to this number is durable at the receiver.
    Ack {
        /// The newest number that is durable, with all before it.
        n: u64,
    },
    /// The message is refused for good.
    Refused {
        /// The number of the message.
        n: u64,
        /// The reason, as a word for programs.
        code: String,
    },
    /// The receiver took nothing more of what is on the way.
    Busy {
        /// Time until the sender may send again, in milliseconds.
        after_ms: u64,
    },
    /// The receiver is about to close the link.
    Kick {
        /// The reason, as a word for programs.
        code: String,
    },
    /// A frame of a later version of the protocol; a sign of life.
    Other,
}

#[derive(Deserialize)]
struct ReceiverFields {
    #[serde(rename = "type")]
    kind: String,
    next: Option<u64>,
    n: Option<u64>,
    after_ms: Option<u64>,
    code: Option<String>,
    message: Option<String>,
    #[serde(default)]
    refused: Vec<RefusedNumber>,
}

#[derive(Deserialize)]
struct RefusedNumber {
    n: u64,
    code: String,
}

impl ReceiverFrame {
    /// Reads a text frame.
    ///
    /// # Errors
    ///
    /// The frame isn't one of the protocol, or it says that ours wasn't.
    pub fn read(text: &str) -> Result<Self, Violation> {
        if text == PONG {
            return Ok(Self::Pong);
        }
        let fields: ReceiverFields = serde_json::from_str(text)
            .map_err(|error| Violation(format!("a frame is no object: {error}")))?;
        fields.frame().map_err(Violation)
    }
}

impl ReceiverFields {
    fn frame(self) -> Result<ReceiverFrame, String> {
        let kind = &*self.kind;
        let missing = |what: &str| format!("{kind} without {what}");
        let code = self.code.unwrap_or_default();
        Ok(match kind {
            "open_ok" => ReceiverFrame::OpenOk {
                next: (self.next.filter(|next| *next > 0)).ok_or_else(|| missing("next"))?,
                refused: (self.refused.into_iter())
                    .map(|one| (one.n, one.code))
                    .collect(),
            },
            "pub_ack" => ReceiverFrame::Ack {
                n: self.n.ok_or_else(|| missing("n"))?,
            },
            "pub_err" => ReceiverFrame::Refused {
                n: self.n.ok_or_else(|| missing("n"))?,
                code,
            },
            "pub_busy" => ReceiverFrame::Busy {
                after_ms: self.after_ms.ok_or_else(|| missing("after_ms"))?,
            },
            "kick" => ReceiverFrame::Kick { code },
            "err" => {
                let message = self.message.unwrap_or_default();
                return Err(format!("the upstream says {code}: {message}"));
            }
            _ => ReceiverFrame::Other,
        })
    }
}

/// Writes `open_ok`; `refused` is left out where it is empty.
#[must_use]
pub fn open_ok(next: u64, refused: &[(u64, ErrorCode)]) -> String {
    let json = Json::frame("open_ok").number("next", next);
    if refused.is_empty() {
        return json.end();
    }
    let refused = refused.iter().map(|(n, code)| {
        let one = Json::object().number("n", *n);
        one.string("code", code.name()).end()
    });
    json.array("refused", refused).end()
}

/// Writes `pub_ack`: everything up to `n` is durable.
#[must_use]
pub fn pub_ack(n: u64) -> String {
    Json::frame("pub_ack").number("n", n).end()
}

/// Writes `pub_err`: the message `n` is refused for good.
#[must_use]
pub fn pub_err(n: u64, code: ErrorCode) -> String {
    Json::frame("pub_err")
        .number("n", n)
        .string("code", code.name())
        .end()
}

/// Writes `pub_busy`: there may be room after this time.
#[must_use]
pub fn pub_busy(after_ms: u64) -> String {
    Json::frame("pub_busy").number("after_ms", after_ms).end()
}

/// Writes `err`: what the sender did against the protocol.
#[must_use]
pub fn err(violation: &Violation) -> String {
    Json::frame("err")
        .raw("seq", "null")
        .string("code", ErrorCode::BadRequest.name())
        .string("message", &violation.0)
        .flag("retry", false)
        .end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_writes_is_read_as_it_was_meant() {
        let refused = [(7, ErrorCode::BadRequest)];
        for (text, expected) in [
            (PONG.to_owned(), ReceiverFrame::Pong),
            (
                open_ok(1042, &[]),
                ReceiverFrame::OpenOk {
                    next: 1042,
                    refused: Vec::new(),
                },
            ),
            (
                open_ok(9, &refused),
                ReceiverFrame::OpenOk {
                    next: 9,
                    refused: vec![(7, "bad_request".into())],
                },
            ),
            (pub_ack(7), ReceiverFrame::Ack { n: 7 }),
            (
                pub_err(7, ErrorCode::TooLarge),
                ReceiverFrame::Refused {
                    n: 7,
                    code: "too_large".into(),
                },
            ),
            (pub_busy(500), ReceiverFrame::Busy { after_ms: 500 }),
        ] {
            assert_eq!(ReceiverFrame::read(&text), Ok(expected), "{text}");
        }
        let why = ReceiverFrame::read(&err(&Violation("a hole".into()))).unwrap_err();
        assert_eq!(why.0, "the upstream says bad_request: a hole");
    }

    #[test]
    fn frames_and_fields_of_later_versions_are_passed_over() {
        let kick = ReceiverFrame::Kick {
            code: "replaced".into(),
        };
        for (text, expected) in [
            (
                r#"{"type":"pub_ack","n":7,"new":[1]}"#,
                ReceiverFrame::Ack { n: 7 },
            ),
            (r#"{"type":"kick","code":"replaced","message":"x"}"#, kick),
            (r#"{"type":"news"}"#, ReceiverFrame::Other),
        ] {
            assert_eq!(ReceiverFrame::read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn frames_without_what_they_need_are_violations() {
        for text in [
            "",
            "pong",
            "[]",
            r#"{"n":1}"#,
            r#"{"type":"open_ok"}"#,
            r#"{"type":"open_ok","next":0}"#,
            r#"{"type":"pub_ack","n":-1}"#,
            r#"{"type":"pub_ack"}"#,
        ] {
            assert!(ReceiverFrame::read(text).is_err(), "{text}");
        }
    }
}
