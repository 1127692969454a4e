//! A rollout: something new that several owners have to take, each at its own time.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::sync::lock;

/// What several owners have to take, such as new settings; whoever rolls it out waits for all of them.
#[derive(Debug, Default)]
pub struct Rollout(Arc<RolloutState>);

#[derive(Debug, Default)]
struct RolloutState {
    /// The owners that haven't taken it, with how often each was asked.
    missing: Mutex<BTreeMap<Arc<str>, usize>>,
    taken: Condvar,
}

/// One owner's part of a [`Rollout`]: dropped once the owner has taken it, or has ended and has nothing to
/// take it for.
#[derive(Debug)]
pub struct RolloutPart {
    owner: Arc<str>,
    state: Arc<RolloutState>,
}

impl Rollout {
    /// Makes the part of one owner, which is missing until the part is dropped.
    #[must_use]
    pub fn part(&self, owner: impl Into<Arc<str>>) -> RolloutPart {
        let owner = owner.into();
        *lock(&self.0.missing).entry(Arc::clone(&owner)).or_default() += 1;
        RolloutPart {
            owner,
            state: Arc::clone(&self.0),
        }
    }

    /// Waits until every owner has taken its part, but no longer than `patience`; returns those that
    /// haven't.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> Vec<Arc<str>> {
        let missing = lock(&self.0.missing);
        let is_missing = |missing: &mut BTreeMap<_, _>| !missing.is_empty();
        let waited = (self.0.taken).wait_timeout_while(missing, patience, is_missing);
        let (missing, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        missing.keys().cloned().collect()
    }
}

impl Drop for RolloutPart {
    fn drop(&mut self) {
        let mut missing = lock(&self.state.missing);
        if let Some(times) = missing.get_mut(&self.owner) {
            *times -= 1;
            if *times == 0 {
                missing.remove(&self.owner);
            }
        }
        if missing.is_empty() {
            self.state.taken.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_waits_for_every_owner_and_names_those_that_are_silent() {
        let rollout = Rollout::default();
        assert!(rollout.wait(Duration::MAX).is_empty(), "nobody was asked");
        let (first, second) = (rollout.part("reactor-0"), rollout.part("disk"));
        let again = rollout.part("disk");
        drop(second);
        let silent = rollout.wait(Duration::ZERO);
        assert_eq!(silent, ["disk".into(), Arc::<str>::from("reactor-0")]);
        drop(first);
        let waiting = std::thread::spawn(move || drop(again));
        assert!(rollout.wait(Duration::from_secs(60)).is_empty());
        waiting.join().unwrap();
    }
}
