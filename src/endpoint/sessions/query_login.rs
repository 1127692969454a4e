//! Logging in by the query of a handshake, or of a stream of events.

use std::borrow::Cow;

use crate::api::query::pairs;
use crate::api::refusal::Refusal;
use crate::endpoint::native::command::{LoginFields, ResumeFrom};
use crate::endpoint::native::parse::positions_of_query;
use crate::server::Request;

/// The path at which messages come as a stream of events, for clients behind networks that break
/// WebSockets.
pub const EVENTS_PATH: &str = "/v1/events";

/// Rooms that a query may join: as many as a `login` may.
const ROOMS_A_QUERY_MAX: usize = 100;

/// The name in a query under which the last event of a stream that broke off is kept.
const LAST_EVENT: &str = "last_event_id";

/// What a stream is told that doesn't log in.
pub(super) const NO_LOGIN_IN_QUERY: &str =
    "the query has to name a uid or a token: a stream of events can't log in later";

/// The login of a query, which may come once more with the cluster's word.
#[derive(Debug, Clone)]
pub(super) struct QueryLogin {
    query: Option<String>,
    /// Whether the connection is a stream of events, which can't log in otherwise.
    pub(super) is_stream: bool,
}

impl QueryLogin {
    pub(super) fn of(request: &Request) -> Self {
        let is_stream = request.path() == EVENTS_PATH;
        let mut query = request.query().map(str::to_owned);
        if is_stream && let Some(id) = request.header("last-event-id") {
            let mut pairs = form_urlencoded::Serializer::new(query.take().unwrap_or_default());
            query = Some(pairs.append_pair(LAST_EVENT, id).finish());
        }
        Self { query, is_stream }
    }

    /// Reads `?uid=ann&room=lobby&room=tea&token=…&resume=…`; ignores other fields.
    ///
    /// # Errors
    ///
    /// The refusal names the field that is wrong.
    pub(super) fn fields(&self) -> Result<LoginFields<'_>, Refusal> {
        let mut login = LoginFields::default();
        let mut last_event = None;
        for (name, value) in pairs(self.query.as_deref())? {
            match &*name {
                "uid" => login.uid = Some(value),
                "token" => login.token = Some(value),
                "room" => login.rooms.push(value),
                "resume" => login.resume = positions_of_query(&value)?,
                LAST_EVENT => last_event = place_of_event(&value),
                _ => {}
            }
        }
        // A browser that comes back asks for the same query as at first, and knows better now.
        login.resume.extend(last_event);
        login.uid = login.uid.filter(|uid: &Cow<'_, str>| !uid.is_empty());
        let is_login = login.uid.is_some() || login.token.is_some();
        let count = login.rooms.len();
        if is_login && count > ROOMS_A_QUERY_MAX {
            return Err(Refusal::bad_request(format!(
                "the query names {count} rooms, but at most {ROOMS_A_QUERY_MAX} are taken"
            )));
        }
        Ok(login)
    }
}

/// Reads the name of an event, `offset:epoch:channel`; `None` for a name that none of ours has.
fn place_of_event(id: &str) -> Option<(Cow<'static, str>, ResumeFrom<'static>)> {
    let mut parts = id.splitn(3, ':');
    let offset = parts.next()?.parse().ok()?;
    let epoch = parts.next()?.to_owned().into();
    let channel = parts.next()?.to_owned().into();
    Some((channel, ResumeFrom::After { epoch, offset }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(query: Option<&str>) -> QueryLogin {
        QueryLogin {
            query: query.map(str::to_owned),
            is_stream: true,
        }
    }

    #[test]
    fn a_query_logs_in_and_an_empty_uid_is_none() {
        let by = login(Some("uid=ann&room=a&room=b%20c&x=1&token=t"));
        let fields = by.fields().unwrap();
        assert_eq!(fields.uid.as_deref(), Some("ann"));
        assert_eq!(fields.token.as_deref(), Some("t"));
        assert_eq!(fields.rooms, ["a", "b c"]);
        assert_eq!(login(Some("uid=")).fields(), Ok(LoginFields::default()));
        assert_eq!(login(None).fields(), Ok(LoginFields::default()));
        assert!(login(Some("uid=%ff")).fields().is_err());
    }

    #[test]
    fn a_query_says_from_where_channels_go_on_and_the_last_event_knows_better() {
        let query = "uid=ann&resume=%7B%22a%22%3A%7B%22epoch%22%3A%22e%22%2C%22offset%22%3A4%7D%2C\
            %22%40ann%22%3A%22acked%22%7D";
        let place = |offset| ResumeFrom::After {
            epoch: "e".into(),
            offset,
        };
        let by = login(Some(query));
        let fields = by.fields().unwrap();
        assert_eq!(fields.resume["a"], place(4));
        assert_eq!(fields.resume["@ann"], ResumeFrom::Acked);
        let later = format!("{query}&last_event_id=7:e:a");
        let by = login(Some(&later));
        let fields = by.fields().unwrap();
        assert_eq!((&fields.resume["a"], fields.resume.len()), (&place(7), 2));
        for other in ["7", "7:e", "x:e:a", ""] {
            let query = format!("{query}&last_event_id={other}");
            assert_eq!(login(Some(&query)).fields().unwrap().resume["a"], place(4));
        }
        assert!(login(Some("uid=ann&resume=x")).fields().is_err());
    }
}
