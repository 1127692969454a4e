//! Nodes, the engine that they share, and the load on them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::node::{Held, Log, Node};
use super::sitters::Sitters;
use super::support::installed::is_there;
use super::support::keys::Keys;
use super::support::place::Place;
use super::support::proxy::{Proxy, Target};
use super::support::random::Random;
use super::support::redis_server::RedisServer;
use super::support::sentinel::SentinelGroup;
use super::support::wait::{until, until_none};

/// How a world is made.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    pub nodes: usize,
    /// Flags of Redis; none stands for one node without a cluster.
    pub redis: Option<Vec<&'static str>>,
    /// Whether each node has a way of its own to Redis, which can be cut.
    pub proxied: bool,
    /// Whether there are a replica and Sentinels.
    pub replicated: bool,
    /// Settings of every node.
    pub settings: Vec<String>,
    /// Whether an API key is asked for.
    pub keyed: bool,
}

/// What Redis needs to be trusted.
pub const SYNCED: [&str; 2] = ["--appendfsync", "always"];

impl Setup {
    /// Whether all programs are there that it needs.
    pub fn is_possible(&self) -> bool {
        let needs: &[&str] = match (&self.redis, self.replicated) {
            (None, _) => &[],
            (_, true) => &["redis-server", "redis-sentinel"],
            (_, false) => &["redis-server"],
        };
        needs.iter().all(|program| is_there(program))
    }

    /// Three nodes, and a Redis that syncs each write.
    pub fn synced() -> Self {
        Self {
            nodes: 3,
            redis: Some(SYNCED.to_vec()),
            ..Self::default()
        }
    }

    /// The same, with a way to cut.
    pub fn proxied() -> Self {
        Self {
            proxied: true,
            ..Self::synced()
        }
    }

    /// Three nodes, and a Redis whose replica has what is answered.
    pub fn replicated() -> Self {
        let setup = Self {
            replicated: true,
            ..Self::synced()
        };
        setup
            .with("cluster.promise=replicated")
            .with("cluster.replicas=1")
    }

    pub fn alone() -> Self {
        Self {
            nodes: 1,
            ..Self::default()
        }
    }

    /// The same with an API key.
    pub fn keyed(self) -> Self {
        Self {
            keyed: true,
            ..self
        }
    }

    pub fn with(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }
}

/// Limits under which little time passes until something is noticed.
const QUICK: [&str; 9] = [
    "cluster.lease_ms=2000",
    "cluster.answer_ms_max=3000",
    "cluster.linger_ms=500",
    "cluster.look_ms=2000",
    "cluster.messages_max=1000000",
    // More than the senders of a hundred rounds have.
    "cluster.ids_max=20000000",
    "cluster.channel_size_max=1073741824",
    "chat.left_ms=300",
    "chat.ring_messages_max=50",
];

/// After how long without a sign of life a node is taken for dead, as [`QUICK`] says.
pub const LEASE: Duration = Duration::from_secs(2);

/// Connections to the engine that a node keeps open while nobody reads.
const IDLE_CONNECTIONS_MAX: usize = 3;

/// Where the messages are.
pub enum Engine {
    /// In a folder.
    None,
    Redis(RedisServer),
    Group(SentinelGroup),
}

/// Nodes, and what they share.
pub struct World {
    pub nodes: Vec<Node>,
    pub engine: Engine,
    pub sitters: Sitters,
    /// What each node held before anybody came.
    before: Vec<Held>,
    probes: u64,
    _folder: TempDir,
}

