//! The numbers that a receiver refused for good lately.
//!
//! A `pub_err` may be lost with its link, and the mark alone would say that the message was taken.
//! So the next `open_ok` names the refusal again. They are kept in memory only: a refusal goes
//! unnoticed where the link breaks before its `pub_err` arrives *and* the server dies before the
//! gateway is back.

mod handover;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::api::refusal::Refusal;

/// Refusals that are kept for one producer; the oldest go. As many as a gateway has on the way at
/// most, if its settings say nothing else: what it has let go of needs no second refusal.
const REFUSED_MAX: usize = 1_024;

/// Producers whose refusals are kept, so that strangers with a link key can't fill the memory; those
/// of further producers are told once.
const PRODUCERS_MAX: usize = 1_024;

/// The refusals of all producers.
#[derive(Debug, Default)]
pub struct RecentRefusals {
    producers: HashMap<Arc<str>, BTreeMap<u64, Refusal>>,
}

impl RecentRefusals {
    /// Keeps a number that was refused for good.
    pub fn record(&mut self, producer: &Arc<str>, n: u64, refusal: Refusal) {
        if !self.producers.contains_key(producer) && self.producers.len() >= PRODUCERS_MAX {
            return;
        }
        let refused = self.producers.entry(Arc::clone(producer)).or_default();
        refused.insert(n, refusal);
        if refused.len() > REFUSED_MAX {
            refused.pop_first();
        }
    }

    /// Gives the refusals for the `open_ok` of a sender that has everything from `first` on and
    /// will send from `next` on. The sender knows those before `first`, so they are forgotten.
    pub fn at_open(&mut self, producer: &str, first: u64, next: u64) -> Vec<(u64, Refusal)> {
        let Some(refused) = self.producers.get_mut(producer) else {
            return Vec::new();
        };
        *refused = refused.split_off(&first);
        // A producer's first `open` after this server lost its data: these numbers come again.
        refused.split_off(&next);
        let told = refused
            .iter()
            .map(|(n, refusal)| (*n, refusal.clone()))
            .collect();
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
    fn a_refusal_is_told_until_the_gateway_has_let_the_number_go() {
        let (mut refusals, producer) = (RecentRefusals::default(), Arc::from("p"));
        for n in [4, 7, 9] {
            refusals.record(&producer, n, Refusal::bad_request(""));
        }
        let numbers = |refusals: &mut RecentRefusals, first, next| {
            let told = refusals.at_open("p", first, next).into_iter();
            told.map(|(n, _)| n).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&mut refusals, 1, 10), [4, 7, 9]);
        assert_eq!(numbers(&mut refusals, 5, 10), [7, 9], "4 is known there");
        assert_eq!(numbers(&mut refusals, 5, 8), [7], "9 comes again");
        assert_eq!(numbers(&mut refusals, 8, 8), [0; 0]);
        assert!(refusals.producers.is_empty(), "nothing is kept for ever");
        assert_eq!(numbers(&mut refusals, 1, 10), [0; 0]);
    }

    #[test]
    fn refusals_of_a_producer_and_producers_are_bounded() {
        let mut refusals = RecentRefusals::default();
        for n in 1..=5_000 {
            for producer in ["p".into(), format!("p-{n}").into()] {
                refusals.record(&producer, n, Refusal::bad_request(""));
            }
        }
        let told = refusals.at_open("p", 1, 10_000);
        assert_eq!((told[0].0, told.len()), (5_000 - 1_023, 1_024));
        assert_eq!(refusals.producers.len(), PRODUCERS_MAX);
    }
}
