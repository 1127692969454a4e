//! From a request target to what is meant: paths, their variables, their methods.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use crate::api::refusal::Refusal;

/// A thing of the HTTP API, with the names from its path.
#[derive(Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/batch`
    Batch,
    /// `/v1/rooms`
    Rooms,
    /// `/v1/rooms/{room}`
    Room(Cow<'a, str>),
    /// `/v1/rooms/{room}/members`
    Members(Cow<'a, str>),
    /// `/v1/rooms/{room}/members/{uid}`
    Member(Cow<'a, str>, Cow<'a, str>),
    /// `/v1/rooms/{room}/messages`
    RoomMessages(Cow<'a, str>),
    /// `/v1/users`
    Users,
    /// `/v1/users/{uid}`
    User(Cow<'a, str>),
    /// `/v1/users/{uid}/messages`
    UserMessages(Cow<'a, str>),
    /// `/v1/users/{uid}/kick`
    Kick(Cow<'a, str>),
    /// `/v1/connections`
    Connections,
    /// `/v1/connections/{fd}`
    Connection(u64),
    /// `/v1/connections/{fd}/user`
    ConnectionUser(u64),
    /// `/v1/stats`
    Stats,
    /// `/metrics`
    Metrics,
    /// `/openapi.json`
    OpenApi,
}

impl<'a> Resource<'a> {
    /// What a path means; `None` when nothing is there.
    ///
    /// # Errors
    ///
    /// A name in it is no UTF-8 once decoded, or a connection is no number.
    pub fn at(path: &'a str) -> Result<Option<Self>, Refusal> {
        let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
        let parts: [Option<&str>; 6] = std::array::from_fn(|_| parts.next());
        Ok(Some(match parts {
            [Some("metrics"), None, ..] => Self::Metrics,
            [Some("openapi.json"), None, ..] => Self::OpenApi,
            [Some("v1"), Some(what), None, ..] => match what {
                "messages" => Self::Messages,
                "rooms" => Self::Rooms,
                "users" => Self::Users,
                "connections" => Self::Connections,
                "stats" => Self::Stats,
                _ => return Ok(None),
            },
            [Some("v1"), Some("messages"), Some("batch"), None, ..] => Self::Batch,
            [Some("v1"), Some("rooms"), Some(room), None, ..] => Self::Room(decoded("room", room)?),
            [
                Some("v1"),
                Some("rooms"),
                Some(room),
                Some("members"),
                None,
                _,
            ] => Self::Members(decoded("room", room)?),
            [
                Some("v1"),
                Some("rooms"),
                Some(room),
                Some("messages"),
                None,
                _,
            ] => Self::RoomMessages(decoded("room", room)?),
            [
                Some("v1"),
                Some("rooms"),
                Some(room),
                Some("members"),
                Some(uid),
                None,
            ] => Self::Member(decoded("room", room)?, decoded("uid", uid)?),
            [Some("v1"), Some("users"), Some(uid), None, ..] => Self::User(decoded("uid", uid)?),
            [
                Some("v1"),
                Some("users"),
                Some(uid),
                Some("messages"),
                None,
                _,
            ] => Self::UserMessages(decoded("uid", uid)?),
            [Some("v1"), Some("users"), Some(uid), Some("kick"), None, _] => {
                Self::Kick(decoded("uid", uid)?)
            }
            [Some("v1"), Some("connections"), Some(fd), None, ..] => Self::Connection(number(fd)?),
            [
                Some("v1"),
                Some("connections"),
                Some(fd),
                Some("user"),
                None,
                _,
            ] => Self::ConnectionUser(number(fd)?),
            _ => return Ok(None),
        }))
    }

    /// The methods it answers, as `Allow` has them (RFC 9110 §10.2.1).
    #[must_use]
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Messages | Self::Batch | Self::Kick(_) => "POST",
            Self::Member(..) | Self::ConnectionUser(_) => "PUT, DELETE",
            Self::RoomMessages(_) | Self::Connection(_) => "GET, HEAD, DELETE",
            _ => "GET, HEAD",
        }
    }
}

fn decoded<'a>(name: &str, text: &'a str) -> Result<Cow<'a, str>, Refusal> {
    let decoded = percent_decode_str(text).decode_utf8();
    match decoded {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(Refusal::bad_request(format!(
            "{name} in the path is empty, or no UTF-8"
        ))),
    }
}

fn number(fd: &str) -> Result<u64, Refusal> {
    fd.parse()
        .map_err(|_| Refusal::bad_request("fd in the path has to be a whole number"))
}

/// What stands behind the `?`.
#[derive(Debug, Default)]
pub struct Query<'a> {
    fields: HashMap<Cow<'a, str>, Vec<Cow<'a, str>>>,
}

