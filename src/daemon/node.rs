//! The node of a cluster that a server is.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, bail};
use tidings::base::clock::random;
use tidings::base::rest::RestOrder;
use tidings::base::sync::lock;
use tidings::chat::{BindingStore, NodeFigures, NodeRequest, Nodes, NodesError};
use tidings::cluster::bus::{BusState, BusThreads, RequestError};
use tidings::cluster::clock::SystemClock;
use tidings::cluster::kept::{KeptNode, NODE_FORMAT};
use tidings::cluster::member_thread::MemberThread;
use tidings::cluster::membership::Membership;
use tidings::cluster::presence::ClusterNodes;
use tidings::cluster::shared::{NodeShared, RandomSource};
use tidings::cluster::{ClusterNode, ClusterSettings, EngineSettings};
use tidings::endpoint::Endpoint;
use tidings::handover::{Handover, HandoverWriter};
use tidings::server::{Freezes, SerialBlocks};
use tidings::store::{Store, verify};

use super::deafness::Deafness;
use super::node_serials;
use crate::config::Settings;

/// A server's part in its cluster.
pub(super) struct DaemonNode {
    node: Arc<ClusterNode>,
    settings: ClusterSettings,
    /// The membership, until the threads have it.
    membership: Mutex<Option<Membership>>,
    threads: OnceLock<DaemonNodeThreads>,
    /// Serial numbers of connections that are this node's alone.
    serials: Arc<SerialBlocks>,
}

/// The threads of a node beside those of its endpoint; empty once they have ended.
struct DaemonNodeThreads {
    bus: Mutex<Option<BusThreads>>,
    member: Mutex<Option<MemberThread>>,
}

impl DaemonNode {
    /// Joins the cluster, or goes on as the node that was handed over.
    ///
    /// # Errors
    ///
    /// The engine can't be reached or isn't set as it has to be, another server has the name, or there is
    /// data here that nobody would read.
    pub(super) fn join(
        settings: &Settings,
        cluster: ClusterSettings,
        handover: Option<&Handover<'_>>,
    ) -> anyhow::Result<Self> {
        if let Some(directory) = settings.data_alone() {
            refuse_channels_in(&directory)?;
        }
        let place = cluster.engine.address.place.to_string();
        Self::joined(settings, cluster, handover)
            .with_context(|| format!("can't be a node of the cluster at {place}"))
    }

    fn joined(
        settings: &Settings,
        cluster: ClusterSettings,
        handover: Option<&Handover<'_>>,
    ) -> anyhow::Result<Self> {
        let engine = cluster.engine.clone();
        let source = tidings::cluster::source(engine.clone()).map_err(anyhow::Error::msg)?;
        let register = tidings::cluster::register_source(engine).map_err(anyhow::Error::msg)?;
        let (clock, dice): (_, RandomSource) = (Arc::new(SystemClock), Arc::new(random));
        let membership = Mutex::new(None);
        let member_of =
            |shared: &Arc<NodeShared>| Membership::new(Arc::clone(shared), Arc::clone(&register));
        let enter = |shared: &Arc<NodeShared>| {
            let mut member = member_of(shared);
            member.join()?;
            *lock(&membership) = Some(member);
            Ok(())
        };
        let kept = handover.and_then(|handover| handover.section(NODE_FORMAT.name));
        let kept = kept.as_ref().map(KeptNode::read).transpose()?;
        let everyone = settings.chat().kind_of("*");
        let node = match &kept {
            None => ClusterNode::join(cluster.clone(), source, (clock, dice), everyone, &enter)?,
            Some(kept) => {
                let node = ClusterNode::take_over(cluster.clone(), source, (clock, dice), kept)?;
                match enter(node.shared()) {
                    Err(error) if error.is_absence() && kept.key.is_some() => {
                        // It beats once the register is there again.
                        *lock(&membership) = Some(member_of(node.shared()));
                    }
                    entered => entered?,
                }
                node
            }
        };
        let (generation, life) = (node.shared().generation(), node.shared().life());
        tracing::info!(
            node = cluster.node,
            place = %cluster.engine.address.place,
            promise = cluster.promise.word(),
            generation,
            era = life.era,
            "joined the cluster"
        );
        let node = Arc::new(node);
        let serials = node_serials::reserve(&node, handover)?;
        Ok(Self {
            node,
            settings: cluster,
            membership,
            threads: OnceLock::new(),
            serials,
        })
    }

    /// The store of the node's bindings.
    pub(super) fn bindings(&self) -> anyhow::Result<Arc<dyn BindingStore>> {
        tidings::cluster::node_store(self.shared()).map_err(anyhow::Error::msg)
    }

    /// The tables that the node writes besides.
    pub(super) fn tables(&self, engine: EngineSettings) -> anyhow::Result<Arc<dyn BindingStore>> {
        tidings::cluster::node_tables(engine, self.shared()).map_err(anyhow::Error::msg)
    }

    /// The serial numbers of connections that are this node's alone.
    pub(super) fn serials(&self) -> Arc<SerialBlocks> {
        Arc::clone(&self.serials)
    }

    /// Makes the cluster's log a store. To be called once.
    pub(super) fn store(&self, settings: &Settings) -> Box<dyn Store> {
        self.node.store(settings.store())
    }

