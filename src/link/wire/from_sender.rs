//! Frames from a gateway to a server.

use std::borrow::Cow;
use std::fmt::Write;

use super::{PING, Violation};
use crate::api::body::unknown_field;
use crate::api::field::{self, raw_fields};
use crate::api::json::Json;
use crate::api::posting::{Posting, RECEIVERS_MAX, RawPosting, Several};
use crate::api::raw_json::RawJson;
use crate::api::refusal::Refusal;

/// Longest name of a producer, in bytes. Gateways of ours have 32, which are 128 bits in
/// hexadecimal digits; the name is a key of the receiver's store, and stands with every number there.
const PRODUCER_SIZE_MAX: usize = 64;

/// A frame of a sender.
#[derive(Debug, PartialEq, Eq)]
pub enum SenderFrame<'a> {
    /// The sender lives, and wants to know whether the receiver does.
    Ping,
    /// The sender says who it is.
    Open {
        /// The producer whose numbers follow.
        producer: Cow<'a, str>,
        /// The gateway's name, for people.
        name: Cow<'a, str>,
        /// The oldest number that the sender still has.
        first: u64,
    },
    /// A message. One that can't be read has a number nevertheless, and is refused under that
    /// number.
    Publish {
        /// The number of the message.
        n: u64,
        /// The message as it was posted.
        posting: Result<Posting<'a>, Refusal>,
    },
}

raw_fields! {
    /// The fields of both frames, unread; `open` passes over those that it doesn't know.
    SenderFields {
        kind = "type",
        producer = "producer",
        name = "name",
        first = "first",
        n = "n",
        to = "to",
        data = "data",
        id = "id",
        from = "from",
        store = "store",
    }
}

impl<'a> SenderFrame<'a> {
    /// Reads a text frame.
    ///
    /// # Errors
    ///
    /// The frame isn't one of the protocol; the sender is told so, and its link ends.
    pub fn read(text: &'a str) -> Result<Self, Violation> {
        if text == PING {
            return Ok(Self::Ping);
        }
        SenderFields::read("a frame", text)
            .and_then(|fields| fields.frame())
            .map_err(|refusal| Violation(refusal.message.into_owned()))
    }
}

impl<'a> SenderFields<'a> {
    fn frame(&self) -> Result<SenderFrame<'a>, Refusal> {
        match &*field::required_text("type", self.kind)? {
            "open" => {
                let producer = field::required_text("producer", self.producer)?;
                if !(1..=PRODUCER_SIZE_MAX).contains(&producer.len()) {
                    let message = format!("producer has to have 1 to {PRODUCER_SIZE_MAX} bytes");
                    return Err(Refusal::bad_request(message));
                }
                Ok(SenderFrame::Open {
                    producer,
                    name: field::text("name", self.name)?.unwrap_or_default(),
                    first: from_one("first", self.first)?,
                })
            }
            "pub" => Ok(SenderFrame::Publish {
                n: from_one("n", self.n)?,
                posting: self.posting(),
            }),
            _ => Err(Refusal::bad_request("type has to be open or pub")),
        }
    }

    fn posting(&self) -> Result<Posting<'a>, Refusal> {
        let others = [
            ("producer", self.producer),
            ("name", self.name),
            ("first", self.first),
        ];
        let other = others.iter().find(|(_, value)| value.is_some());
        let unknown = self.unknown.as_deref();
        if let Some(name) = unknown.or(other.map(|(name, _)| *name)) {
            let known = "type, n, to, data, id, from, store";
            return Err(unknown_field("pub", name, known));
        }
        // Without an id of its own, the same message would be another one when it comes again.
        if field::present(self.id).is_none() {
            return Err(field::missing("id", "a string or a whole number"));
        }
        let raw = RawPosting {
            to: self.to,
            data: self.data,
            from: self.from,
            id: self.id,
            store: self.store,
        };
        raw.read(Several::Taken(RECEIVERS_MAX))
    }
}

fn from_one(name: &str, value: Option<RawJson<'_>>) -> Result<u64, Refusal> {
    let number = field::number(name, value)?.filter(|number| *number > 0);
    number.ok_or_else(|| field::missing(name, "a whole number from 1 on"))
}

