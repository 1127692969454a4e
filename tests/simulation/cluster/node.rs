//! A node: the chat of a cluster, the log that all share, and what runs on its threads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tidings::base::Tick;
use tidings::chat::{
    CatchUpOrders, ChannelKind, Chat, ChatSettings, Epoch, Missing, Moment, Notice, Position,
    Restored, Resume, Sink, StoredIndex, Welcome,
};
use tidings::cluster::clock::Clock;
use tidings::cluster::{ClusterNode, ClusterSettings};
use tidings::server::Fd;
use tidings::store::{Reader, StateRecord};

use super::super::reactors::{Poster, Reactors};
use super::baton::{Baton, NodeClock};
use super::ledger::Ledger;
use super::pipe::Job;

/// After how long without a listener a channel leaves a node.
pub const LINGER_MS: u64 = 400;

/// One run of a node.
pub struct Node {
    /// Which node, and the group of its threads.
    pub number: usize,
    pub baton: Arc<Baton>,
    pub clock: Arc<NodeClock>,
    pub cluster: Arc<ClusterNode>,
    pub chat: Chat,
    pub reactors: Reactors,
    pub ledger: Arc<Ledger>,
    wanted: Mutex<Wanted>,
    orders: Mutex<Option<Arc<dyn CatchUpOrders>>>,
}

/// What the chat asked for beside what is heard.
#[derive(Default)]
pub struct Wanted {
    pub jobs: VecDeque<Job>,
    pub replays: BTreeMap<Fd, BTreeMap<Arc<str>, Replay>>,
    last_replay: u64,
}

/// What a connection misses.
#[derive(Clone)]
pub struct Replay {
    pub id: u64,
    pub channel: Arc<str>,
    pub missing: Missing,
}

/// The chat's settings on every node.
pub fn chat_settings() -> ChatSettings {
    ChatSettings {
        kind: ChannelKind::Stored,
        kinds: Vec::new(),
        shards: 4,
        kept_messages_max: 3,
        connections_per_user_max: 1_000,
        cluster_linger_ms: Some(LINGER_MS),
        left_ms: 300,
        ..ChatSettings::default()
    }
}

impl Node {
    /// The node that has joined a cluster.
    pub fn new(
        number: usize,
        baton: &Arc<Baton>,
        clock: Arc<NodeClock>,
        cluster: ClusterNode,
        ledger: &Arc<Ledger>,
    ) -> Arc<Self> {
        let reader = cluster.reader();
        let seed = cluster.shared().random();
        let index = Arc::new(Index(Arc::clone(&reader)));
        let keys = reader.shared_keys().expect("a cluster has them");
        let chat = Chat::with_stored_index(chat_settings(), seed, index, keys);
        reader.each(&mut |known| {
            if let StateRecord::Channel(name, state) = known {
                let newest = Position {
                    epoch: state.epoch,
                    offset: state.newest,
                };
                chat.restore(Restored::Channel(name, newest));
            }
        });
        Arc::new(Self {
            number,
            baton: Arc::clone(baton),
            clock,
            cluster: Arc::new(cluster),
            chat,
            reactors: Reactors::new(2),
            ledger: Arc::clone(ledger),
            wanted: Mutex::default(),
            orders: Mutex::default(),
        })
    }

