//! A message that is to be sent, and its receivers: WebSockets, HTTP clients and gateways use the
//! same fields.

use std::borrow::Cow;

use serde::Deserialize;

use super::body::{object, unknown_field};
use super::field::{self, parse, raw_fields};
use super::raw_json::RawJson;
use super::refusal::Refusal;
use super::scan::Scanner;
use crate::base::Fd;
use crate::chat::{Keep, NewMessage, Recipient};

/// Rooms or users that one message may name: the chat's default `receivers_max`, since each
/// receiver costs a message of its own.
pub(crate) const RECEIVERS_MAX: usize = 100;

/// Messages in one batch: the default body of 1 MiB leaves about a KiB for each.
pub(crate) const BATCH_MAX: usize = 1_000;

/// Bytes of a message in a batch, by which the place for all of them is guessed: few are smaller.
const SIZE_GUESSED: usize = 64;

/// Connections that one message may leave out: as many as it may name receivers.
const EXCEPT_MAX: usize = 100;

/// A message and its receivers, as a client, a back end or a gateway wrote them.
#[derive(Debug, PartialEq, Eq)]
pub struct Posting<'a> {
    /// The receivers.
    pub to: To<'a>,
    /// The message, in the chat's terms; its data is byte for byte as it was written.
    pub message: NewMessage<'a>,
}

/// The fields of a message that all fronts have in common, unread.
pub(crate) struct RawPosting<'a> {
    pub(crate) to: Option<RawJson<'a>>,
    pub(crate) data: Option<RawJson<'a>>,
    pub(crate) from: Option<RawJson<'a>>,
    pub(crate) id: Option<RawJson<'a>>,
    pub(crate) store: Option<RawJson<'a>>,
}

impl<'a> RawPosting<'a> {
    /// Reads the fields; the message leaves no connection out.
    ///
    /// # Errors
    ///
    /// The refusal names the field that is wrong.
    pub(crate) fn read(self, several: Several) -> Result<Posting<'a>, Refusal> {
        let to = field::present(self.to)
            .ok_or_else(|| field::missing("to", "an object such as {\"room\":\"lobby\"}"))?;
        Ok(Posting {
            to: receiver(to, several)?,
            message: NewMessage {
                data: field::data("data", self.data)?,
                from: field::text_or_digits("from", self.from)?,
                id: field::text_or_digits("id", self.id)?,
                keep: match field::flag("store", self.store)? {
                    None | Some(true) => Keep::Yes,
                    Some(false) => Keep::No,
                },
                except: Vec::new(),
            },
        })
    }
}

raw_fields! {
    /// The fields of a message in a body, unread.
    PostingFields {
        to = "to",
        data = "data",
        from = "from",
        id = "id",
        store = "store",
        except = "except",
    }
}

/// The receivers of a message, in the chat's terms.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recipients<'a> {
    /// One receiver: its refusal is that of the message.
    One(Recipient<'a>),
    /// Several receivers, each with a result of its own.
    Several(Vec<Recipient<'a>>),
}

impl To<'_> {
    /// Translates the receivers for the chat.
    pub(crate) fn recipients(&self) -> Recipients<'_> {
        match self {
            Self::Room(room) => Recipients::One(Recipient::Room(room)),
            Self::User(user) => Recipients::One(Recipient::User(user)),
            Self::Fd(fd) => Recipients::One(Recipient::Fd(Fd(*fd))),
            Self::All => Recipients::One(Recipient::All),
            Self::Rooms(rooms) => {
                let rooms = rooms.iter().map(|room| Recipient::Room(room));
                Recipients::Several(rooms.collect())
            }
            Self::Users(users) => {
                let users = users.iter().map(|user| Recipient::User(user));
                Recipients::Several(users.collect())
            }
        }
    }
}

