//! What goes over a link as text: our frames are written, the upstream's are read.

use std::fmt::Write;

use serde::Deserialize;

/// The sign of life that both sides know.
pub(super) const PING: &str = "PING";

/// What an upstream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It takes messages from this number on.
    OpenOk {
        /// Its own mark, plus one.
        next: u64,
        /// What it refused for good of what is still here, and why: it may have been said on a
        /// link that broke.
        refused: Vec<(u64, String)>,
    },
    /// Everything up to this number is durable there.
    Ack {
        /// The number.
        n: u64,
    },
    /// This one is refused for good.
    Refused {
        /// The number.
        n: u64,
        /// Why.
        code: String,
    },
    /// It took nothing of what is on the way.
    Busy {
        /// When to send again, in milliseconds.
        after_ms: u64,
    },
    /// It is about to close the link, and why.
    Kick {
        /// A word for programs.
        code: String,
    },
    /// It lives.
    Pong,
    /// Something that a later version says; it is a sign of life.
    Other,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    kind: String,
    next: Option<u64>,
    n: Option<u64>,
    after_ms: Option<u64>,
    code: Option<String>,
    message: Option<String>,
    #[serde(default)]
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    n: u64,
    code: String,
}

/// Reads a frame; the error says what is wrong with it.
///
/// # Errors
///
/// It is no frame, one with a field missing, or `err`.
pub fn read(text: &str) -> Result<Said, String> {
    if text == "PONG" {
        return Ok(Said::Pong);
    }
    let fields: Fields =
        serde_json::from_str(text).map_err(|error| format!("a frame is no object: {error}"))?;
    let missing = |what: &str| format!("{} without {what}", fields.kind);
    let code = || fields.code.clone().unwrap_or_default();
    Ok(match &*fields.kind {
        "open_ok" => Said::OpenOk {
            next: fields
                .next
                .filter(|next| *next > 0)
                .ok_or_else(|| missing("next"))?,
            refused: (fields.refused.iter())
                .map(|one| (one.n, one.code.clone()))
                .collect(),
        },
        "pub_ack" => Said::Ack {
            n: fields.n.ok_or_else(|| missing("n"))?,
        },
        "pub_err" => Said::Refused {
            n: fields.n.ok_or_else(|| missing("n"))?,
            code: code(),
        },
        "pub_busy" => Said::Busy {
            after_ms: fields.after_ms.ok_or_else(|| missing("after_ms"))?,
        },
        "kick" => Said::Kick { code: code() },
        "err" => {
            let message = fields.message.as_deref().unwrap_or_default();
            return Err(format!("the upstream says {}: {message}", code()));
        }
        _ => Said::Other,
    })
}

/// `open`: who we are, and the oldest number that we still have.
#[must_use]
pub fn open(producer: &str, name: &str, first: u64) -> String {
    serde_json::json!({ "type": "open", "producer": producer, "name": name, "first": first })
        .to_string()
}

/// `pub`: a number put before the fields of a posting, which stay as they are.
#[must_use]
pub fn publish(n: u64, posting: &str) -> String {
    debug_assert!(posting.starts_with("{\""), "an object with a field");
    let fields = posting.strip_prefix('{').unwrap_or(posting);
    let mut frame = String::with_capacity(posting.len() + 40);
    write!(frame, "{{\"type\":\"pub\",\"n\":{n},").expect("a String takes every byte");
    frame.push_str(fields);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_an_upstream_are_read() {
        for (text, said) in [
            ("PONG", Said::Pong),
            (
                r#"{"type":"open_ok","next":1042}"#,
                Said::OpenOk {
                    next: 1042,
                    refused: Vec::new(),
                },
            ),
            (
                r#"{"type":"open_ok","next":9,"refused":[{"n":7,"code":"bad_request"}]}"#,
                Said::OpenOk {
                    next: 9,
                    refused: vec![(7, "bad_request".into())],
                },
            ),
            (r#"{"type":"pub_ack","n":7,"new":[1]}"#, Said::Ack { n: 7 }),
            (
                r#"{"type":"pub_err","n":7,"code":"bad_request"}"#,
                Said::Refused {
                    n: 7,
                    code: "bad_request".into(),
                },
            ),
            (
                r#"{"type":"pub_busy","after_ms":500}"#,
                Said::Busy { after_ms: 500 },
            ),
            (
                r#"{"type":"kick","code":"replaced","message":"x"}"#,
                Said::Kick {
                    code: "replaced".into(),
                },
            ),
            (r#"{"type":"news"}"#, Said::Other),
        ] {
            assert_eq!(read(text), Ok(said), "{text}");
        }
        for text in [
            "",
            "pong",
            "[]",
            r#"{"n":1}"#,
            r#"{"type":"open_ok"}"#,
            r#"{"type":"open_ok","next":0}"#,
            r#"{"type":"pub_ack","n":-1}"#,
            r#"{"type":"pub_ack"}"#,
            r#"{"type":"err","code":"bad_request","message":"no"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_posting_goes_on_as_it_is_behind_its_number() {
        let posting = r#"{"to":{"room":"tea"},"data":{"b": 1.0,  "a":"\u00e4"},"id":"x"}"#;
        assert_eq!(
            publish(3, posting),
            r#"{"type":"pub","n":3,"to":{"room":"tea"},"data":{"b": 1.0,  "a":"\u00e4"},"id":"x"}"#
        );
        assert_eq!(
            open("p\"", "gw-1", 5),
            r#"{"first":5,"name":"gw-1","producer":"p\"","type":"open"}"#
        );
    }
}