    pub fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap()
    }

    pub fn set_orders(&self, orders: Arc<dyn CatchUpOrders>) {
        *self.orders.lock().unwrap() = Some(orders);
    }

    pub fn catch_up(&self, channel: &str) {
        let orders = self.orders.lock().unwrap().clone();
        if let Some(orders) = orders {
            orders.catch_up(channel);
        }
    }

    pub fn moment(&self) -> Moment {
        Moment {
            tick: Tick(self.baton.now()),
            unix_ms: self.clock.unix_ms(),
        }
    }

    /// The chat's way to connections, jobs and replays, for one call.
    pub fn sink(&self, wishes: &[(&str, Resume)]) -> NodeSink<'_> {
        NodeSink {
            node: self,
            poster: Poster::wishing(&self.reactors, wishes),
        }
    }

    pub fn submit(&self, job: Job) {
        if let Job::Say(pending) = &job {
            self.ledger.said(pending.message().id());
        }
        self.wanted().jobs.push_back(job);
        self.baton.ring(self.number);
    }

    /// A connection has ended.
    pub fn closed(&self, fd: Fd) {
        self.chat.closed(self.moment(), fd);
        self.wanted().replays.remove(&fd);
    }

    /// Sweeps, as a timer does.
    pub fn sweep(&self) {
        let mut sink = self.sink(&[]);
        self.chat.expire(&mut sink, self.moment());
    }
}

/// What a node tells the others of itself.
pub fn settings(number: usize, model: ClusterSettings) -> ClusterSettings {
    ClusterSettings {
        node: format!("n{number}"),
        address: format!("127.0.0.1:{}", 9_000 + number),
        ..model
    }
}

/// The index of the shared log, as the chat asks for it.
struct Index(Arc<dyn Reader>);

impl StoredIndex for Index {
    fn floor(&self, channel: &str) -> Option<u64> {
        self.0.channel(channel).map(|state| state.floor)
    }

    fn epoch(&self, channel: &str) -> Option<Epoch> {
        self.0.channel(channel).map(|state| state.epoch)
    }

    fn forgotten(&self) -> u64 {
        self.0.forgotten()
    }
}

/// Takes what the chat sends, and what it asks for.
pub struct NodeSink<'a> {
    node: &'a Node,
    poster: Poster<'a>,
}

impl Sink for NodeSink<'_> {
    fn publish(&mut self, topic: &Arc<str>, frame: &Notice<'_>) {
        if let Notice::Message(message) = frame {
            self.node.ledger.shown(self.node, message);
        }
        self.poster.publish(topic, frame);
    }

    fn push(&mut self, fd: Fd, frame: &Notice<'_>) -> bool {
        self.poster.push(fd, frame)
    }

    fn welcome(&mut self, fd: Fd, channels: &[Welcome]) {
        self.poster.welcome(fd, channels);
    }

    fn subscribe(&mut self, fd: Fd, topic: &Arc<str>, first: &[Notice<'_>]) {
        let wanted = self.node.wanted();
        let own = wanted.replays.get(&fd);
        let catches_up = own.is_some_and(|own| own.contains_key(topic));
        drop(wanted);
        match catches_up {
            true => self.node.reactors.go_on(fd, topic, first),
            false => self.poster.subscribe(fd, topic, first),
        }
    }

    fn replay(&mut self, fd: Fd, topic: &Arc<str>, missing: Missing) {
        let mut wanted = self.node.wanted();
        wanted.last_replay += 1;
        let replay = Replay {
            id: wanted.last_replay,
            channel: Arc::clone(topic),
            missing,
        };
        let own = wanted.replays.entry(fd).or_default();
        own.insert(Arc::clone(topic), replay);
        drop(wanted);
        self.node.baton.ring(self.node.number);
        // From here on it hears the channel, though only what is read for it.
        self.node.reactors.catch_up(fd, topic);
    }

    fn forget(&mut self, topic: &Arc<str>) {
        self.node.submit(Job::Detach(Arc::clone(topic)));
    }

    fn claim(&mut self, topic: &Arc<str>) {
        assert!(topic.starts_with('@'), "{topic} has no user");
    }

    fn drop_channel(&mut self, topic: &Arc<str>, _: Epoch) {
        panic!("there was room for {topic}");
    }

    fn unsubscribe(&mut self, fd: Fd, topic: &Arc<str>) {
        if let Some(own) = self.node.wanted().replays.get_mut(&fd) {
            own.remove(topic);
        }
        self.poster.unsubscribe(fd, topic);
    }
}