impl Posting<'_> {
    /// The number of receivers, which is what the message counts as against a limit.
    pub(crate) fn receivers(&self) -> usize {
        match &self.to {
            To::Rooms(rooms) => rooms.len(),
            To::Users(users) => users.len(),
            To::Room(_) | To::User(_) | To::Fd(_) | To::All => 1,
        }
    }
}

/// Reads the body of `POST /v1/messages`.
///
/// # Errors
///
/// The refusal names the field that is wrong.
pub(crate) fn posting(body: &str) -> Result<Posting<'_>, Refusal> {
    PostingFields::read("the message", body)?.posting()
}

impl<'a> PostingFields<'a> {
    fn posting(self) -> Result<Posting<'a>, Refusal> {
        let fields = self;
        if let Some(name) = &fields.unknown {
            let known = "to, data, from, id, store, except";
            return Err(unknown_field("the message", name, known));
        }
        let raw = RawPosting {
            to: fields.to,
            data: fields.data,
            from: fields.from,
            id: fields.id,
            store: fields.store,
        };
        let mut posting = raw.read(Several::Taken(RECEIVERS_MAX))?;
        let except: Vec<u64> = match field::present(fields.except) {
            Some(value) => field::parse("except", value, "an array of fds")?,
            None => Vec::new(),
        };
        if except.len() > EXCEPT_MAX {
            return Err(Refusal::bad_request(format!(
                "except has {} entries, but at most {EXCEPT_MAX} are taken",
                except.len()
            )));
        }
        if posting.message.keep == Keep::Yes && !except.is_empty() {
            return Err(Refusal::bad_request(
                "except needs \"store\":false, since a kept message without a receiver would be a hole",
            ));
        }
        posting.message.except = except.into_iter().map(Fd).collect();
        Ok(posting)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchFields<'a> {
    #[serde(borrow)]
    messages: Option<RawJson<'a>>,
}

/// Reads the body of `POST /v1/messages/batch`; each message by itself.
///
/// # Errors
///
/// The body is no object with an array of at most 1,000 messages.
pub(crate) fn batch(body: &str) -> Result<Vec<Result<Posting<'_>, Refusal>>, Refusal> {
    if let Some(messages) = scan_batch(body) {
        let messages = messages.into_iter();
        return Ok(messages.map(PostingFields::posting).collect());
    }
    let fields: BatchFields<'_> = object("the body", body)?;
    let messages = fields
        .messages
        .ok_or_else(|| field::missing("messages", "an array of messages"))?;
    let messages: Vec<RawJson<'_>> = parse("messages", messages, "an array of messages")?;
    if messages.len() > BATCH_MAX {
        return Err(Refusal::bad_request(format!(
            "messages has {} entries, but at most {BATCH_MAX} are taken",
            messages.len()
        )));
    }
    Ok(messages
        .into_iter()
        .map(|message| posting(message.get()))
        .collect())
}

/// Reads the fields of all messages of a batch in one go; `None` where serde has to do it.
fn scan_batch(body: &str) -> Option<Vec<PostingFields<'_>>> {
    let mut scanner = Scanner::new(body);
    let mut messages = None;
    scanner.object(|scanner, key| {
        (key == "messages" && messages.is_none()).then_some(())?;
        let all = messages.insert(Vec::with_capacity(BATCH_MAX.min(body.len() / SIZE_GUESSED)));
        scanner.array(|scanner| {
            (all.len() < BATCH_MAX).then_some(())?;
            all.push(PostingFields::scan(scanner)?);
            Some(())
        })
    })?;
    messages.filter(|_| scanner.is_done())
}

