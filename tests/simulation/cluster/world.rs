//! Some nodes around one engine, people on them, and what goes wrong: a seed decides what happens next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tidings::chat::Position;
use tidings::cluster::model::Model;
use tidings::cluster::{ClusterPromise, ClusterSettings};
use tidings::server::Fd;

use super::super::invariants::Record;
use super::super::random::Random;
use super::baton::{Baton, Ending, NodeClock};
use super::ledger::Ledger;
use super::node::{self, Node};
use super::start::{Start, cluster_settings};
use super::way::Way;

pub(super) const UIDS: [&str; 3] = ["ann", "bob", "cid"];
pub(super) const ROOMS: [&str; 3] = ["tea", "nut", "pub"];

/// How long everything is well at the end, until everything has to be right.
const CALM_MS: u64 = 12_000;

/// What happened, for a look whether enough did.
pub type Counts = BTreeMap<&'static str, u64>;

/// A person's connection.
pub(super) struct Person {
    pub(super) uid: &'static str,
    pub(super) node: usize,
    /// Whether the login was taken.
    pub(super) is_in: bool,
}

pub struct World {
    pub(super) random: Random,
    pub(super) baton: Arc<Baton>,
    pub(super) model: Model,
    pub(super) settings: ClusterSettings,
    /// Each node's present run, once it has joined.
    pub(super) nodes: Vec<Arc<Mutex<Option<Arc<Node>>>>>,
    /// Until when each node is frozen.
    pub(super) frozen: BTreeMap<usize, u64>,
    pub(super) people: BTreeMap<Fd, Person>,
    pub(super) places: BTreeMap<(&'static str, String), Position>,
    pub(super) record: Record,
    pub(super) ledger: Arc<Ledger>,
    pub(super) next_fd: u64,
    pub(super) next_id: u64,
    /// Messages that were said, to be said again: who, where to, id.
    pub(super) said: Vec<(&'static str, &'static str, String)>,
    /// Whether something was done after which promises of old epochs may be broken.
    pub(super) may_lose: bool,
    /// The threads of nodes end with it.
    _ending: Ending,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let baton = Baton::new();
        let count = random.within(3..=5);
        let promise = random.pick(&[
            ClusterPromise::Synced,
            ClusterPromise::Synced,
            ClusterPromise::Replicated,
            ClusterPromise::Fast,
        ]);
        let model = Model::new(Arc::new(NodeClock::new(&baton, 0)));
        if promise == ClusterPromise::Replicated {
            model.set_replicas(1);
        }
        let mut new = Self {
            settings: cluster_settings(promise),
            random,
            model,
            nodes: (0..count).map(|_| Arc::default()).collect(),
            frozen: BTreeMap::new(),
            people: BTreeMap::new(),
            places: BTreeMap::new(),
            record: Record::default(),
            ledger: Arc::default(),
            next_fd: 1,
            next_id: 1,
            said: Vec::new(),
            may_lose: promise == ClusterPromise::Fast,
            _ending: Ending(Arc::clone(&baton)),
            baton,
        };
        for number in 0..count {
            new.start(number);
        }
        new
    }

    /// Starts a run of a node.
    pub(super) fn start(&mut self, number: usize) {
        let ahead = self.random.pick(&[0, 0, 3_600_000, -3_600_000]);
        let clock = Arc::new(NodeClock::new(&self.baton, ahead));
        let source = Way::new(
            self.model.source(number as u64),
            &self.baton,
            self.random.next(),
        );
        let seed = Mutex::new(Random::new(self.random.next()));
        let start = Start {
            number,
            baton: Arc::clone(&self.baton),
            clock,
            source,
            random: Arc::new(move || seed.lock().unwrap().next()),
            settings: node::settings(number, self.settings.clone()),
            model: self.model.clone(),
            ledger: Arc::clone(&self.ledger),
            place: Arc::clone(&self.nodes[number]),
        };
        self.baton.spawn(number, move || start.run());
    }

    pub fn step(&mut self) {
        self.thaw();
        self.send_away();
        match self.random.below(1_000) {
            0..60 => self.come(),
            60..75 => self.go(),
            75..95 => self.join(),
            95..105 => self.leave(),
            105..205 => self.say(),
            205..215 => self.say_again(),
            215..218 => self.purge(),
            218..222 => self.change_member(),
            222..240 => self.spoil(),
            _ => self.run_for(12),
        }
    }

    /// Lets threads run, as many turns as that.
    fn run_for(&mut self, turns: usize) {
        let until = self.baton.now() + self.random.below(60_u64);
        for _ in 0..turns {
            if !self.baton.turn(until, |count| self.random.below(count)) {
                return;
            }
        }
    }

    /// A node that has joined, and doesn't stand still.
    pub(super) fn some_node(&mut self) -> Option<Arc<Node>> {
        let number = self.random.below(self.nodes.len());
        if self.frozen.contains_key(&number) {
            return None;
        }
        self.nodes[number].lock().unwrap().clone()
    }

    pub(super) fn node_of(&self, fd: Fd) -> Option<Arc<Node>> {
        let number = self.people[&fd].node;
        if self.frozen.contains_key(&number) {
            return None;
        }
        self.nodes[number].lock().unwrap().clone()
    }

    /// Everything is well from now on; in the end everybody is where the log is.
    pub fn end(mut self) -> Counts {
        self.heal();
        let until = self.baton.now() + CALM_MS;
        while self.baton.now() < until {
            self.thaw();
            self.send_away();
            self.baton.turn(until, |count| self.random.below(count));
        }
        self.send_away();
        self.judge_nodes();
        self.judge_people();
        self.ledger.judge(&self.model, self.may_lose);
        let mut counts = self.ledger.counts();
        counts.insert("places", self.record.len() as u64);
        counts.insert("virtual seconds", self.baton.now() / 1_000);
        counts
    }
}
