//! Frames from a server to a gateway.

use serde::Deserialize;

use super::{PONG, Violation};
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::chat::ErrorCode;

/// Bytes of an upstream's sentence that are kept: more than any of a server's own.
const MESSAGE_SIZE_MAX: usize = 1_000;

/// Why a message was refused for good, in the receiver's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusalWords {
    /// A word for programs.
    pub code: String,
    /// A sentence for people; empty where an older receiver says none.
    pub message: String,
}

impl RefusalWords {
    fn new(code: String, mut message: String) -> Self {
        message.truncate(message.floor_char_boundary(MESSAGE_SIZE_MAX));
        Self { code, message }
    }
}

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
        refused: Vec<(u64, RefusalWords)>,
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
        /// The reason.
        why: RefusalWords,
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
    #[serde(default)]
    message: String,
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
                    .map(|one| (one.n, RefusalWords::new(one.code, one.message)))
                    .collect(),
            },
            "pub_ack" => ReceiverFrame::Ack {
                n: self.n.ok_or_else(|| missing("n"))?,
            },
            "pub_err" => ReceiverFrame::Refused {
                n: self.n.ok_or_else(|| missing("n"))?,
                why: RefusalWords::new(code, self.message.unwrap_or_default()),
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
pub fn open_ok(next: u64, refused: &[(u64, Refusal)]) -> String {
    let json = Json::frame("open_ok").number("next", next);
    if refused.is_empty() {
        return json.end();
    }
    let refused = refused.iter().map(|(n, refusal)| {
        let one = Json::object().number("n", *n);
        with_reason(one, refusal).end()
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
pub fn pub_err(n: u64, refusal: &Refusal) -> String {
    with_reason(Json::frame("pub_err").number("n", n), refusal).end()
}

fn with_reason(json: Json, refusal: &Refusal) -> Json {
    json.string("code", refusal.code.name())
        .string("message", &refusal.message)
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
        let refused = [(7, Refusal::bad_request("to: nobody"))];
        let words = |code: &str, message: &str| RefusalWords {
            code: code.into(),
            message: message.into(),
        };
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
                    refused: vec![(7, words("bad_request", "to: nobody"))],
                },
            ),
            (pub_ack(7), ReceiverFrame::Ack { n: 7 }),
            (
                pub_err(7, &Refusal::new(ErrorCode::TooLarge, "too long")),
                ReceiverFrame::Refused {
                    n: 7,
                    why: words("too_large", "too long"),
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
    fn a_sentence_of_an_older_receiver_is_missing_and_a_long_one_is_cut() {
        let read = |text: &str| match ReceiverFrame::read(text) {
            Ok(ReceiverFrame::Refused { why, .. }) => why.message,
            other => panic!("{other:?}"),
        };
        assert_eq!(read(r#"{"type":"pub_err","n":3,"code":"x"}"#), "");
        let long = "ü".repeat(MESSAGE_SIZE_MAX);
        let text = format!(r#"{{"type":"pub_err","n":3,"code":"x","message":"{long}"}}"#);
        assert_eq!(read(&text), "ü".repeat(MESSAGE_SIZE_MAX / 2));
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
