//! A posting as the outbox keeps it, and as it goes over a link: one JSON object.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

use crate::api::json::Json;
use crate::api::posting::{Posting, To};
use crate::api::refusal::Refusal;
use crate::base::clock::random;
use crate::chat::{ErrorCode, Keep, check_room, check_uid};

/// Longest id, in bytes: as long as a server takes, so that no message is refused there for its id.
const ID_SIZE_MAX: usize = 64;

/// A message as the outbox keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutboxMessage {
    pub(super) id: Box<str>,
    /// The object that goes over the link; its `data` is byte for byte what was posted.
    pub(super) json: Box<str>,
    /// The key that a repeat of the message has too; `None` where we made the id, since nothing can
    /// repeat such a message.
    pub(super) idempotency_key: Option<u128>,
}

/// Encodes postings for one outbox.
#[derive(Debug)]
pub(super) struct MessageEncoder {
    /// The key of the outbox, so that repeats are known across a restart.
    key: [u64; 2],
    /// The source of ids, keyed for this process, so that no id comes twice.
    ids: SipHasher13,
    made: AtomicU64,
    data_size_max: AtomicUsize,
}

impl MessageEncoder {
    pub(super) fn new(key: [u64; 2], data_size_max: usize) -> Self {
        Self {
            key,
            ids: SipHasher13::new_with_keys(random(), random()),
            made: AtomicU64::new(0),
            data_size_max: AtomicUsize::new(data_size_max),
        }
    }

    /// Changes the bound of a message's data.
    pub(super) fn set_data_size_max(&self, data_size_max: usize) {
        self.data_size_max.store(data_size_max, Ordering::Relaxed);
    }

    /// Encodes a posting.
    ///
    /// # Errors
    ///
    /// The posting is for a connection, which only its own server knows, something is too long, or a
    /// name is one that every server refuses: it would end among the dead letters.
    pub(super) fn encode(&self, posting: &Posting<'_>) -> Result<OutboxMessage, Refusal> {
        let to = receivers(&posting.to)?;
        let posted = &posting.message;
        if !posted.except.is_empty() {
            return Err(Refusal::bad_request(
                "except names connections, which a gateway doesn't have",
            ));
        }
        let (size, size_max) = (
            posted.data.len(),
            self.data_size_max.load(Ordering::Relaxed),
        );
        if size > size_max {
            let message = format!("data has {size} bytes, but at most {size_max} are taken");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        let id: Cow<'_, str> = match &posted.id {
            Some(id) if id.is_empty() || id.len() > ID_SIZE_MAX => {
                let message = format!("id has to have 1 to {ID_SIZE_MAX} bytes");
                return Err(Refusal::bad_request(message));
            }
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(self.id()),
        };
        let from = posted.from.as_deref();
        if let Some(from) = from {
            check_uid("from", from)?;
        }
        let idempotency_key = posted
            .id
            .is_some()
            .then(|| self.idempotency_key(&to, from, &id));
        let mut json = Json::of_size(posted.data.len() + to.len() + 128)
            .raw("to", &to)
            .raw("data", posted.data)
            .string("id", &id);
        if let Some(from) = from {
            json = json.string("from", from);
        }
        if posted.keep == Keep::No {
            json = json.flag("store", false);
        }
        Ok(OutboxMessage {
            id: id.into(),
            json: json.end().into(),
            idempotency_key,
        })
    }

    fn idempotency_key(&self, to: &str, from: Option<&str>, id: &str) -> u128 {
        let mut hasher = SipHasher13x128::new_with_keys(self.key[0], self.key[1]);
        (to, from, id).hash(&mut hasher);
        hasher.finish128().as_u128()
    }

