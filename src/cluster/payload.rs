//! A message as nodes write it: what stands in the log, and behind the head of a frame. An engine never
//! looks into it.
//!
//! A version, then as varints the time, the sizes of id, sender, receiver and data, and the number of
//! connections that don't get the message; then these, and the texts. A user that isn't there has size 0, any
//! other one more than its bytes.
//!
//! Invariant: bytes have one meaning at most, and a message one form: no payload is the beginning of another.

use thiserror::Error;

use crate::base::{Fd, MessageBody};
use crate::chat::KeptMessage;
use crate::handover::{FieldFlaw, take_bytes, take_varint, varint};

/// The version that this program writes, and the only one that it reads.
pub const PAYLOAD_VERSION: u8 = 1;

/// A message and who doesn't get it, read out of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The message.
    pub body: MessageBody<&'a str>,
    /// Connections that don't get the message; only where it isn't kept.
    pub except: Vec<Fd>,
}

/// The reason why bytes are no payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// There are no bytes.
    #[error("a message has no bytes")]
    Empty,
    /// The payload has a version that this program doesn't know.
    #[error("a message was written in version {0} of its form")]
    Version(u8),
    /// A number or a text is wrong.
    #[error("a message can't be read: {0}")]
    Field(#[from] FieldFlaw),
}

/// Writes a message down.
#[must_use]
pub fn encode(body: &MessageBody<&str>, except: &[Fd]) -> Vec<u8> {
    let user_size = |user: Option<&str>| user.map_or(0, |uid| uid.len() as u64 + 1);
    let (from, to) = (body.from.unwrap_or(""), body.to.unwrap_or(""));
    let text_size = body.id.len() + from.len() + to.len() + body.data.len();
    let mut bytes = Vec::with_capacity(24 + 8 * except.len() + text_size);
    bytes.push(PAYLOAD_VERSION);
    let sizes = [
        body.ts,
        body.id.len() as u64,
        user_size(body.from),
        user_size(body.to),
        body.data.len() as u64,
        except.len() as u64,
    ];
    for number in sizes.into_iter().chain(except.iter().map(|fd| fd.0)) {
        let (digits, size) = varint(number);
        bytes.extend_from_slice(&digits[..size]);
    }
    for text in [body.id, from, to, body.data] {
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

impl<'a> Payload<'a> {
    /// Reads what [`encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`PayloadError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let (version, mut bytes) = bytes.split_first().ok_or(PayloadError::Empty)?;
        if *version != PAYLOAD_VERSION {
            return Err(PayloadError::Version(*version));
        }
        let bytes = &mut bytes;
        let ts = take_varint(bytes)?;
        let id_size = take_varint(bytes)?;
        let (from_size, to_size) = (take_varint(bytes)?, take_varint(bytes)?);
        let data_size = take_varint(bytes)?;
        let except_count = take_varint(bytes)?;
        if except_count > bytes.len() as u64 {
            return Err(FieldFlaw::Short.into());
        }
        // Grown by need: a number is larger here than there.
        let mut except = Vec::new();
        for _ in 0..except_count {
            except.push(Fd(take_varint(bytes)?));
        }
        let body = MessageBody {
            id: take_text(bytes, id_size)?,
            from: take_user(bytes, from_size)?,
            to: take_user(bytes, to_size)?,
            ts,
            data: take_text(bytes, data_size)?,
        };
        match bytes.is_empty() {
            true => Ok(Self { body, except }),
            false => Err(FieldFlaw::Range.into()),
        }
    }

    /// Copies the texts, in the form in which the chat keeps messages.
    #[must_use]
    pub fn kept(&self) -> KeptMessage {
        KeptMessage::of_body(&self.body)
    }
}

fn take_text<'a>(bytes: &mut &'a [u8], size: u64) -> Result<&'a str, FieldFlaw> {
    let text = take_bytes(bytes, size)?;
    std::str::from_utf8(text).map_err(|_| FieldFlaw::NotText)
}

fn take_user<'a>(bytes: &mut &'a [u8], size: u64) -> Result<Option<&'a str>, FieldFlaw> {
    match size.checked_sub(1) {
        Some(size) => take_text(bytes, size).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn body() -> MessageBody<&'static str> {
        MessageBody {
            id: "id-1",
            from: Some("ann"),
            to: Some(""),
            ts: 1_764_500_000_000,
            data: r#"{"text":"Grüße"}"#,
        }
    }

    #[test]
    fn a_payload_of_another_version_is_refused_by_its_number() {
        let mut bytes = encode(&body(), &[]);
        bytes[0] = 2;
        assert_eq!(Payload::decode(&bytes), Err(PayloadError::Version(2)));
        assert_eq!(Payload::decode(&[]), Err(PayloadError::Empty));
    }

    #[test]
    fn a_payload_says_of_no_more_than_it_has() {
        let many = [PAYLOAD_VERSION, 1, 0, 0, 0, 0, 0xff, 0xff, 0x7f];
        let short = Err(PayloadError::Field(FieldFlaw::Short));
        assert_eq!(Payload::decode(&many), short);
        let mut longer = encode(&body(), &[]);
        longer.push(b' ');
        let range = Err(PayloadError::Field(FieldFlaw::Range));
        assert_eq!(Payload::decode(&longer), range);
    }

    #[test]
    fn what_a_payload_adds_to_a_message_is_small() {
        let text_size = body().id.len() + 3 + body().data.len();
        assert_eq!(encode(&body(), &[]).len() - text_size, 12);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_message_is_read_as_it_was_written_and_cut_anywhere_it_is_none(
            (id, data) in ("[a-zü]{0,64}", ".{0,300}"),
            (from, to) in (option::of(".{0,20}"), option::of(".{0,300}")),
            ts in any::<u64>(),
            except in vec(any::<u64>().prop_map(Fd), 0..5),
        ) {
            let body = MessageBody {
                id: id.as_str(),
                from: from.as_deref(),
                to: to.as_deref(),
                ts,
                data: data.as_str(),
            };
            let bytes = encode(&body, &except);
            let payload = Payload::decode(&bytes).unwrap();
            let kept = payload.kept();
            prop_assert_eq!(kept.body(), body);
            prop_assert_eq!(&payload, &Payload { body, except });
            for cut in 0..bytes.len() {
                prop_assert!(Payload::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_has_this_form_alone(
            bytes in vec(any::<u8>(), 0..60),
        ) {
            let bytes = [&[PAYLOAD_VERSION][..], &bytes].concat();
            if let Ok(payload) = Payload::decode(&bytes) {
                prop_assert_eq!(encode(&payload.body, &payload.except), bytes);
            }
        }
    }
}
