//! What goes over a link as text: the gateway's frames are read, ours are written.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api::field;
use crate::api::json::Json;
use crate::api::posting::{Posting, RECEIVERS_MAX};
use crate::api::posting::{Several, receiver};
use crate::api::refusal::Refusal;
use crate::chat::ErrorCode;

/// Longest name of a producer, in bytes.
const PRODUCER_SIZE_MAX: usize = 64;

/// A breach of the protocol by a gateway, in words for it and for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

/// A frame of a gateway.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkFrame<'a> {
    /// The gateway opens its link.
    Open {
        /// The producer whose numbers follow.
        producer: Cow<'a, str>,
        /// For people.
        name: Cow<'a, str>,
        /// The oldest number that it still has.
        first: u64,
    },
    /// A message. One that is none has a number nevertheless, and is refused under it.
    Pub {
        /// Its number.
        n: u64,
        /// The message, or why it is none.
        posting: Result<Posting<'a>, Refusal>,
    },
}

#[derive(Deserialize)]
struct LinkFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    producer: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    first: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    to: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "field::even_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    from: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
}

/// Reads a frame.
///
/// # Errors
///
/// The gateway broke the protocol: it is no JSON object, or none of these frames.
pub fn read(text: &str) -> Result<LinkFrame<'_>, Violation> {
    let fields: LinkFields<'_> = serde_json::from_str(text)
        .map_err(|_| Violation("a frame has to be one JSON object".into()))?;
    fields
        .frame()
        .map_err(|refusal| Violation(refusal.message.into_owned()))
}

impl<'a> LinkFields<'a> {
    fn frame(&self) -> Result<LinkFrame<'a>, Refusal> {
        match &*field::required_text("type", self.kind)? {
            "open" => {
                let producer = field::required_text("producer", self.producer)?;
                if !(1..=PRODUCER_SIZE_MAX).contains(&producer.len()) {
                    let message = format!("producer has to have 1 to {PRODUCER_SIZE_MAX} bytes");
                    return Err(Refusal::bad_request(message));
                }
                Ok(LinkFrame::Open {
                    producer,
                    name: field::text("name", self.name)?.unwrap_or_default(),
                    first: from_one("first", self.first)?,
                })
            }
            "pub" => Ok(LinkFrame::Pub {
                n: from_one("n", self.n)?,
                posting: self.posting(),
            }),
            _ => Err(Refusal::bad_request("type has to be open or pub")),
        }
    }

    fn posting(&self) -> Result<Posting<'a>, Refusal> {
        let to = (self.to)
            .ok_or_else(|| field::missing("to", "an object such as {\"room\":\"lobby\"}"))?;
        Ok(Posting {
            to: receiver(to, Several::Taken(RECEIVERS_MAX))?,
            data: field::data("data", self.data)?,
            from: field::user("from", self.from)?,
            // Without one a message that comes again would be another one.
            id: Some(field::required_text("id", self.id)?),
            store: field::flag("store", self.store)?.unwrap_or(true),
            except: Vec::new(),
        })
    }
}

fn from_one(name: &str, value: Option<&RawValue>) -> Result<u64, Refusal> {
    let number = field::number(name, value)?.filter(|number| *number > 0);
    number.ok_or_else(|| field::missing(name, "a whole number from 1 on"))
}

/// With what was refused for good of what the gateway still has, if anything was.
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

/// Tells that everything up to this number is durable.
#[must_use]
pub fn pub_ack(n: u64) -> String {
    Json::frame("pub_ack").number("n", n).end()
}

/// Tells that this number is refused for good.
#[must_use]
pub fn pub_err(n: u64, code: ErrorCode) -> String {
    Json::frame("pub_err")
        .number("n", n)
        .string("code", code.name())
        .end()
}

/// Tells that there is no room just now.
#[must_use]
pub fn pub_busy(after_ms: u64) -> String {
    Json::frame("pub_busy").number("after_ms", after_ms).end()
}

/// Tells what the gateway did wrong, before its link is closed.
#[must_use]
pub fn err(message: &str) -> String {
    Json::frame("err")
        .raw("seq", "null")
        .string("code", ErrorCode::BadRequest.name())
        .string("message", message)
        .flag("retry", false)
        .end()
}
