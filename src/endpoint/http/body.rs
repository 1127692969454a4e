//! The bodies that clients post.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::endpoint::command::{Several, To, receiver};
use crate::endpoint::field;
use crate::endpoint::refusal::Refusal;

/// Rooms or users that one message may name.
pub const RECEIVERS_MAX: usize = 100;

/// Messages in one batch.
pub const BATCH_MAX: usize = 1_000;

/// Connections that one message may leave out.
const EXCEPT_MAX: usize = 100;

/// One message to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Posting<'a> {
    /// To whom.
    pub to: To<'a>,
    /// As it was written.
    pub data: &'a str,
    /// In whose name.
    pub from: Option<Cow<'a, str>>,
    /// Tells repeats.
    pub id: Option<Cow<'a, str>>,
    /// Whether it is kept.
    pub store: bool,
    /// Who doesn't get it.
    pub except: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    to: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "field::even_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    from: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
    #[serde(borrow)]
    except: Option<&'a RawValue>,
}

/// Reads the body of `POST /v1/messages`.
///
/// # Errors
///
/// It names the field that is wrong.
pub fn posting(body: &str) -> Result<Posting<'_>, Refusal> {
    let fields: Fields<'_> = object(body)?;
    let to = fields
        .to
        .ok_or_else(|| field::missing("to", "an object such as {\"room\":\"lobby\"}"))?;
    let store = field::flag("store", fields.store)?.unwrap_or(true);
    let except: Vec<u64> = match fields.except {
        Some(value) => field::parse("except", value, "an array of fds")?,
        None => Vec::new(),
    };
    if except.len() > EXCEPT_MAX {
        return Err(Refusal::bad_request(format!(
            "except has {} entries, but at most {EXCEPT_MAX} are taken",
            except.len()
        )));
    }
    if store && !except.is_empty() {
        return Err(Refusal::bad_request(
            "except needs \"store\":false, since a kept message without a receiver would be a hole",
        ));
    }
    Ok(Posting {
        to: receiver(to, Several::Taken(RECEIVERS_MAX))?,
        data: field::data("data", fields.data)?,
        from: field::user("from", fields.from)?,
        id: field::text("id", fields.id)?,
        store,
        except,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchFields<'a> {
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
}

/// Reads the body of `POST /v1/messages/batch`; each message by itself.
///
/// # Errors
///
/// It is no object with an array of at most 1,000 messages.
pub fn batch(body: &str) -> Result<Vec<Result<Posting<'_>, Refusal>>, Refusal> {
    let fields: BatchFields<'_> = object(body)?;
    let messages = fields
        .messages
        .ok_or_else(|| field::missing("messages", "an array of messages"))?;
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

/// Why a user is told to go.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kick<'a> {
    /// A word for programs.
    pub code: Option<Cow<'a, str>>,
    /// A sentence for people.
    pub message: Option<Cow<'a, str>>,
}

/// The user in the body of `PUT /v1/connections/{fd}/user`.
///
/// # Errors
///
/// There is none.
pub fn user(body: &str) -> Result<Cow<'_, str>, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct UserFields<'a> {
        #[serde(borrow)]
        uid: Option<&'a RawValue>,
    }
    let fields: UserFields<'_> = object(body)?;
    field::user("uid", fields.uid)?.ok_or_else(|| field::missing("uid", "a string"))
}

/// Code and message in the body of `POST /v1/users/{uid}/kick`.
///
/// # Errors
///
/// The code may not be sent, or a field is no string.
pub fn kick(body: &str) -> Result<Kick<'_>, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KickFields<'a> {
        #[serde(borrow)]
        code: Option<&'a RawValue>,
        #[serde(borrow)]
        message: Option<&'a RawValue>,
    }
    if body.trim().is_empty() {
        return Ok(Kick::default());
    }
    let fields: KickFields<'_> = object(body)?;
    Ok(Kick {
        code: field::text("code", fields.code)?,
        message: field::text("message", fields.message)?,
    })
}

fn object<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(body)
        .map_err(|error| Refusal::bad_request(format!("the body is not as it has to be: {error}")))
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
        assert_eq!((read.data, read.from.as_deref()), ("[1.0]", Some("7")));
        assert_eq!((read.store, read.except), (false, vec![9]));
        let null = posting(r#"{"to":{"all":true},"data":null}"#).unwrap();
        assert_eq!(null.data, "null", "null is JSON as well");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(
            message(r#"{"to":{"room":"a"},"data":1,"rom":"x"}"#).contains("unknown field `rom`")
        );
        assert!(message("{").starts_with("the body is not as it has to be"));
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
