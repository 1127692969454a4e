//! The start of a node's run: it joins, and its threads begin.

use std::sync::{Arc, Mutex};

use tidings::chat::ChannelKind;
use tidings::cluster::clock::Clock;
use tidings::cluster::engine::EngineSource;
use tidings::cluster::model::Model;
use tidings::cluster::shared::{NodeShared, RandomSource};
use tidings::cluster::{ClusterNode, ClusterPromise, ClusterSettings};
use tidings::store::StoreSettings;

use super::baton::{Baton, NodeClock};
use super::bus;
use super::ledger::Ledger;
use super::node::{self, Node};
use super::pipe;
use super::reading;
use super::way::Way;

/// What a node needs for its start.
pub(super) struct Start {
    pub(super) number: usize,
    pub(super) baton: Arc<Baton>,
    pub(super) clock: Arc<NodeClock>,
    pub(super) source: Arc<Way>,
    pub(super) random: RandomSource,
    pub(super) settings: ClusterSettings,
    pub(super) model: Model,
    pub(super) ledger: Arc<Ledger>,
    pub(super) place: Arc<Mutex<Option<Arc<Node>>>>,
}

impl Start {
    /// Joins as soon as the engine lets it, and then runs its threads.
    pub(super) fn run(self) {
        let (name, model) = (self.settings.node.clone(), self.model.clone());
        let register = |shared: &Arc<NodeShared>| {
            model.register(&name, shared.generation());
            Ok(())
        };
        let cluster = loop {
            let source: Arc<dyn EngineSource> = self.source.clone();
            let clock: Arc<dyn Clock> = self.clock.clone();
            let joined = ClusterNode::join(
                self.settings.clone(),
                source,
                (clock, Arc::clone(&self.random)),
                ChannelKind::Stored,
                &register,
            );
            match joined {
                Ok(cluster) => break cluster,
                Err(_) => self.baton.pause(200),
            }
        };
        let store = cluster.store(StoreSettings::new(""));
        let node = Node::new(self.number, &self.baton, self.clock, cluster, &self.ledger);
        bus::start(&node, &self.source);
        let own = Arc::clone(&node);
        self.baton
            .spawn(self.number, move || pipe::run(&own, store));
        let own = Arc::clone(&node);
        self.baton.spawn(self.number, move || reading::run(&own));
        *self.place.lock().unwrap() = Some(Arc::clone(&node));
        loop {
            node.sweep();
            bus::keep_registered(&node, &self.model);
            self.baton.pause(200);
        }
    }
}

/// Settings of every node, but for its name.
pub(super) fn cluster_settings(promise: ClusterPromise) -> ClusterSettings {
    ClusterSettings {
        promise,
        replicas: usize::from(promise == ClusterPromise::Replicated),
        checks: false,
        answer_ms_max: 2_000,
        linger_ms: node::LINGER_MS,
        look_ms: 2_000,
        left_ms: 300,
        held_bytes_max: 1 << 20,
        behind_channel_bytes_max: 1 << 16,
        behind_bytes_max: 1 << 20,
        held_logins_max: 1_000,
        lookups_max: 100,
        ..ClusterSettings::new(Model::engine_settings(), "")
    }
}
