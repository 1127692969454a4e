//! Layer 7: who somebody is: tokens of users, keys of back ends.
//!
//! Pure: keys, rules and the time come in, a name or a refusal comes out. Nothing here logs, reads
//! a file or knows the settings, and no `Debug` shows a secret.

mod api_keys;
mod secret;
mod token_key;
mod tokens;

pub use api_keys::ApiKeys;
pub use secret::{Secret, fresh_secret};
pub use token_key::{Algorithm, SigningKey, TokenKey};
pub use tokens::{Claims, TokenError, TokenRules, Tokens};

/// Everybody who may be somebody; without any key the server is in open mode.
#[derive(Debug, Default)]
pub struct Access {
    /// Tells users by their tokens.
    pub tokens: Tokens,
    /// Tells back ends by their keys.
    pub api_keys: ApiKeys,
}

impl Access {
    /// Whether nobody is asked for anything: everybody is whoever they say.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.api_keys.is_empty()
    }
}

#[cfg(test)]
mod tests;
