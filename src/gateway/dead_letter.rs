//! A message that an upstream refused for good, as the outbox keeps it.

use std::hash::Hash;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::api::json::Json;
use crate::link::wire::RefusalWords;

/// A refused message with the upstream's reason.
#[derive(Debug)]
pub(super) struct DeadLetter<'a> {
    /// The URL of the upstream.
    pub(super) upstream: &'a str,
    /// The number of the message in the outbox.
    pub(super) n: u64,
    /// The reason, in the upstream's words.
    pub(super) why: &'a RefusalWords,
    /// The time of the refusal, in milliseconds since 1970.
    pub(super) ts: u64,
    /// The message as it was posted, as JSON.
    pub(super) posting: &'a str,
}

impl DeadLetter<'_> {
    /// Writes the letter as one JSON object; the posting stays byte for byte.
    pub(super) fn json(&self) -> String {
        Json::of_size(self.posting.len() + 128)
            .string("upstream", self.upstream)
            .number("n", self.n)
            .string("code", &self.why.code)
            .string("message", &self.why.message)
            .number("ts", self.ts)
            .raw("posting", self.posting)
            .end()
    }

    /// Makes the key that an earlier letter about the same refusal has too: a message may be
    /// refused again before its acknowledgement is on disk.
    pub(super) fn idempotency_key(&self, key: [u64; 2]) -> u128 {
        let mut hasher = SipHasher13::new_with_keys(key[0], key[1]);
        ("dead letter", self.upstream, self.n).hash(&mut hasher);
        hasher.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_holds_the_posting_byte_for_byte_and_is_known_by_upstream_and_number() {
        let [bad, other] = ["bad\"", "other"].map(|code| RefusalWords {
            code: code.into(),
            message: "to: nobody".into(),
        });
        let letter = |n, why| DeadLetter {
            upstream: "ws://a/link",
            n,
            why,
            ts: 5,
            posting: r#"{"data": 1.0,"id":"i"}"#,
        };
        let json = letter(7, &bad).json();
        assert_eq!(
            json,
            concat!(
                r#"{"upstream":"ws://a/link","n":7,"code":"bad\"","message":"to: nobody","#,
                r#""ts":5,"posting":{"data": 1.0,"id":"i"}}"#
            )
        );
        let key_of = |n, why, key| letter(n, why).idempotency_key(key);
        assert_eq!(key_of(7, &bad, [1, 2]), key_of(7, &other, [1, 2]));
        assert_ne!(key_of(7, &bad, [1, 2]), key_of(8, &bad, [1, 2]));
        assert_ne!(key_of(7, &bad, [1, 2]), key_of(7, &bad, [2, 2]));
    }
}
