//! The keys that tokens are signed and verified with.

use std::fmt;
use std::ops::RangeInclusive;

use aws_lc_rs::rsa::PublicKey;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use jsonwebtoken::{DecodingKey, EncodingKey};

use super::api_keys::digest_of;

/// A signature algorithm (RFC 7518 §3.1); a token with any other is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: a key that verifies can sign too.
    HS256,
    /// RSA (PKCS #1 v1.5) with SHA-256.
    RS256,
    /// ECDSA over P-256 with SHA-256.
    ES256,
}

impl Algorithm {
    /// Returns the name that a token's `alg` has for the algorithm.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
        }
    }

    pub(super) fn jwt(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::HS256 => jsonwebtoken::Algorithm::HS256,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal of key material; the message says what would be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The secret has only this many bytes; RFC 7518 §3.2 asks for as many as the digest has.
    #[error("a secret for HS256 needs at least {SECRET_SIZE_MIN} bytes, and this one has {0}")]
    ShortSecret(usize),
    /// The text is no public key that `alg` can be verified with.
    #[error(
        "that is no public key for {0}: it takes a PEM block that begins with \
         -----BEGIN PUBLIC KEY-----, {kind}", kind = public_kind(*.0)
    )]
    NoPublicKey(Algorithm),
    /// The text is no private key that `alg` can be signed with.
    #[error(
        "that is no private key for {0}: it takes a PEM block in PKCS #8 form, {kind} \
         (openssl pkcs8 -topk8 -nocrypt turns others into it)", kind = public_kind(*.0)
    )]
    NoPrivateKey(Algorithm),
}

/// Fewest bytes of a secret for HS256: the size of its digest (RFC 7518 §3.2).
const SECRET_SIZE_MIN: usize = 32;

/// Bytes that the modulus of an RSA key may have: what the library verifies; with another size every
/// token would be refused.
const RSA_SIZES: RangeInclusive<usize> = 256..=1_024;

fn public_kind(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "or rather a secret",
        Algorithm::RS256 => "of an RSA key of 2,048 to 8,192 bits",
        Algorithm::ES256 => "of a key on the curve P-256",
    }
}

/// A key that tokens are verified with, bound to one algorithm; [`SigningKey`] is its other half.
#[derive(Clone)]
pub struct TokenKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    /// Taken from a digest of name and material, so that the key is known again after a reload.
    number: u64,
}

impl TokenKey {
    /// A key with the id that a token's `kid` names: the secret itself, or a public key as PEM.
    ///
    /// # Errors
    ///
    /// The material is too weak, or is none for this algorithm.
    pub fn new(
        id: impl Into<String>,
        algorithm: Algorithm,
        material: &[u8],
    ) -> Result<Self, KeyError> {
        let key = match algorithm {
            Algorithm::HS256 => DecodingKey::from_secret(strong(material)?),
            Algorithm::RS256 | Algorithm::ES256 => {
                public_key(algorithm, material).ok_or(KeyError::NoPublicKey(algorithm))?
            }
        };
        let id = id.into();
        let number = number_of(&id, algorithm, material);
        Ok(Self {
            id,
            algorithm,
            key,
            number,
        })
    }

    /// The number of this key under its name; another key, or another name, has another one.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the key to sign with, for HS256, where the same secret signs and verifies.
    #[must_use]
    pub fn to_signing(&self) -> Option<SigningKey> {
        let secret = self.key.try_get_as_bytes().ok()?;
        (self.algorithm == Algorithm::HS256).then(|| SigningKey {
            id: self.id.clone(),
            algorithm: self.algorithm,
            key: EncodingKey::from_secret(secret),
        })
    }

    /// The name by which a token's `kid` asks for this key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The only algorithm that this key may be used with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn number_of(id: &str, algorithm: Algorithm, material: &[u8]) -> u64 {
    let parts = [id.as_bytes(), algorithm.name().as_bytes(), material];
    let digest = digest_of(&parts.join(&0));
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({:?}, {})", self.id, self.algorithm)
    }
}

/// A key that tokens are signed with; a server never needs one, `tidings token` does.
pub struct SigningKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

impl SigningKey {
    /// A key with the id that goes into `kid`: the secret itself, or a private key as PEM.
    ///
    /// # Errors
    ///
    /// The material is too weak, or is none for this algorithm.
    pub fn new(
        id: impl Into<String>,
        algorithm: Algorithm,
        material: &[u8],
    ) -> Result<Self, KeyError> {
        let refused = |_| KeyError::NoPrivateKey(algorithm);
        let key = match algorithm {
            Algorithm::HS256 => EncodingKey::from_secret(strong(material)?),
            Algorithm::RS256 => EncodingKey::from_rsa_pem(material).map_err(refused)?,
            Algorithm::ES256 => EncodingKey::from_ec_pem(material).map_err(refused)?,
        };
        Ok(Self {
            id: id.into(),
            algorithm,
            key,
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?}, {})", self.id, self.algorithm)
    }
}

fn strong(secret: &[u8]) -> Result<&[u8], KeyError> {
    if secret.len() < SECRET_SIZE_MIN {
        return Err(KeyError::ShortSecret(secret.len()));
    }
    Ok(secret)
}

/// Reads a public key, and loads it as well: otherwise a wrong curve or size would only show at the
/// first token.
fn public_key(algorithm: Algorithm, pem: &[u8]) -> Option<DecodingKey> {
    let (key, fits) = if algorithm == Algorithm::RS256 {
        let key = DecodingKey::from_rsa_pem(pem).ok()?;
        let loaded = PublicKey::from_der(key.try_get_as_bytes().ok()?).ok()?;
        (key, RSA_SIZES.contains(&loaded.modulus_len()))
    } else {
        let key = DecodingKey::from_ec_pem(pem).ok()?;
        let loaded = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.try_get_as_bytes().ok()?);
        (key, loaded.is_ok())
    };
    fits.then_some(key)
}
