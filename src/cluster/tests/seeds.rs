//! Faults by dice: two nodes say messages while calls are lost, copies come late, nodes are cut off, and the
//! engine begins other lives.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{TestNode, message, register};
use crate::base::Epoch;
use crate::cluster::ClusterPromise;
use crate::cluster::model::{CallFault, LifeChange, LostCalls};
use crate::store::{Appended, Record, StoreError};

/// Seeds that are tried; more by hand.
const SEEDS: u64 = 300;

/// Batches of a seed.
const BATCHES: u64 = 60;

/// What a sender knows of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Stands(Epoch, u64),
    StandsOnceOrNot,
    StandsNot,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }
}

#[test]
fn whatever_goes_wrong_each_answer_is_true() {
    let seeds = std::env::var("TIDINGS_CLUSTER_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        for promise in [ClusterPromise::Synced, ClusterPromise::Replicated] {
            Run::new(seed, promise).run();
        }
    }
}

struct Run {
    seed: u64,
    dice: Dice,
    nodes: [TestNode; 2],
    known: BTreeMap<String, Known>,
    said: u64,
}

impl Run {
    fn new(seed: u64, promise: ClusterPromise) -> Self {
        let ann = TestNode::alone(promise);
        let bob = ann.beside(2);
        Self {
            seed,
            dice: Dice(seed),
            nodes: [ann, bob],
            known: BTreeMap::new(),
            said: 0,
        }
    }

    fn run(&mut self) {
        for _ in 0..BATCHES {
            self.trouble();
            let node = self.dice.below(2) as usize;
            self.say(node);
            if self.dice.below(4) == 0 {
                self.nodes[node].idle(Duration::from_millis(300));
            }
        }
        self.calm();
        self.check();
    }

    /// Has something go wrong.
    fn trouble(&mut self) {
        let owner = 1 + self.dice.below(2);
        let (model, clock) = (self.nodes[0].model.clone(), self.nodes[0].clock.clone());
        let soon = Duration::from_millis(self.dice.below(3_000));
        match self.dice.below(12) {
            what @ 0..4 => {
                let faults = [
                    CallFault::Lost,
                    CallFault::ReplyLost,
                    CallFault::Late,
                    CallFault::Copied,
                ];
                model.fault(owner, faults[what as usize]);
            }
            4 => model.deliver_late(),
            5 => {
                model.set_away(owner, true);
                let longer = soon * (1 + 5 * self.dice.below(2) as u32);
                clock.after(longer, move || model.set_away(owner, false));
            }
            6 => model.new_life(LifeChange::Restart, LostCalls::Nothing),
            7 => {
                // The generation goes, and the node gets another one after a while.
                let node = &self.nodes[owner as usize - 1];
                let shared = node.shared().clone();
                let next = shared.draw_generation();
                model.register(&shared.settings.node, next);
                clock.after(soon, move || register(&model, &shared, next));
            }
            8 => {
                model.set_full(true);
                clock.after(soon, move || model.set_full(false));
            }
            9 => clock.after(soon, move || model.deliver_late()),
            10 => {
                let all = self.nodes[0].shared().settings.replicas;
                model.set_replicas(0);
                clock.after(soon * 5, move || model.set_replicas(all));
            }
            _ => {}
        }
    }

    fn say(&mut self, node: usize) {
        let count = 1 + self.dice.below(3);
        let texts: Vec<String> = (0..count)
            .map(|more| (self.said + more).to_string())
            .collect();
        self.said += count;
        let records: Vec<Record<'_>> = texts
            .iter()
            .map(|text| message("tea", text, None))
            .collect();
        let told = self.nodes[node].take(&records);
        for (text, told) in texts.into_iter().zip(told) {
            let known = match told {
                Ok(Appended::Sent {
                    first: Some(at), ..
                }) => Known::Stands(at.epoch, at.offset),
                Err(StoreError::Unsettled) => Known::StandsOnceOrNot,
                Err(StoreError::Away(_) | StoreError::LogFull(_)) => Known::StandsNot,
                other => panic!("seed {}: it was answered {other:?}", self.seed),
            };
            self.known.insert(text, known);
        }
    }

    /// Has all trouble end.
    fn calm(&mut self) {
        let model = self.nodes[0].model.clone();
        for node in &mut self.nodes {
            node.idle(Duration::from_secs(40));
        }
        model.deliver_late();
        for node in &mut self.nodes {
            node.idle(Duration::from_secs(1));
        }
        for node in 0..2 {
            let settled = self.said.to_string();
            self.say(node);
            let last = self.known.get(&settled).copied();
            assert!(
                matches!(last, Some(Known::Stands(..))),
                "seed {}: {last:?}",
                self.seed
            );
        }
        model.deliver_late();
    }

    fn check(&self) {
        let (epoch, messages) = self.nodes[0].model.log("tea").unwrap();
        let texts = self.nodes[0].log("tea");
        let offsets: Vec<u64> = messages.iter().map(|(offset, _)| *offset).collect();
        for (text, known) in &self.known {
            let stands: Vec<u64> = texts
                .iter()
                .zip(&offsets)
                .filter_map(|(one, offset)| (one == text).then_some(*offset))
                .collect();
            let is_true = match known {
                Known::Stands(of, offset) => *of == epoch && stands == [*offset],
                Known::StandsOnceOrNot => stands.len() <= 1,
                Known::StandsNot => stands.is_empty(),
            };
            assert!(
                is_true,
                "seed {}: {text} {known:?}, but it stands at {stands:?}",
                self.seed
            );
        }
    }
}