impl World {
    pub fn new(setup: &Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = match &setup.redis {
            None => Engine::None,
            Some(flags) if setup.replicated => Engine::Group(SentinelGroup::new(flags)),
            Some(flags) => Engine::Redis(RedisServer::on_socket(flags)),
        };
        let keys = setup.keyed.then(|| Arc::new(Keys::make()));
        let nodes = (0..setup.nodes).map(|number| {
            let (log, proxy) = match &engine {
                Engine::None => (Log::Folder(folder_of(&folder, number)), None),
                Engine::Redis(redis) if setup.proxied => {
                    let proxy = Proxy::to(Target::Unix(redis.path("redis.sock").into()));
                    (
                        Log::Cluster(format!("redis://{}", proxy.address)),
                        Some(proxy),
                    )
                }
                Engine::Redis(redis) => (Log::Cluster(redis.url()), None),
                Engine::Group(group) => (Log::Cluster(group.url()), None),
            };
            let mut node = node(number, log, proxy, setup);
            node.keys.clone_from(&keys);
            node
        });
        let mut new = Self {
            nodes: nodes.collect(),
            engine,
            sitters: Sitters::default(),
            before: Vec::new(),
            probes: 0,
            _folder: folder,
        };
        new.nodes.iter_mut().for_each(Node::start);
        new.until_service();
        if setup.redis.is_some() {
            // Ways to the engine that are opened by the first question.
            for node in &new.nodes {
                node.ask("GET", "/v1/nodes", &Value::Null);
                node.members("probe");
            }
        }
        new.before = new.nodes.iter().map(Node::held).collect();
        new
    }

    pub fn redis(&mut self) -> &mut RedisServer {
        match &mut self.engine {
            Engine::Redis(redis) => redis,
            _ => panic!("there is no Redis by itself"),
        }
    }

    pub fn group(&mut self) -> &mut SentinelGroup {
        match &mut self.engine {
            Engine::Group(group) => group,
            _ => panic!("there are no Sentinels"),
        }
    }

    /// A connection to the primary.
    pub fn connection(&self) -> Option<redis::Connection> {
        match &self.engine {
            Engine::None => None,
            Engine::Redis(redis) => Some(redis.connection()),
            Engine::Group(group) => Some(group.servers[group.primary()].connection()),
        }
    }

    /// Tells the load where nodes are.
    pub fn tell(&self, place: &Place) {
        for (number, node) in self.nodes.iter().enumerate() {
            place.set(number, node.program.as_ref().map(|_| node.address()));
        }
    }

    pub fn kill(&mut self, place: &Place, node: usize) {
        place.set(node, None);
        self.nodes[node].kill();
    }

    pub fn start(&mut self, place: &Place, node: usize) {
        self.nodes[node].start();
        place.set(node, Some(self.nodes[node].address()));
    }

    /// Waits until every node that runs takes messages; gives how long that took.
    #[track_caller]
    pub fn until_service(&mut self) -> Duration {
        let began = Instant::now();
        for node in self.nodes.iter().filter(|node| node.program.is_some()) {
            self.probes += 1;
            let id = format!("probe-{}", self.probes);
            until(&format!("{} takes messages", node.name), || node.takes(&id));
        }
        began.elapsed()
    }

    /// Nothing is left of those who were connected.
    #[track_caller]
    pub fn until_nothing_is_left(&self) {
        until_none("something is left", || {
            let both = self.nodes.iter().zip(&self.before);
            let more = both.map(|(node, before)| (node.held(), before));
            let more = more.filter(|(now, before)| {
                let may_stay = before.descriptors + IDLE_CONNECTIONS_MAX;
                now.threads.len() > before.threads.len() || now.descriptors > may_stay
            });
            more.collect()
        });
    }

    /// A node that runs.
    pub fn some_node(&self, random: &mut Random) -> usize {
        random.below(self.nodes.len())
    }
}

fn folder_of(folder: &TempDir, number: usize) -> PathBuf {
    folder.path().join(format!("n{number}"))
}

fn node(number: usize, log: Log, proxy: Option<Proxy>, setup: &Setup) -> Node {
    let is_cluster = matches!(log, Log::Cluster(_));
    let quick = QUICK
        .iter()
        .filter(|one| is_cluster || !one.starts_with("cluster."));
    let quick = quick.map(|one| (*one).to_owned());
    let settings = quick.chain(setup.settings.iter().cloned()).collect();
    Node::new(format!("n{number}"), log, settings, proxy)
}
