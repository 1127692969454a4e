//! JSON Web Tokens (RFC 7519): who a user is, which rooms are theirs, until when.
//!
//! The algorithm is the key's, and the key is the settings': what a token's header says only
//! picks among them. The time is handed in; nothing here reads a clock.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Deserializer, Serialize};

use super::token_key::{SigningKey, TokenKey};

/// Rules that a token has to meet beside its signature.
#[derive(Debug, Clone)]
pub struct TokenRules {
    /// One of these has to stand in `aud`. Without any, a token that names an audience isn't meant
    /// for us (RFC 7519 §4.1.3).
    pub audience: Vec<String>,
    /// One of these has to be `iss`; without any, every issuer will do.
    pub issuer: Vec<String>,
    /// The difference that is allowed between two clocks: a token counts this much earlier and
    /// longer. Default 30 s, far more than clocks that NTP keeps are apart.
    pub leeway: Duration,
    /// Longest token, in bytes. Default 8,192: half of the longest head that a request may have.
    pub size_max: usize,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway: Duration::from_secs(30),
            size_max: 8_192,
        }
    }
}

/// The claims of a token whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user (`sub`); not checked yet whether that can be a user's name.
    pub uid: String,
    /// Patterns of the rooms that the user may join (`rooms`); empty without the claim.
    pub rooms: Vec<String>,
    /// The moment from which on the token is invalid: `exp` plus the leeway.
    pub expires_at: SystemTime,
}

/// The user and the rooms that a token names, to whoever signed it: for a client that holds the token
/// and can't verify it. `None` when it is no token.
#[must_use]
pub fn unverified(token: &str) -> Option<(String, Vec<String>)> {
    let claims = insecure_decode_claims::<NamedUser>(token).ok()?;
    Some((claims.sub, claims.rooms))
}

/// The claims of [`unverified`].
#[derive(Deserialize)]
struct NamedUser {
    #[serde(deserialize_with = "text_or_digits")]
    sub: String,
    #[serde(default)]
    rooms: Vec<String>,
}

/// The reason why a token is refused; never shows the token's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is longer than the rules allow.
    #[error("the token is longer than {0} bytes")]
    TooLong(usize),
    /// The token isn't three parts of base64url with JSON inside, or names an algorithm that isn't
    /// known here.
    #[error("the token is no JWT signed with HS256, RS256 or ES256")]
    Malformed,
    /// The header demands an extension that isn't known here (RFC 7515 §4.1.11).
    #[error("the token's header asks for extensions (crit)")]
    Critical,
    /// No key has the token's `kid` and `alg`.
    #[error("no key of the settings fits the token's kid and alg")]
    UnknownKey,
    /// The token was signed with another key, or changed since.
    #[error("the token's signature is wrong")]
    Signature,
    /// `sub`, `exp`, `nbf`, `rooms` or `aud` is missing or of the wrong type.
    #[error(
        "the token needs sub (text or whole number) and exp (a number); \
         nbf is a number, rooms a list of texts, aud a text or a list of texts"
    )]
    Claims,
    /// The token is meant for another server.
    #[error("the token's aud is missing or not this server's")]
    Audience,
    /// The token's issuer isn't one of the settings'.
    #[error("the token's iss is missing or not one of the settings'")]
    Issuer,
    /// The token isn't valid yet.
    #[error("the token isn't valid yet (nbf)")]
    NotYetValid,
    /// The token isn't valid any more.
    #[error("the token has expired")]
    Expired,
}

/// Keys that tokens are verified with; several at once, so that they can be changed one by one.
#[derive(Debug, Default)]
pub struct Tokens {
    keys: Vec<TokenKey>,
    rules: TokenRules,
}

impl Tokens {
    /// Accepts tokens that any of these keys has signed; a token without `kid` is tried with the keys
    /// of its `alg`, in this order.
    #[must_use]
    pub fn new(keys: Vec<TokenKey>, rules: TokenRules) -> Self {
        Self { keys, rules }
    }

    /// Whether there is no key, so that no token is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys, in the order of the settings.
    #[must_use]
    pub fn keys(&self) -> &[TokenKey] {
        &self.keys
    }

    /// The numbers of keys that aren't in `others`, under the same name.
    #[must_use]
    pub fn missing_in(&self, others: &Self) -> Vec<u64> {
        let is_there = |number| others.keys.iter().any(|other| other.number() == number);
        let numbers = self.keys.iter().map(TokenKey::number);
        numbers.filter(|number| !is_there(*number)).collect()
    }

