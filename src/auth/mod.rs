//! Authentication: tokens of users, and API keys of back ends.
//!
//! Pure functions of keys, rules and the time: they return a name or a refusal. Nothing here logs,
//! reads a file or knows the settings, and no `Debug` shows a secret.

mod api_keys;
mod redact;
mod secret;
mod token_key;
mod tokens;

pub use api_keys::ApiKeys;
pub use redact::{HIDDEN, redacted};
pub use secret::{Secret, fresh_secret};
pub use token_key::{Algorithm, SigningKey, TokenKey};
pub use tokens::{Claims, TokenError, TokenRules, Tokens, unverified};

/// The keys of everybody who may connect; without any key the server is in open mode.
#[derive(Debug, Default)]
pub struct Access {
    /// Keys and rules that prove a user's token.
    pub tokens: Tokens,
    /// Keys that prove a back end.
    pub api_keys: ApiKeys,
}

impl Access {
    /// Whether there are no keys at all, so that a client is whoever it says.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.api_keys.is_empty()
    }
}

#[cfg(test)]
mod tests;
