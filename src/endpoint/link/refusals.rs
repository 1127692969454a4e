//! What was refused for good lately: a `pub_err` may be lost with its link, and the mark alone
//! would say that the message was taken. So the next `open_ok` tells it again.
//!
//! In memory only: a refusal is lost where the link breaks before it is told *and* the server dies
//! before the gateway is back.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::chat::ErrorCode;

/// Refusals of one producer that are known; the oldest go. As many as are on the way at most, if
/// its gateway says nothing else.
const REFUSED_MAX: usize = 1_024;

/// Producers whose refusals are known; those of further ones are told once.
const PRODUCERS_MAX: usize = 1_024;

/// The latest refusals of each producer.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    producers: HashMap<Arc<str>, BTreeMap<u64, ErrorCode>>,
}

impl Refusals {
    /// A number was refused for good, and is settled by it.
    pub(super) fn note(&mut self, producer: &Arc<str>, n: u64, code: ErrorCode) {
        if !self.producers.contains_key(producer) && self.producers.len() >= PRODUCERS_MAX {
            return;
        }
        let refused = self.producers.entry(Arc::clone(producer)).or_default();
        refused.insert(n, code);
        if refused.len() > REFUSED_MAX {
            refused.pop_first();
        }
    }

    /// What is to be told to a gateway that has everything from `first` on, and is going to send
    /// from `next` on. What is before `first` it knows.
    pub(super) fn told(&mut self, producer: &str, first: u64, next: u64) -> Vec<(u64, ErrorCode)> {
        let Some(refused) = self.producers.get_mut(producer) else {
            return Vec::new();
        };
        *refused = refused.split_off(&first);
        // A producer's first `open` after its data was lost here: these numbers are judged anew.
        refused.split_off(&next);
        let told = refused.iter().map(|(n, code)| (*n, *code)).collect();
        if refused.is_empty() {
            self.producers.remove(producer);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_told_until_the_gateway_has_let_it_go() {
        let (mut refusals, producer) = (Refusals::default(), Arc::from("p"));
        for n in [4, 7, 9] {
            refusals.note(&producer, n, ErrorCode::BadRequest);
        }
        let numbers = |refusals: &mut Refusals, first, next| {
            let told = refusals.told("p", first, next).into_iter();
            told.map(|(n, _)| n).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&mut refusals, 1, 10), [4, 7, 9]);
        assert_eq!(numbers(&mut refusals, 5, 10), [7, 9], "4 is settled there");
        assert_eq!(numbers(&mut refusals, 5, 8), [7], "9 comes again");
        assert_eq!(numbers(&mut refusals, 8, 8), [0; 0]);
        assert!(refusals.producers.is_empty(), "nothing is kept for ever");
        assert_eq!(numbers(&mut refusals, 1, 10), [0; 0]);
    }

    #[test]
    fn it_has_bounds() {
        let mut refusals = Refusals::default();
        for n in 1..=5_000 {
            refusals.note(&"p".into(), n, ErrorCode::BadRequest);
            refusals.note(&format!("p-{n}").into(), n, ErrorCode::BadRequest);
        }
        let told = refusals.told("p", 1, 10_000);
        assert_eq!((told[0].0, told.len()), (5_000 - 1_023, 1_024));
        assert_eq!(refusals.producers.len(), PRODUCERS_MAX);
    }
}
