//! Who sends a request: a back end, which shows an API key, or a user, who shows a token.

use std::sync::Arc;

use super::HttpApi;
use super::guard::ApiGuard;
use crate::api::Refused;
use crate::api::auth::{Pass, bearer};
use crate::api::refusal::Refusal;
use crate::chat::{Actor, Pattern, TokenUser};

/// The sender of a request, as the head of the request shows.
#[derive(Debug)]
pub(super) enum ApiCaller {
    /// A back end, by the name of its API key; without a name in open mode.
    BackEnd(Option<Arc<str>>),
    /// A user, with the patterns of the rooms that the token is for.
    User { uid: String, rooms: Vec<Pattern> },
}

impl ApiCaller {
    /// Whether the sender has shown a key or a token.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::BackEnd(None))
    }

    /// In whose name the chat acts.
    pub(super) fn actor(&self) -> Actor<'_> {
        match self {
            Self::BackEnd(name) => Actor::Key(name.as_deref().unwrap_or_default()),
            Self::User { uid, rooms } => Actor::User(TokenUser { uid, rooms }),
        }
    }
}

impl From<Pass> for ApiCaller {
    fn from(pass: Pass) -> Self {
        Self::User {
            rooms: pass.rooms.iter().map(|room| Pattern::new(room)).collect(),
            uid: pass.uid,
        }
    }
}

impl HttpApi {
    /// Finds out who sends a request, by its `Authorization`. A refusal leaves the trace `asked`.
    ///
    /// # Errors
    ///
    /// The guard of the route wants what the field doesn't show.
    pub(super) fn caller<'a>(
        &self,
        guard: ApiGuard,
        field: Option<&str>,
        asked: impl FnOnce() -> Refused<'a>,
    ) -> Result<ApiCaller, Refusal> {
        match (guard, bearer(field)) {
            (ApiGuard::Open, _) => Ok(ApiCaller::BackEnd(None)),
            (ApiGuard::KeyOrToken, Some(token))
                if is_token(token) && self.sessions.is_unknown(token) =>
            {
                Ok(self.sessions.pass_of(token, asked)?.into())
            }
            _ => {
                let name = self.sessions.authorize(field, asked)?;
                Ok(ApiCaller::BackEnd(name))
            }
        }
    }
}

/// Whether credentials have the form of a token, three parts with dots between; an API key may have
/// it as well.
pub(super) fn is_token(credentials: &str) -> bool {
    credentials.split('.').count() == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts() {
        for (credentials, expected) in [
            ("a.b.c", true),
            ("", false),
            ("a.b", false),
            ("a.b.c.d", false),
        ] {
            assert_eq!(is_token(credentials), expected, "{credentials}");
        }
    }
}
