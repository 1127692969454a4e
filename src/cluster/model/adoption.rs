//! Lives: which one stands, and when an era begins.

use super::state::ModelState;
use crate::cluster::call::Life;
use crate::cluster::engine::{EngineFacts, LifeState};

/// Runs that are over of which it is known what survived.
const PAST_MAX: usize = 16;

impl ModelState {
    /// Takes the life of these facts for the present one.
    pub(super) fn adopt(
        &mut self,
        facts: &EngineFacts,
        known: &Life,
        seen: u64,
        trusted: bool,
    ) -> LifeState {
        let Some(mut stands) = self.life.take() else {
            let era = known.era.max(facts.unix_ms) + 1;
            return self.stand(facts, era, seen, seen);
        };
        let is_first = stands.life.run != facts.run;
        if is_first {
            stands.n0 = stands.n;
            self.past.truncate(PAST_MAX - 1);
            self.past.insert(0, (stands.life.run.clone(), stands.n));
        }
        let survived = match known.run == facts.run {
            true => stands.n,
            false => self.survived(&known.run),
        };
        let mut era = stands.life.era;
        if seen > survived {
            stands.n = stands.n.max(seen);
            stands.n0 = stands.n0.max(seen);
        }
        if known.era > era || (seen > survived && known.era == era) {
            era = known.era + 1;
            stands.n0 = stands.n;
        } else if is_first && !trusted {
            era += 1;
        }
        self.stand(facts, era, stands.n, stands.n0)
    }

    /// The calls of a run that is over which the lives after it had; 0 if nobody knows.
    fn survived(&self, run: &str) -> u64 {
        let mut past = self.past.iter();
        let found = past.find(|(one, _)| **one == *run);
        found.map_or(0, |(_, n)| *n)
    }

    fn stand(&mut self, facts: &EngineFacts, era: u64, n: u64, n0: u64) -> LifeState {
        let life = LifeState {
            life: Life {
                run: facts.run.clone(),
                era,
            },
            n,
            n0,
            replid: facts.replids[0].clone(),
            syncs_always: facts.syncs_always,
        };
        self.life.insert(life).clone()
    }
}
