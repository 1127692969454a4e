//! The check of tokens and API keys, by the keys of the settings.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidings::api::{Authenticator, Pass, TokenRefusal};

use super::in_force::Current;
use super::reload::generation;
use crate::auth::TokenError;

/// Checks tokens and API keys for the library, by those that are in force; without any of them
/// everybody may come in.
#[derive(Debug)]
pub(super) struct Keys(pub(super) Current);

impl Authenticator for Keys {
    fn is_open(&self) -> bool {
        self.0.load().access.is_open()
    }

    fn token(&self, token: &str, now_unix_ms: u64) -> Result<Pass, TokenRefusal> {
        let now = UNIX_EPOCH + Duration::from_millis(now_unix_ms);
        let in_force = self.0.load();
        let verified = in_force.access.tokens.verify_by(token, now);
        let (claims, key) = verified.map_err(|error| match error {
            TokenError::Expired => TokenRefusal::Expired,
            _ => TokenRefusal::Bad,
        })?;
        Ok(Pass {
            uid: claims.uid,
            rooms: claims.rooms,
            expires_unix_ms: unix_ms(claims.expires_at),
            key: key.number(),
        })
    }

    fn api_key(&self, key: &str) -> Option<Arc<str>> {
        self.0.load().access.api_keys.who(key).map(Arc::from)
    }

    fn changes(&self) -> u64 {
        generation()
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