/// Writes `open`: who the sender is, and the oldest number that it still has.
#[must_use]
pub fn open(producer: &str, name: &str, first: u64) -> String {
    Json::frame("open")
        .string("producer", producer)
        .string("name", name)
        .number("first", first)
        .end()
}

/// Writes `pub`: a number before the fields of a posting, which stay as they are.
#[must_use]
pub fn publish(n: u64, posting: &str) -> String {
    debug_assert!(posting.starts_with("{\""), "an object with a field");
    let fields = posting.strip_prefix('{').unwrap_or(posting);
    // 40: what stands before the fields, with a number of twenty digits.
    let mut frame = String::with_capacity(posting.len() + 40);
    write!(frame, "{{\"type\":\"pub\",\"n\":{n},").expect("a String takes every byte");
    frame.push_str(fields);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Keep, NewMessage};

    #[test]
    fn what_a_sender_writes_is_read_as_it_was_meant() {
        assert_eq!(SenderFrame::read(PING), Ok(SenderFrame::Ping));
        let expected = SenderFrame::Open {
            producer: "p\"".into(),
            name: "gw-ü".into(),
            first: 3,
        };
        assert_eq!(SenderFrame::read(&open("p\"", "gw-ü", 3)), Ok(expected));
        let kept =
            r#"{"to":{"rooms":["a"]},"data":{"x": 1.0,  "a":"\u00e4"},"id":"i","from":"ann"}"#;
        let frame = publish(7, kept);
        assert_eq!(frame, format!(r#"{{"type":"pub","n":7,{}"#, &kept[1..]));
        let Ok(SenderFrame::Publish { n: 7, posting }) = SenderFrame::read(&frame) else {
            panic!("{frame}")
        };
        let expected = NewMessage {
            data: r#"{"x": 1.0,  "a":"\u00e4"}"#,
            from: Some("ann".into()),
            id: Some("i".into()),
            keep: Keep::Yes,
            except: Vec::new(),
        };
        assert_eq!(posting.unwrap().message, expected);
    }

    #[test]
    fn a_message_that_cant_be_read_is_refused_under_its_number() {
        for wrong in [
            r#"{"type":"pub","n":7,"to":{"room":1},"data":1,"id":"i"}"#,
            r#"{"type":"pub","n":7,"data":1,"id":"i"}"#,
            r#"{"type":"pub","n":7,"to":{"room":"a"},"id":"i"}"#,
            r#"{"type":"pub","n":7,"to":{"room":"a"},"data":1}"#,
            r#"{"type":"pub","n":7,"to":{"room":"a"},"data":1,"id":"i","except":[1]}"#,
            r#"{"type":"pub","n":7,"to":{"room":"a"},"data":1,"id":"i","first":1}"#,
        ] {
            let read = SenderFrame::read(wrong);
            let is_refused = matches!(
                read,
                Ok(SenderFrame::Publish {
                    n: 7,
                    posting: Err(_)
                })
            );
            assert!(is_refused, "{wrong}: {read:?}");
        }
    }

    #[test]
    fn other_frames_are_violations() {
        for wrong in [
            "",
            "[]",
            "{}",
            "ping",
            r#"{"type":"say"}"#,
            r#"{"type":"pub","n":0,"to":{"room":"a"},"data":1,"id":"i"}"#,
            r#"{"type":"pub","to":{"room":"a"},"data":1,"id":"i"}"#,
            r#"{"type":"open","producer":"","name":"gw","first":1}"#,
            r#"{"type":"open","producer":"p","name":"gw"}"#,
            r#"{"type":"open","producer":"p","name":"gw","first":0}"#,
        ] {
            assert!(SenderFrame::read(wrong).is_err(), "{wrong}");
        }
        let longest = "p".repeat(PRODUCER_SIZE_MAX);
        assert!(SenderFrame::read(&open(&longest, "gw", 1)).is_ok());
        assert!(SenderFrame::read(&open(&(longest + "p"), "gw", 1)).is_err());
    }
}