/// The receivers of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum To<'a> {
    /// A room, by its name.
    Room(Cow<'a, str>),
    /// All connections of a user, by the user's id.
    User(Cow<'a, str>),
    /// One connection, by its number.
    Fd(u64),
    /// Everyone who is logged in.
    All,
    /// Several rooms; by HTTP only.
    Rooms(Vec<Cow<'a, str>>),
    /// Several users; by HTTP only.
    Users(Vec<Cow<'a, str>>),
}

/// Whether several receivers may be named at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Several {
    /// Takes `rooms` and `users` too, of at most this many entries.
    Taken(usize),
    /// Takes one receiver only.
    Refused,
}

raw_fields! {
    /// The fields of a receiver, unread.
    ToFields {
        room = "room",
        user = "user",
        fd = "fd",
        all = "all",
        rooms = "rooms",
        users = "users",
    }
}

fn receiver<'a>(value: RawJson<'a>, several: Several) -> Result<To<'a>, Refusal> {
    let what = match several {
        Several::Taken(_) => "an object with one of room, user, fd, all, rooms, users",
        Several::Refused => "an object with one of room, user, fd, all",
    };
    let wrong = || Refusal::bad_request(format!("to has to be {what}"));
    let to = ToFields::read("to", value.get()).map_err(|_| wrong())?;
    let all = [to.room, to.user, to.fd, to.all, to.rooms, to.users];
    let count = (all.iter())
        .filter(|value| field::present(**value).is_some())
        .count();
    if count != 1 || to.unknown.is_some() {
        return Err(wrong());
    }
    let count_max = match several {
        Several::Taken(count_max) => count_max,
        Several::Refused
            if field::present(to.rooms)
                .or(field::present(to.users))
                .is_some() =>
        {
            return Err(wrong());
        }
        Several::Refused => 1,
    };
    if let Some(room) = field::text("to.room", to.room)? {
        Ok(To::Room(room))
    } else if let Some(user) = field::text_or_digits("to.user", to.user)? {
        Ok(To::User(user))
    } else if let Some(fd) = field::number("to.fd", to.fd)? {
        Ok(To::Fd(fd))
    } else if field::flag("to.all", to.all)? == Some(true) {
        Ok(To::All)
    } else if field::present(to.rooms).is_some() {
        let rooms = field::texts("to.rooms", to.rooms, count_max)?;
        rooms.map(To::Rooms).ok_or_else(wrong)
    } else if field::present(to.users).is_some() {
        let users = field::users("to.users", to.users, count_max)?;
        users.map(To::Users).ok_or_else(wrong)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        posting(body).unwrap_err().message.into_owned()
    }

    #[test]
    fn a_posting_is_read() {
        let read = posting(
            r#"{"to":{"rooms":["a","b"]},"data":[1.0],"from":7,"store":false,"except":[9]}"#,
        );
        let read = read.unwrap();
        assert_eq!(read.to, To::Rooms(vec!["a".into(), "b".into()]));
        let expected = NewMessage {
            data: "[1.0]",
            from: Some("7".into()),
            id: None,
            keep: Keep::No,
            except: vec![Fd(9)],
        };
        assert_eq!(read.message, expected);
        let null = posting(r#"{"to":{"all":true},"data":null}"#).unwrap();
        assert_eq!(null.message.data, "null", "null is JSON as well");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(
            message(r#"{"to":{"room":"a"},"data":1,"rom":"x"}"#)
                .contains("has \"rom\", but takes only to, data")
        );
        assert!(message("{").starts_with("the message is no JSON: EOF"));
        assert!(
            message(r#"{"to":{"room":"a"},"data":1,"except":[9]}"#).contains("\"store\":false")
        );
        assert!(message(r#"{"to":{"room":"a"}}"#).starts_with("data is missing"));
        let many = format!(
            r#"{{"to":{{"users":[{}]}},"data":1}}"#,
            vec!["\"a\""; 101].join(",")
        );
        assert!(message(&many).contains("at most 100"));
    }

    #[test]
    fn each_message_of_a_batch_is_judged_by_itself() {
        let all =
            batch(r#"{"messages":[{"to":{"room":"a"},"data":1},{"to":1,"data":2}]}"#).unwrap();
        assert_eq!(
            all.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, false]
        );
        assert!(batch(r#"{"messages":1}"#).is_err());
        assert!(batch("{}").is_err());
    }
}