    pub(super) fn shared(&self) -> &Arc<NodeShared> {
        self.node.shared()
    }

    /// Starts the threads that hear the other nodes, beat, and read what channels are missing; they lead to
    /// the endpoint.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub(super) fn start(&self, endpoint: &Arc<Endpoint>) -> anyhow::Result<()> {
        let Some(mut membership) = lock(&self.membership).take() else {
            return Ok(());
        };
        let hearing = endpoint.hearing();
        let figures = Arc::clone(&hearing);
        membership.set_figures(Box::new(move || NodeFigures {
            memory_bytes: resident_bytes(),
            ..figures.figures()
        }));
        let failing = Arc::clone(endpoint);
        let died = move |what| failing.fail(what);
        let shared = Arc::clone(self.shared());
        let bus = BusThreads::start(shared, self.node.source(), &hearing, died.clone());
        let bus = bus.context("can't start a thread")?;
        let state = Arc::clone(&bus.state);
        endpoint.set_catch_up(Arc::clone(&state) as _);
        endpoint.set_nodes(self.nodes(&state)?);
        let (draining, leaving) = (Arc::clone(self.shared()), Arc::downgrade(endpoint));
        endpoint.set_drain(move |within_ms| {
            draining.set_draining(true);
            if let Some(endpoint) = leaving.upgrade() {
                endpoint.send_away(within_ms);
            }
        });
        let mut deafness = Deafness::new(Arc::clone(self.shared()), endpoint);
        let member = MemberThread::start(membership, move || deafness.look(), died);
        let member = member.context("can't start a thread")?;
        let shared = Arc::clone(self.shared());
        endpoint.show_groups(vec![
            (
                "cluster",
                Box::new(move || shared.counters.numbers().described()),
            ),
            (
                "bus",
                Box::new(move || state.counters.numbers().described()),
            ),
        ]);
        let threads = DaemonNodeThreads {
            bus: Mutex::new(Some(bus)),
            member: Mutex::new(Some(member)),
        };
        // Only set here, and only once.
        _ = self.threads.set(threads);
        Ok(())
    }

    /// The way to the other nodes.
    fn nodes(&self, bus: &Arc<BusState>) -> anyhow::Result<Arc<dyn Nodes>> {
        let rows = tidings::cluster::presence_source(self.settings.engine.clone());
        let rows = rows.map_err(anyhow::Error::msg)?;
        let bus = Arc::clone(bus);
        let ask = move |generation: u64, request: &NodeRequest| {
            let refused = |error: RequestError| match error {
                RequestError::TooMany => NodesError::Away(error.to_string()),
                RequestError::NoAnswer => NodesError::Silent(generation.to_string().into()),
            };
            bus.request(generation, request).map_err(refused)
        };
        let shared = Arc::clone(self.shared());
        Ok(Arc::new(ClusterNodes::new(shared, rows, Box::new(ask))))
    }

    /// Leaves the cluster, once everything of the endpoint has ended.
    pub(super) fn leave(&self) {
        let Some(threads) = self.threads.get() else {
            return;
        };
        if let Some(bus) = lock(&threads.bus).take() {
            bus.end();
        }
        if let Some(member) = lock(&threads.member).take() {
            member.leave();
        }
    }

    /// Writes down what the next image of the program needs to be this node.
    pub(super) fn hand_over(&self, writer: &mut HandoverWriter) {
        KeptNode::write_down(self.shared(), writer.section_of(NODE_FORMAT));
        node_serials::write_down(&self.serials, writer);
    }
}

/// The threads rest once they have let go of what they were about: a frame, a page, a beat.
impl Freezes for DaemonNode {
    fn name(&self) -> &'static str {
        "the cluster's threads, which wait for the engine"
    }

    fn rest(&self, order: RestOrder) {
        let Some(threads) = self.threads.get() else {
            return order.arrive();
        };
        let (bus, member) = (lock(&threads.bus), lock(&threads.member));
        // Whoever comes last arrives for both.
        let left = AtomicUsize::new(usize::from(bus.is_some()) + usize::from(member.is_some()));
        let number = order.number();
        let both = RestOrder::new(number, move || {
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                order.arrive();
            }
        });
        if let Some(bus) = &*bus {
            bus.rest(both.clone());
        }
        if let Some(member) = &*member {
            member.rest(both);
        }
    }

    fn thaw(&self) {
        let Some(threads) = self.threads.get() else {
            return;
        };
        if let Some(bus) = &*lock(&threads.bus) {
            bus.thaw();
        }
        if let Some(member) = &*lock(&threads.member) {
            member.thaw();
        }
    }
}

impl fmt::Debug for DaemonNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DaemonNode")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The memory that the process has; 0 where the system doesn't say.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1_024)
}

/// Refuses a folder with channels of a server that was alone: nobody would read them any more.
fn refuse_channels_in(directory: &Path) -> anyhow::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    // What can't be read is no data of a server.
    let channels = verify(directory).map_or(0, |found| found.channels);
    if channels > 0 {
        let directory = directory.display();
        bail!(
            "{directory} has {channels} channels of a server by itself in it, which no node of a cluster \
             reads: --data none starts without them"
        );
    }
    Ok(())
}
