//! Keyed hashes: the identity of a message, and the epochs of stored channels.

use std::hash::Hasher as _;

use siphasher::sip128::Hasher128 as _;
use siphasher::{sip, sip128};

use crate::base::{Epoch, HashKeys};

/// The owner of an id: two messages with ids of different owners are never the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum IdOwner<'a> {
    User(&'a str),
    Key { key: &'a str, from: Option<&'a str> },
}

/// The identity of a message: channel, owner and id, as a keyed hash of 128 bits. Two messages with
/// the same one are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct IdempotencyKey(pub(super) u128);

/// Makes each [`IdempotencyKey`]. Its keys are random, so nobody can look for two messages with one
/// hash. With the same keys it gives the same hashes, in every process and version.
#[derive(Debug)]
pub(super) struct Hasher(HashKeys);

impl Hasher {
    /// Makes a hasher of these secret keys.
    pub(super) fn new(keys: HashKeys) -> Self {
        Self(keys)
    }

    /// Returns the secret keys.
    pub(super) fn keys(&self) -> [u64; 2] {
        self.0.get()
    }

    fn keyed(&self) -> sip::SipHasher13 {
        let [first, second] = self.keys();
        sip::SipHasher13::new_with_keys(first, second)
    }

    /// Hashes a message's channel, owner and id; two messages with equal ones are the same message.
    pub(super) fn idempotency_key(
        &self,
        channel: &str,
        owner: IdOwner<'_>,
        id: &str,
    ) -> IdempotencyKey {
        let [first, second] = self.keys();
        let mut hasher = sip128::SipHasher13::new_with_keys(first, second);
        put(&mut hasher, Some(channel));
        match owner {
            IdOwner::User(uid) => put(&mut hasher, Some(uid)),
            IdOwner::Key { key, from } => {
                put(&mut hasher, None);
                put(&mut hasher, Some(key));
                put(&mut hasher, from);
            }
        }
        put(&mut hasher, Some(id));
        IdempotencyKey(hasher.finish128().as_u128())
    }

    /// Hashes the sender whose ids are counted together; those without a name are one.
    pub(super) fn sender(&self, from: Option<&str>) -> u64 {
        let mut hasher = self.keyed();
        put(&mut hasher, from);
        hasher.finish()
    }

    /// Hashes the owner of an id: a user, or an API key whatever users it speaks for.
    pub(super) fn id_owner(&self, owner: IdOwner<'_>) -> u32 {
        let mut hasher = self.keyed();
        match owner {
            IdOwner::User(uid) => put(&mut hasher, Some(uid)),
            IdOwner::Key { key, .. } => {
                put(&mut hasher, None);
                put(&mut hasher, Some(key));
            }
        }
        hasher.finish() as u32
    }

    /// Makes the epoch of a channel that begins after `forgotten` channels were forgotten.
    pub(super) fn epoch(&self, channel: &str, forgotten: u64) -> Epoch {
        let mut hasher = self.keyed();
        put(&mut hasher, Some(channel));
        hasher.write_u64(forgotten);
        Epoch::from_bits(hasher.finish() as u32)
    }
}

/// Adds a text with its length before it, so that no two lists of texts give the same bytes.
fn put(hasher: &mut impl std::hash::Hasher, text: Option<&str>) {
    match text {
        Some(text) => {
            hasher.write(&(text.len() as u64 + 1).to_le_bytes());
            hasher.write(text.as_bytes());
        }
        None => hasher.write(&0u64.to_le_bytes()),
    }
}
