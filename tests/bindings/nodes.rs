//! Two nodes of a cluster that write tables in MariaDB besides.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use redis::Commands as _;
use rustix::process::Pid;
use serde_json::Value;

use super::engine::Engine as _;
use super::mariadb::MariaDb;
use super::support::installed::is_there;
use super::support::port::OwnPort;
use super::support::program::Program;
use super::support::redis_server::RedisServer;
use super::support::stopwatch::Stopwatch;
use super::support::wait::until;
use super::table::Table;
use super::truth::true_within;

/// After how long without a sign of life a node is taken for dead.
const LEASE: Duration = Duration::from_secs(2);

/// The bound of `docs/bindings.md` for rows of a node that died: the lease, `left_ms`, 3 s.
pub const GONE_WITHIN: Duration = LEASE.saturating_add(Duration::from_millis(3_300));

/// Settings under which little time passes until something is noticed.
const QUICK: [&str; 4] = [
    "cluster.promise=fast",
    "cluster.lease_ms=2000",
    "cluster.linger_ms=500",
    "chat.left_ms=300",
];

/// Two nodes, and what they share.
pub struct Nodes {
    pub redis: RedisServer,
    pub tables: MariaDb,
    programs: [Option<Program>; 2],
    ports: [OwnPort; 2],
    settings: Vec<String>,
}

impl Nodes {
    /// Both nodes, with further settings; `None` where an engine is missing.
    pub fn start(more: &[&str]) -> Option<Self> {
        if !is_there("redis-server") || !is_there("mariadbd") {
            return None;
        }
        let (redis, tables) = (RedisServer::on_socket(&[]), MariaDb::new());
        let mut settings = tables.settings();
        settings.extend(QUICK.iter().chain(more).map(|one| (*one).to_owned()));
        let mut new = Self {
            redis,
            tables,
            programs: [None, None],
            ports: [OwnPort::new(), OwnPort::new()],
            settings,
        };
        (0..2).for_each(|number| new.run(number));
        Some(new)
    }

    /// A command of `tidings` with the settings of a node.
    pub fn command(&self, subcommand: &[&str], number: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.args(subcommand);
        command.args(["--cluster", &self.redis.url(), "--node", name(number)]);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Starts a node, and waits until it is ready.
    pub fn run(&mut self, number: usize) {
        let address = self.ports[number].address.to_string();
        let control = self.redis.folder().join(name(number));
        let control = format!("control={}.sock", control.display());
        self.run_at(number, &address, &["--set", &control]);
    }

    /// Starts another node in place of one, under the name of that one; gives the one before.
    pub fn replace(&mut self, number: usize) -> Program {
        let before = self.programs[number].take().expect("it runs");
        self.run_at(number, "127.0.0.1:0", &[]);
        before
    }

    fn run_at(&mut self, number: usize, address: &str, more: &[&str]) {
        let mut command = self.command(&["serve"], number);
        command.args(["--listen", address]).args(more);
        self.programs[number] = Some(Program::start(&mut command));
        until("the node is ready", || {
            let mut http = self.node(number).http();
            http.json("GET", "/readyz", &Value::Null).0 == 200
        });
    }

    pub fn node(&self, number: usize) -> &Program {
        self.programs[number].as_ref().expect("it runs")
    }

    /// Ends a node as a crash does.
    pub fn kill(&mut self, number: usize) {
        self.programs[number].take().expect("it runs").kill();
    }

    /// Ends a node in order.
    pub fn stop(&mut self, number: usize) {
        self.programs[number].take().expect("it runs").stop();
    }

    /// A clock for what all of them have to do.
    pub fn stopwatch(&mut self) -> Stopwatch {
        let engines = [self.redis.child(), self.tables.child()];
        let engines = engines
            .into_iter()
            .flat_map(|child| child.as_ref().map(Pid::from_child));
        let nodes = self.programs.iter().flatten().map(Program::pid);
        Stopwatch::start(engines.chain(nodes))
    }

    /// The runs that stand in the cluster.
    pub fn standing(&self) -> BTreeMap<String, u64> {
        self.redis.connection().hgetall("tidings:nodes").unwrap()
    }

    /// The runs that have a row in the tables.
    pub fn runs(&self) -> BTreeMap<String, u64> {
        self.tables.runs().into_keys().collect()
    }

    /// Waits until the tables are what the nodes that run say, with nothing beside that; it has to be so
    /// within `bound` from `since`. Gives how long that took.
    #[track_caller]
    pub fn true_within(
        &mut self,
        bound: Duration,
        since: &Stopwatch,
        members: &BTreeSet<(String, String)>,
    ) -> Duration {
        let running: Vec<&Program> = self.programs.iter().flatten().collect();
        let (tables, redis) = (&mut self.tables, &self.redis);
        true_within(bound, since, &running, members, &mut || {
            let standing = redis.connection().hgetall("tidings:nodes");
            let standing: BTreeMap<String, u64> = standing.unwrap();
            let runs = tables.runs().into_keys().collect::<BTreeSet<_>>();
            let is_all = runs == standing.into_iter().collect() && tables.leftovers() == 0;
            is_all.then(|| Table {
                standing: None,
                ..tables.table()
            })
        })
    }
}

/// The name of a node.
pub fn name(number: usize) -> &'static str {
    ["a", "b"][number]
}
