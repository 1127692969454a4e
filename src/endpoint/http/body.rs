//! The bodies that only an endpoint takes.

use std::borrow::Cow;

use serde::Deserialize;

use crate::api::body::{is_empty_array, object};
use crate::api::field;
use crate::api::raw_json::RawJson;
use crate::api::refusal::Refusal;

/// The reason that a kicked user is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kick<'a> {
    /// A word for programs.
    pub code: Option<Cow<'a, str>>,
    /// A sentence for people.
    pub message: Option<Cow<'a, str>>,
}

/// Reads the user in the body of `PUT /v1/connections/{fd}/user`.
///
/// # Errors
///
/// The body names no user.
pub(super) fn user(body: &str) -> Result<Cow<'_, str>, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct UserFields<'a> {
        #[serde(borrow)]
        uid: Option<RawJson<'a>>,
    }
    let fields: UserFields<'_> = object("the body", body)?;
    field::text_or_digits("uid", fields.uid)?.ok_or_else(|| field::missing("uid", "a string"))
}

/// Reads the body of `PUT /v1/connections/{fd}/session`, a JSON object as it came.
///
/// # Errors
///
/// The body is no JSON object.
pub(super) fn session(body: &str) -> Result<&str, Refusal> {
    // PHP writes an empty array for an empty object.
    let text = match body.trim_ascii() {
        text if is_empty_array(text) => "{}",
        text => text,
    };
    let value: RawJson<'_> = serde_json::from_str(text)
        .map_err(|error| Refusal::bad_request(format!("the body is no JSON: {error}")))?;
    match value.get().starts_with('{') {
        true => field::data("the body", Some(value)),
        false => Err(Refusal::bad_request("the body has to be a JSON object")),
    }
}

/// The time over which a drain spreads its closes, where the back end doesn't say.
const DRAIN_WITHIN_MS: u64 = 10_000;

/// The longest time over which a drain spreads its closes: an hour.
const DRAIN_WITHIN_MS_MAX: u64 = 3_600_000;

/// Reads the time in the body of `POST /v1/nodes/{node}/drain`, in milliseconds.
///
/// # Errors
///
/// The time is no whole number up to an hour.
pub(super) fn within_ms(body: &str) -> Result<u64, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct DrainFields<'a> {
        #[serde(borrow)]
        within_ms: Option<RawJson<'a>>,
    }
    if body.trim().is_empty() {
        return Ok(DRAIN_WITHIN_MS);
    }
    let fields: DrainFields<'_> = object("the body", body)?;
    let Some(value) = fields.within_ms else {
        return Ok(DRAIN_WITHIN_MS);
    };
    let within_ms = value.get().parse().ok();
    within_ms
        .filter(|within_ms| *within_ms <= DRAIN_WITHIN_MS_MAX)
        .ok_or_else(|| {
            let message = format!("within_ms has to be a whole number up to {DRAIN_WITHIN_MS_MAX}");
            Refusal::bad_request(message)
        })
}

/// Reads code and message in the body of `POST /v1/users/{uid}/kick`.
///
/// # Errors
///
/// The code may not be sent, or a field is no string.
pub(super) fn kick(body: &str) -> Result<Kick<'_>, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KickFields<'a> {
        #[serde(borrow)]
        code: Option<RawJson<'a>>,
        #[serde(borrow)]
        message: Option<RawJson<'a>>,
    }
    if body.trim().is_empty() {
        return Ok(Kick::default());
    }
    let fields: KickFields<'_> = object("the body", body)?;
    Ok(Kick {
        code: field::text("code", fields.code)?,
        message: field::text("message", fields.message)?,
    })
}
