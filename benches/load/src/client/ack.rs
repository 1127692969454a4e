//! Acknowledgements: whether a server took a message, or why it did not.

use memchr::memmem;

use crate::client::marker::number;

/// An answer to one message, or to one batch of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The number of the message; `None` for the oldest unanswered one.
    pub(crate) seq: Option<u64>,
    /// What the server said.
    pub(crate) outcome: Outcome,
}

/// What became of a message, or of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server took it.
    Taken {
        /// Codes of the messages of a batch that it did not take.
        refused: Vec<String>,
        /// Messages that it says it had already.
        duplicates: u64,
    },
    /// The server did not take it, with this code.
    Refused(String),
}

impl Outcome {
    /// A message that was taken, and nothing more to say.
    pub(crate) fn accepted() -> Self {
        Self::Taken {
            refused: Vec::new(),
            duplicates: 0,
        }
    }
}

impl Answer {
    /// Reads what an HTTP answer says of the message or batch.
    pub(crate) fn of_http(status: u16, body: &[u8]) -> Self {
        let outcome = match status {
            200..300 => taken(body),
            _ => {
                let code = codes(body).next().unwrap_or_default();
                Outcome::Refused(format!("status {status} {code}").trim_end().into())
            }
        };
        Self { seq: None, outcome }
    }
}

/// Frames that acknowledge a message.
#[derive(Clone, Debug)]
pub(crate) enum AckPattern {
    /// None come.
    Nothing,
    /// `ok` and `err` with the message's `seq`.
    Tidings,
    /// Frames with this text right before the message's number.
    Marker(String),
}

/// An `--ack-marker` that names no number.
#[derive(Debug, thiserror::Error)]
#[error("--ack-marker needs text and then {{seq}}")]
pub(crate) struct AckPatternError;

impl AckPattern {
    /// Reads a marker: text, then `{seq}`.
    ///
    /// # Errors
    ///
    /// There is no number, or no text before it.
    pub(crate) fn parse(text: &str) -> Result<Self, AckPatternError> {
        match text.split_once("{seq}") {
            Some((before, _)) if !before.is_empty() => Ok(Self::Marker(before.into())),
            _ => Err(AckPatternError),
        }
    }

    /// Reads a frame that may be an answer.
    pub(crate) fn read(&self, payload: &[u8]) -> Option<Answer> {
        let behind = |text: &[u8]| {
            let place = memmem::find(payload, text)?;
            Some(number(&payload[place + text.len()..])?.0)
        };
        match self {
            Self::Nothing => None,
            Self::Marker(before) => Some(Answer {
                seq: Some(behind(before.as_bytes())?),
                outcome: Outcome::accepted(),
            }),
            Self::Tidings => {
                let is = |kind: &str| memmem::find(payload, kind.as_bytes()).is_some();
                if is(r#""type":"ok""#) {
                    let outcome = taken(payload);
                    let seq = Some(behind(br#""seq":"#)?);
                    return Some(Answer { seq, outcome });
                }
                is(r#""type":"err""#).then(|| Answer {
                    seq: behind(br#""seq":"#),
                    outcome: Outcome::Refused(codes(payload).next().unwrap_or_default()),
                })
            }
        }
    }
}

fn taken(body: &[u8]) -> Outcome {
    let errors = memmem::find(body, br#""error""#);
    Outcome::Taken {
        refused: errors.map_or_else(Vec::new, |start| codes(&body[start..]).collect()),
        duplicates: memmem::find_iter(body, br#""duplicate":true"#).count() as u64,
    }
}

/// The error codes that a body names.
fn codes(body: &[u8]) -> impl Iterator<Item = String> {
    const NAME: &[u8] = br#""code":""#;
    memmem::find_iter(body, NAME).map(|place| {
        let rest = &body[place + NAME.len()..];
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end.min(64)]).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(payload: &str) -> Option<Answer> {
        AckPattern::Tidings.read(payload.as_bytes())
    }

    #[test]
    fn answers_are_told_from_all_other_frames() {
        let ok = told(r#"{"type":"ok","seq":17,"channel":"x","duplicate":false}"#).unwrap();
        assert_eq!(ok.seq, Some(17));
        assert_eq!(told(r#"{"type":"ok","seq":null,"channels":{}}"#), None);
        assert_eq!(told(r#"{"type":"hello","fd":17}"#), None);
        let err = told(r#"{"type":"err","seq":4,"code":"not_member","message":"x"}"#).unwrap();
        assert_eq!(
            (err.seq, err.outcome),
            (Some(4), Outcome::Refused("not_member".into()))
        );
        let marker = AckPattern::Marker("ack ".into());
        assert_eq!(marker.read(b"the ack 12.").unwrap().seq, Some(12));
        assert_eq!(marker.read(b"something else"), None);
    }

    #[test]
    fn http_answers_give_codes_and_duplicates() {
        let body = br#"{"results":[{"offset":1,"duplicate":true},{"error":{"code":"a","message":"b"}},{"error":{"code":"c"}}]}"#;
        let expected = Outcome::Taken {
            refused: vec!["a".into(), "c".into()],
            duplicates: 1,
        };
        assert_eq!(Answer::of_http(200, body).outcome, expected);
        let refused = Answer::of_http(429, br#"{"error":{"code":"rate_limited"}}"#).outcome;
        assert_eq!(refused, Outcome::Refused("status 429 rate_limited".into()));
        assert_eq!(
            Answer::of_http(502, b"").outcome,
            Outcome::Refused("status 502".into())
        );
    }

    #[test]
    fn a_marker_needs_text_before_its_number() {
        assert!(AckPattern::parse("{seq}").is_err() && AckPattern::parse("ack:{seq}").is_ok());
    }
}