    fn id(&self) -> String {
        let mut hasher = self.ids;
        self.made.fetch_add(1, Ordering::Relaxed).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// Makes the name of an outbox as a producer: as old as the outbox, and as hard to guess as its
/// key.
pub(super) fn producer(key: [u64; 2]) -> String {
    let mut hasher = SipHasher13x128::new_with_keys(key[0], key[1]);
    "producer".hash(&mut hasher);
    format!("{:032x}", hasher.finish128().as_u128())
}

fn receivers(to: &To<'_>) -> Result<String, Refusal> {
    let json = Json::object();
    let json = match to {
        To::Room(room) => {
            check_room("to.room", room)?;
            json.string("room", room)
        }
        To::User(user) => {
            check_uid("to.user", user)?;
            json.string("user", user)
        }
        To::All => json.flag("all", true),
        To::Rooms(rooms) => {
            (rooms.iter()).try_for_each(|room| check_room("to.rooms", room))?;
            json.strings("rooms", rooms)
        }
        To::Users(users) => {
            (users.iter()).try_for_each(|user| check_uid("to.users", user))?;
            json.strings("users", users)
        }
        To::Fd(_) => {
            return Err(Refusal::bad_request(
                "to can't be a connection: only the server of a connection knows its fd",
            ));
        }
    };
    Ok(json.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::posting::posting;

    fn encode(body: &str) -> Result<OutboxMessage, String> {
        let encoder = MessageEncoder::new([1, 2], 100);
        let message = posting(body).and_then(|posting| encoder.encode(&posting));
        message.map_err(|refusal| refusal.message.into_owned())
    }

    #[test]
    fn data_stays_byte_for_byte_and_all_else_is_kept_as_it_was_meant() {
        let body = r#"{ "from":7, "id":"a\"b", "data": {"b": 1.0,  "a":"\u00e4"}, "to":{"rooms":["x","ü"]} }"#;
        let message = encode(body).unwrap();
        let json =
            r#"{"to":{"rooms":["x","ü"]},"data":{"b": 1.0,  "a":"\u00e4"},"id":"a\"b","from":"7"}"#;
        assert_eq!((&*message.json, &*message.id), (json, "a\"b"));
        let message = encode(r#"{"to":{"all":true},"data":null,"store":false}"#).unwrap();
        let id = &message.id;
        let json = format!(r#"{{"to":{{"all":true}},"data":null,"id":"{id}","store":false}}"#);
        assert_eq!(*message.json, *json);
        assert_eq!((message.idempotency_key, id.len()), (None, 16));
    }

    #[test]
    fn a_repeat_is_known_by_receiver_sender_and_id() {
        let key_of = |body: &str| encode(body).unwrap().idempotency_key.unwrap();
        let one = key_of(r#"{"to":{"room":"a"},"data":1,"id":"x","from":"ann"}"#);
        let again = r#"{"id":"x","data":2,"from":"ann","to":{"room":"\u0061"}}"#;
        assert_eq!(key_of(again), one);
        for other in [
            r#"{"to":{"user":"a"},"data":1,"id":"x","from":"ann"}"#,
            r#"{"to":{"room":"b"},"data":1,"id":"x","from":"ann"}"#,
            r#"{"to":{"room":"a"},"data":1,"id":"y","from":"ann"}"#,
            r#"{"to":{"room":"a"},"data":1,"id":"x","from":"bob"}"#,
            r#"{"to":{"room":"a"},"data":1,"id":"x"}"#,
        ] {
            assert_ne!(key_of(other), one, "{other}");
        }
    }

    #[test]
    fn a_refused_posting_is_told_which_field_to_mend() {
        let long = "x".repeat(99);
        for (body, word) in [
            (r#"{"to":{"fd":7},"data":1}"#.to_owned(), "fd"),
            (
                r#"{"to":{"room":"a"},"data":1,"store":false,"except":[1]}"#.to_owned(),
                "except",
            ),
            (
                format!(r#"{{"to":{{"room":"a"}},"data":"{long}"}}"#),
                "at most 100",
            ),
            (
                format!(r#"{{"to":{{"room":"a"}},"data":1,"id":"{long}"}}"#),
                "id has",
            ),
            (r#"{"to":{"room":"a"},"data":1,"id":""}"#.to_owned(), "id"),
        ] {
            let message = encode(&body).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn a_name_that_every_server_refuses_is_refused_before_it_is_kept() {
        let long = "x".repeat(256);
        let to = |to: &str| format!(r#"{{"to":{{{to}}},"data":1}}"#);
        for body in [
            to(r#""room":"@ann""#),
            to(r#""room":"""#),
            to(&format!(r#""room":"{long}""#)),
            to(r#""user":"""#),
            to(&format!(r#""user":"{long}""#)),
            to(r#""rooms":["a","*b"]"#),
            to(r#""users":["ann",""]"#),
            format!(r#"{{"to":{{"room":"a"}},"data":1,"from":"{long}"}}"#),
        ] {
            assert!(encode(&body).is_err(), "{body}");
        }
    }

    #[test]
    fn ids_dont_repeat_and_a_producer_belongs_to_its_outbox() {
        let encoder = MessageEncoder::new([1, 2], 100);
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| encoder.id()).collect();
        assert_eq!(ids.len(), 10_000);
        assert_eq!(producer([1, 2]), producer([1, 2]));
        assert_ne!(producer([1, 2]), producer([2, 1]));
    }
}
