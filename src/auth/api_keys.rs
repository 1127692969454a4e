//! API keys, by which back ends are known.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use super::Secret;

/// Several keys, each with the name of the back end that holds it.
///
/// Only digests are kept. A key is compared with all of them by digest and in constant time, so
/// that the time an answer takes tells nothing about how much of a guess was right.
#[derive(Default)]
pub struct ApiKeys {
    keys: Vec<(String, [u8; SHA256_OUTPUT_LEN])>,
}

impl ApiKeys {
    /// Fewest characters of a key; a shorter one could be guessed.
    pub const SIZE_MIN: usize = 20;

    /// Keys by name; a key that stands under two names belongs to the first.
    #[must_use]
    pub fn new<'a>(keys: impl IntoIterator<Item = (&'a str, &'a Secret)>) -> Self {
        let keys = keys
            .into_iter()
            .map(|(name, key)| (name.to_owned(), digest_of(key.reveal().as_bytes())))
            .collect();
        Self { keys }
    }

    /// The name of the back end that holds this key.
    #[must_use]
    pub fn who(&self, key: &str) -> Option<&str> {
        let given = digest_of(key.as_bytes());
        let mut who = None;
        for (name, digest) in &self.keys {
            let same = verify_slices_are_equal(digest, &given).is_ok();
            who = who.or(same.then_some(name.as_str()));
        }
        who
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The names whose key isn't in `others`, under the same name.
    #[must_use]
    pub fn missing_in(&self, others: &Self) -> Vec<String> {
        let missing = self.keys.iter().filter(|key| !others.keys.contains(key));
        missing.map(|(name, _)| name.clone()).collect()
    }

    /// The names, in the order of the settings.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(name, _)| name.as_str())
    }
}

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ApiKeys")
            .field(&self.names().collect::<Vec<_>>())
            .finish()
    }
}

pub(super) fn digest_of(key: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    bytes.copy_from_slice(digest(&SHA256, key).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ApiKeys {
        let shop = Secret::from("key-of-the-shop-0123".to_owned());
        let ops = Secret::from("key-of-the-ops-45678".to_owned());
        ApiKeys::new([("shop", &shop), ("ops", &ops)])
    }

    #[test]
    fn each_key_has_its_name_and_nothing_else_has_one() {
        let keys = keys();
        assert_eq!(keys.who("key-of-the-shop-0123"), Some("shop"));
        assert_eq!(keys.who("key-of-the-ops-45678"), Some("ops"));
        for wrong in ["", "shop", "key-of-the-shop-012", "key-of-the-shop-01234"] {
            assert_eq!(keys.who(wrong), None, "{wrong}");
        }
        assert_eq!(ApiKeys::default().who(""), None);
    }

    #[test]
    fn debug_shows_names_and_no_digest() {
        assert_eq!(format!("{:?}", keys()), r#"ApiKeys(["shop", "ops"])"#);
    }
}
