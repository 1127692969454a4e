//! Channels that the engine still sends to a node though nobody there hears them: their detach wasn't taken.
//! Pure state.
//!
//! Invariant: a channel that is heard by the time of a call isn't detached by it, whenever it was noted.

use std::collections::BTreeSet;

/// Channels that one call detaches: as many messages as a call takes.
const A_CALL_MAX: usize = 256;

/// Channels that are to be detached, each once.
#[derive(Debug, Default)]
pub(super) struct OwedDetaches(BTreeSet<Box<str>>);

impl OwedDetaches {
    /// Notes channels, as far as there are no more than `channels_max` in all; returns how many it refused.
    pub(super) fn add(
        &mut self,
        channels: impl IntoIterator<Item = Box<str>>,
        channels_max: usize,
    ) -> u64 {
        let mut refused = 0;
        for channel in channels {
            match self.0.len() < channels_max || self.0.contains(&channel) {
                true => _ = self.0.insert(channel),
                false => refused += 1,
            }
        }
        refused
    }

    /// Takes channels for the next call, without those that are heard again.
    pub(super) fn take(&mut self, hears: impl Fn(&str) -> bool) -> Vec<Box<str>> {
        let mut taken = Vec::new();
        while taken.len() < A_CALL_MAX
            && let Some(channel) = self.0.pop_first()
        {
            if !hears(&channel) {
                taken.push(channel);
            }
        }
        taken
    }

    /// Whether nothing is owed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: std::ops::Range<usize>) -> impl Iterator<Item = Box<str>> {
        range.map(|number| format!("{number:04}").into())
    }

    #[test]
    fn what_is_owed_goes_in_calls_of_a_bounded_size_each_channel_once() {
        let mut owed = OwedDetaches::default();
        assert_eq!(owed.add(names(0..400).chain(names(0..400)), 1_000), 0);
        let heard = |name: &str| name.starts_with("000");
        let first = owed.take(heard);
        let second = owed.take(heard);
        assert_eq!((first.len(), second.len()), (256, 400 - 10 - 256));
        assert!(owed.is_empty() && first.iter().chain(&second).all(|name| !heard(name)));
    }

    #[test]
    fn beyond_the_bound_a_channel_is_refused_and_counted() {
        let mut owed = OwedDetaches::default();
        assert_eq!(owed.add(names(0..7), 5), 2);
        assert_eq!(owed.add(names(0..5), 5), 0, "they are there already");
        assert_eq!(owed.take(|_| false).len(), 5);
    }
}