impl<'a> Query<'a> {
    /// Takes a query apart.
    ///
    /// # Errors
    ///
    /// It has a field that isn't in `known`.
    pub fn of(query: Option<&'a str>, known: &[&str]) -> Result<Self, Refusal> {
        let mut fields: HashMap<_, Vec<_>> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let message = match known {
                    [] => format!("the query has {name:?}, but none is taken here"),
                    known => format!(
                        "the query has {name:?}, but takes only {}",
                        known.join(", ")
                    ),
                };
                return Err(Refusal::bad_request(message));
            }
            fields.entry(name).or_default().push(value);
        }
        Ok(Self { fields })
    }

    /// The last value of a field.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.last().map(AsRef::as_ref)
    }

    /// All values of a field, in order.
    #[must_use]
    pub fn texts(&self, name: &str) -> &[Cow<'a, str>] {
        self.fields.get(name).map_or(&[], Vec::as_slice)
    }

    /// A whole number.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if is_number => Ok(Some(number)),
            _ => Err(Refusal::bad_request(format!(
                "{name} in the query has to be a whole number"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_known_and_its_names_are_decoded() {
        for (path, resource) in [
            ("/v1/messages", Resource::Messages),
            ("/v1/messages/batch", Resource::Batch),
            ("/v1/rooms", Resource::Rooms),
            ("/v1/rooms/a%2Fb", Resource::Room("a/b".into())),
            ("/v1/rooms/tea/members", Resource::Members("tea".into())),
            (
                "/v1/rooms/tea/members/%C3%A4",
                Resource::Member("tea".into(), "ä".into()),
            ),
            (
                "/v1/rooms/tea/messages",
                Resource::RoomMessages("tea".into()),
            ),
            ("/v1/users", Resource::Users),
            ("/v1/users/ann", Resource::User("ann".into())),
            (
                "/v1/users/ann/messages",
                Resource::UserMessages("ann".into()),
            ),
            ("/v1/users/ann/kick", Resource::Kick("ann".into())),
            ("/v1/connections", Resource::Connections),
            ("/v1/connections/7", Resource::Connection(7)),
            ("/v1/connections/7/user", Resource::ConnectionUser(7)),
            ("/v1/stats", Resource::Stats),
            ("/metrics", Resource::Metrics),
            ("/openapi.json", Resource::OpenApi),
        ] {
            assert_eq!(Resource::at(path), Ok(Some(resource)), "{path}");
        }
    }

    #[test]
    fn other_paths_are_nothing_and_broken_names_are_refused() {
        for path in [
            "/",
            "/v1",
            "/v1/",
            "/v1/roomz",
            "/v1/rooms/a/members/b/c",
            "/v1/rooms/a/b",
            "/v2/rooms",
        ] {
            assert_eq!(Resource::at(path), Ok(None), "{path}");
        }
        for path in ["/v1/rooms/%ff", "/v1/rooms//members", "/v1/connections/x"] {
            assert!(Resource::at(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_query_is_taken_apart_and_unknown_fields_are_named() {
        let query = Query::of(Some("uid=a&uid=b%20c&limit=5"), &["uid", "limit"]).unwrap();
        assert_eq!(query.texts("uid"), ["a", "b c"]);
        assert_eq!(query.number("limit"), Ok(Some(5)));
        let refusal = Query::of(Some("limt=5"), &["limit"]).unwrap_err();
        assert_eq!(
            refusal.message,
            "the query has \"limt\", but takes only limit"
        );
        for wrong in [
            "limit=x",
            "limit=-1",
            "limit=",
            "limit=%2B5",
            "limit=99999999999999999999",
        ] {
            assert!(
                Query::of(Some(wrong), &["limit"])
                    .unwrap()
                    .number("limit")
                    .is_err(),
                "{wrong}"
            );
        }
    }
}
