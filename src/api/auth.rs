//! Keys and tokens: what a client shows, and what an application makes of it.

use std::sync::Arc;

use super::refusal::Refusal;
use crate::chat::ErrorCode;

/// The rights that a valid token gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The user that the token was made for.
    pub uid: String,
    /// Patterns of the rooms that this user may join.
    pub rooms: Vec<String>,
    /// The moment at which the token ends, in Unix milliseconds.
    pub expires_unix_ms: u64,
    /// The number of the key that signed the token: another one for each other key.
    pub key: u64,
}

/// Keys that are no longer valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WithdrawnKeys {
    /// The names of API keys.
    pub api_keys: Vec<String>,
    /// The numbers of keys of tokens, as [`Pass::key`] has them.
    pub token_keys: Vec<u64>,
    /// Whether the key of gateways' links is among them.
    pub link_key: bool,
}

/// The reason why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// No key of ours signed the token, or its claims contradict each other.
    Bad,
    /// The token was valid, but its time is over.
    Expired,
}

/// Checks the tokens and API keys that clients show.
pub trait Authenticator: Send + Sync {
    /// Whether everybody is let in without a key.
    fn is_open(&self) -> bool;

    /// Checks a token at a moment in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// The token is refused, and [`TokenRefusal`] says why.
    fn token(&self, token: &str, now_unix_ms: u64) -> Result<Pass, TokenRefusal>;

    /// Finds the name of an API key; `None` when the key is unknown.
    fn api_key(&self, key: &str) -> Option<Arc<str>>;

    /// The number of times that the keys were changed.
    fn changes(&self) -> u64 {
        0
    }
}

/// Lets everybody in under any name: for trials on one's own machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAccess;

impl Authenticator for OpenAccess {
    fn is_open(&self) -> bool {
        true
    }

    fn token(&self, _: &str, _: u64) -> Result<Pass, TokenRefusal> {
        Err(TokenRefusal::Bad)
    }

    fn api_key(&self, _: &str) -> Option<Arc<str>> {
        None
    }
}

/// Finds the name of the API key that an `Authorization` field shows; `None` where none is asked for.
///
/// # Errors
///
/// The field shows no key, or an unknown one.
pub(crate) fn authorize(
    access: &dyn Authenticator,
    field: Option<&str>,
) -> Result<Option<Arc<str>>, Refusal> {
    if access.is_open() {
        return Ok(None);
    }
    let refusal = |message| Refusal::new(ErrorCode::Unauthorized, message);
    let key = bearer(field)
        .ok_or_else(|| refusal("Authorization is missing; it has to be Bearer and an API key"))?;
    match access.api_key(key) {
        Some(name) => Ok(Some(name)),
        None => Err(refusal("Authorization holds no API key of ours")),
    }
}

/// The credentials of an `Authorization: Bearer …` field (RFC 6750 §2.1).
#[must_use]
pub fn bearer(field: Option<&str>) -> Option<&str> {
    let (scheme, credentials) = field?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(credentials.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_field_gives_its_credentials_and_no_other_field_does() {
        assert_eq!(bearer(Some("Bearer abc")), Some("abc"));
        assert_eq!(bearer(Some("bEARER  abc ")), Some("abc"));
        for field in [
            None,
            Some("abc"),
            Some("Basic abc"),
            Some("Bearer"),
            Some(""),
        ] {
            assert_eq!(bearer(field), None, "{field:?}");
        }
    }
}