    /// Verifies a token.
    ///
    /// # Errors
    ///
    /// The token is forged, meant for others, out of its time, or no token at all. Claims are only read
    /// once the signature is right.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Claims, TokenError> {
        self.verify_by(token, now).map(|(claims, _)| claims)
    }

    /// Verifies a token, and tells which key has signed it.
    ///
    /// # Errors
    ///
    /// Those of [`Tokens::verify`].
    pub fn verify_by(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<(Claims, &TokenKey), TokenError> {
        if token.len() > self.rules.size_max {
            return Err(TokenError::TooLong(self.rules.size_max));
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let mut outcome = Err(TokenError::UnknownKey);
        for key in self.keys.iter().filter(|key| fits(key, &header)) {
            outcome = self.decode(token, key).map(|payload| (payload, key));
            if !matches!(outcome, Err(TokenError::Signature)) {
                break;
            }
        }
        let (payload, key) = outcome?;
        Ok((payload.judge(now, self.rules.leeway)?, key))
    }

    /// Signs a token with these claims, and with the first audience and issuer of the rules.
    ///
    /// # Errors
    ///
    /// The key can't sign: a private key that is damaged, or too small.
    pub fn sign(
        &self,
        key: &SigningKey,
        claims: &Claims,
        now: SystemTime,
    ) -> Result<String, Error> {
        let mut header = Header::new(key.algorithm.jwt());
        header.kid = Some(key.id.clone());
        let payload = Signed {
            sub: &claims.uid,
            rooms: &claims.rooms,
            iat: seconds(now),
            exp: seconds(claims.expires_at),
            aud: self.rules.audience.first(),
            iss: self.rules.issuer.first(),
        };
        encode(&header, &payload, &key.key)
    }

    fn decode(&self, token: &str, key: &TokenKey) -> Result<Payload, TokenError> {
        let mut validation = Validation::new(key.algorithm.jwt());
        // The library would ask the clock; `Payload::judge` has the time from its caller.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        if !self.rules.audience.is_empty() {
            validation.set_audience(&self.rules.audience);
            validation.required_spec_claims.insert("aud".into());
        }
        if !self.rules.issuer.is_empty() {
            validation.set_issuer(&self.rules.issuer);
            validation.required_spec_claims.insert("iss".into());
        }
        match decode::<Payload>(token, &key.key, &validation) {
            Ok(token) => Ok(token.claims),
            Err(error) => Err(TokenError::of(&error)),
        }
    }
}

/// Whether a token's `kid` allows this key, and its `alg` is the key's own.
fn fits(key: &TokenKey, header: &Header) -> bool {
    key.algorithm.jwt() == header.alg && header.kid.as_ref().is_none_or(|kid| *kid == key.id)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl TokenError {
    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Self::Audience,
            ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Self::Issuer,
            ErrorKind::Json(_) => Self::Claims,
            _ => Self::Malformed,
        }
    }
}

/// The claims that are written into a token.
#[derive(Serialize)]
struct Signed<'a> {
    sub: &'a str,
    rooms: &'a [String],
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a String>,
}

/// The claims that are read out of a token.
#[derive(Deserialize)]
struct Payload {
    #[serde(deserialize_with = "text_or_digits")]
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    #[serde(default)]
    rooms: Vec<String>,
    /// The audience, which the library compares; it passes over an audience of the wrong type.
    #[serde(rename = "aud")]
    _aud: Option<AudienceClaim>,
}

/// The two forms of `aud` (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum AudienceClaim {
    One(#[expect(dead_code, reason = "only its type is looked at")] String),
    Several(#[expect(dead_code, reason = "only its type is looked at")] Vec<String>),
}

impl Payload {
    fn judge(self, now: SystemTime, leeway: Duration) -> Result<Claims, TokenError> {
        let expires_at = moment(self.exp)? + leeway;
        if expires_at <= now {
            return Err(TokenError::Expired);
        }
        if let Some(nbf) = self.nbf
            && moment(nbf)? > now + leeway
        {
            return Err(TokenError::NotYetValid);
        }
        Ok(Claims {
            uid: self.sub,
            rooms: self.rooms,
            expires_at,
        })
    }
}

/// A `NumericDate` (RFC 7519 §2) as a moment; far ones are brought to the year 9999.
fn moment(seconds: f64) -> Result<SystemTime, TokenError> {
    const LAST: f64 = 253_402_300_799.0;
    let since = Duration::try_from_secs_f64(seconds.min(LAST)).map_err(|_| TokenError::Claims)?;
    Ok(UNIX_EPOCH + since)
}

fn text_or_digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Subject;
    impl serde::de::Visitor<'_> for Subject {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a whole number")
        }

        fn visit_str<E>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }

        fn visit_u64<E>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Subject)
}
