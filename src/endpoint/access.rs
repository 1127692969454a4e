//! Who may come in, and as whom.

use std::sync::Arc;

/// What a token lets its bearer do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Who it is.
    pub uid: String,
    /// Patterns of rooms that may be joined.
    pub rooms: Vec<String>,
    /// Until when, in Unix milliseconds.
    pub expires_unix_ms: u64,
}

/// Why a token isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It isn't one of ours, or says something impossible.
    Bad,
    /// Its time is over.
    Expired,
}

/// Judges what clients show.
pub trait Authenticator: Send + Sync {
    /// Whether no keys are asked for.
    fn is_open(&self) -> bool;

    /// Judges a token at a moment in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// [`TokenRefusal`].
    fn token(&self, token: &str, now_unix_ms: u64) -> Result<Pass, TokenRefusal>;

    /// The name of an API key; `None` when it is none.
    fn api_key(&self, key: &str) -> Option<Arc<str>>;
}

/// Lets everybody in as whom they say: for trying things on one's own machine.
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

/// The credentials of an `Authorization: Bearer …` field (RFC 6750 §2.1).
pub(crate) fn bearer(field: Option<&str>) -> Option<&str> {
    let (scheme, credentials) = field?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(credentials.trim())
}
