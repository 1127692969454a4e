//! The daemon: the chat on one port, and who may come in.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use tidings::api::WithdrawnKeys;
use tidings::base::vital::is_told_to_fail;
use tidings::chat::BindingStore;
use tidings::cluster::{ClusterSettings, EngineSettings, StoreEngine};
use tidings::endpoint::{BindingSettings, Endpoint, EndpointHost, EndpointSettings};
use tidings::handover::{Handover, HandoverWriter};
use tidings::server::{Fd, Frame, Request, Responder, Server, ServerOutcome, WorkerHandle};

use super::announce;
use super::echo::{ECHO_PATH, Echoes};
use super::host_metrics;
use super::in_force::{Current, InForce};
use super::keys::Keys;
use super::life::{DaemonLife, certificates, listening, listening_tls, replacing};
use super::node::DaemonNode;
use super::paths::{ServeGate, beside_the_api};
use super::reload::{SettingsRenewal, Succession, Swap, withdrawn_keys};
use super::storage;
use super::upgrade::{Thaw, same_sections};
use crate::auth::Access;
use crate::config::{Loaded, Purpose, Settings};
use crate::output;
use crate::service::ServiceStart;

/// Bytes of a message that is echoed on the reactor's thread at the most: copied in a µs or two.
const LIGHT_ECHO_BYTES_MAX: usize = 16 * 1_024;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// The daemon can't start, most likely since the address can't be listened on.
pub fn serve(
    loaded: Loaded,
    renewal: SettingsRenewal,
    start: ServiceStart,
    arguments: &[OsString],
    mut thaw: Option<Thaw>,
) -> anyhow::Result<ServerOutcome> {
    let (thawed, lock) = match &thaw {
        Some(thaw) => (Some(thaw.daemon()?), thaw.lock()?),
        None => (None, None),
    };
    let thaws_next = thaw
        .as_ref()
        .is_some_and(|thaw| thaw.relay.entered().back().is_none());
    let echoes = thaw.as_ref().map(|thaw| thaw.state.echoes.clone());
    let given = match &thaw {
        Some(thaw) => thaw.state.given.clone(),
        None => start.addresses()?,
    };
    let was_given = !given.is_empty();
    let started = (start.report, start.signals);
    let life = DaemonLife::new(Purpose::Serve, &loaded, started, thawed);
    let running = (loaded.settings.clone(), loaded.texts.clone());
    let Loaded {
        settings,
        access,
        uplink_key,
        bindings,
        cluster,
        tls,
        ..
    } = loaded;
    let certificates = certificates(tls.as_ref())?;
    let node = cluster.map(|cluster| join(&settings, cluster, thaw.as_ref()));
    let node = node.transpose()?.map(Arc::new);
    let (store, lock) = match (&node, &thaw) {
        (Some(node), _) => (node.store(&settings), None),
        (None, Some(thaw)) => {
            storage::take_over(&settings, lock, &thaw.relay.entered().handover()?)?
        }
        (None, None) => storage::open(&settings, None)?,
    };
    let is_open = access.is_open();
    let in_force = InForce::new(&settings, access, uplink_key.as_ref()).shared();
    let (mut own, chat) = (endpoint_settings(&settings), settings.chat());
    (own.bindings, own.tables) = stores(&settings, node.as_deref(), bindings)?;
    let keys = Box::new(Keys(Arc::clone(&in_force)));
    let endpoint = match &thaw {
        None => Endpoint::new(own, chat, keys, store).context("can't start a thread")?,
        Some(thaw) => {
            let handover = thaw.relay.entered().handover()?;
            Endpoint::take_over(own, chat, keys, store, &handover)?
        }
    };
    let endpoint = Arc::new(endpoint);
    let withdrawn = thaw.as_mut().and_then(|thaw| thaw.before.take());
    let withdrawn = withdrawn.map(|before| {
        let uplink_key = before.uplink_key.as_ref();
        let before = InForce::new(&before.settings, before.access, uplink_key);
        withdrawn_keys(&before, &in_force.load())
    });
    let general = &settings.general;
    let listen = general.listen.clone();
    let server = settings.server();
    let gate = Arc::new(ServeGate {
        in_force: Arc::clone(&in_force),
        endpoint: Arc::clone(&endpoint),
        node: node.clone(),
        server: OnceLock::new(),
        certificates: certificates.clone(),
    });
    let ready = Arc::clone(&gate);
    let reloaded = Arc::clone(&gate);
    let prepare = move |succession: Succession<'_>| Ok(reloaded.prepare(&succession));
    life.reload_with(renewal, running, Arc::clone(&in_force), prepare);
    let host = Arc::new(ServeHost {
        gate: Arc::clone(&gate),
        in_force,
        echoes: Echoes::of(echoes.unwrap_or_default()),
        is_open,
        withdrawn,
        endpoint: Arc::clone(&endpoint),
        life: Arc::clone(&life),
    });
    let (hosted, handed) = (Arc::clone(&host), Arc::clone(&endpoint));
    let kept = node.clone();
    life.upgrade_with(arguments, move |_, writer, state| {
        handed.hand_over(writer);
        if let Some(node) = &kept {
            node.hand_over(writer);
        }
        state.lock = lock.as_ref().map(AsRawFd::as_raw_fd);
        state.given = given.clone();
        state.echoes = hosted.echoes.list();
        Ok(())
    });
    let builder = match thaw {
        // Sockets that the program was started with are kept.
        Some(thaw) if was_given => Server::builder().thaw(thaw.relay).keep_listeners(),
        Some(thaw) => listening(Server::builder().thaw(thaw.relay), general, Vec::new()),
        None => listening(Server::builder(), general, start.sockets),
    };
    let builder = listening_tls(builder, &settings.tls.listen, certificates.as_ref());
    let builder = builder
        .reactors(general.reactors)
        .workers(general.workers)
        .settings(server)
        .gate(move |head, fd| gate.judge(head, fd));
    let builder = life.attach(endpoint.attach(builder, host), move || ready.readiness());
    let builder = match &node {
        Some(node) => {
            node.start(&endpoint)?;
            let builder = builder.serial_blocks(node.serials());
            builder.freezes_with(Arc::clone(node) as _)
        }
        None => builder,
    };
    if thaws_next && is_told_to_fail("thaw.chat") {
        bail!("a test said that the chat can't be thawed");
    }
    let outcome = builder.run();
    // Everything that was taken is on disk now, also what nobody waits for any more.
    endpoint.finish();
    if let Some(node) = &node {
        node.leave();
    }
    life.ended(outcome.with_context(|| format!("can't serve on {listen}")))
}

/// Joins the cluster, or goes on as the node that was handed over.
fn join(
    settings: &Settings,
    cluster: ClusterSettings,
    thaw: Option<&Thaw>,
) -> anyhow::Result<DaemonNode> {
    let handover = thaw.map(|thaw| thaw.relay.entered().handover());
    DaemonNode::join(settings, cluster, handover.transpose()?.as_ref())
}

impl ServeGate {
    /// Prepares other settings for the server and the endpoint: for each of its parts those that differ.
    fn prepare(&self, succession: &Succession<'_>) -> Box<Swap> {
        let (running, next) = (succession.running, &succession.next.settings);
        let server = running.differs_for_server(next).then(|| next.server());
        let store = (running.differs_for_store(next)).then(|| (next.disk(), next.store()));
        let (settings, chat) = (endpoint_settings(next), next.chat());
        let (endpoint, handle) = (Arc::clone(&self.endpoint), self.server.get().cloned());
        let replace_certificates =
            replacing(self.certificates.as_ref(), succession.next.tls.as_ref());
        Box::new(move |withdrawn, rollout, replace| {
            replace_certificates();
            endpoint.set_settings(&settings, &chat);
            if let (Some(server), Some(handle)) = (server, handle) {
                handle.set_settings(&server, rollout);
            }
            if let Some((disk, store)) = store {
                endpoint.set_store_settings(disk, store, rollout);
            }
            endpoint.withdraw(withdrawn, replace);
        })
    }
}

/// Takes over the endpoint of a trial handover, which leads nowhere, and `compares` it with what was handed
/// over.
pub(super) fn rehearse_endpoint(
    handover: &Handover<'_>,
    settings: &Settings,
    compares: bool,
) -> anyhow::Result<()> {
    let in_force = InForce::new(settings, Access::default(), None).shared();
    let keys = Box::new(Keys(in_force));
    let store = Box::new(storage::rehearsed(settings, handover, compares)?);
    let own = endpoint_settings(settings);
    let endpoint = Endpoint::take_over(own, settings.chat(), keys, store, handover)?;
    if !compares {
        return Ok(());
    }
    let mut again = HandoverWriter::new();
    endpoint.hand_over(&mut again);
    same_sections(handover, again)
}

/// Makes the settings of the endpoint.
fn endpoint_settings(settings: &Settings) -> EndpointSettings {
    let connection = settings.server().reactor.connection;
    EndpointSettings {
        node: node_name(&settings.general.node),
        message_size_max: connection.message_size_max,
        ping_s: connection.ping_ms / 1_000,
        login_ms_max: settings.tokens.login_ms_max,
        limits: settings.limits(),
        sync: settings.promise().to_owned(),
        host_metrics,
        disk: settings.disk(),
        replays: settings.replays(),
        lookups_max: settings.cluster.lookups_max,
        held_logins_max: settings.cluster.held_logins_max,
        bindings: None,
        tables: None,
    }
}

/// The ways of the bindings to their store, and to the tables that a node of a cluster writes besides.
fn stores(
    settings: &Settings,
    node: Option<&DaemonNode>,
    engine: Option<EngineSettings>,
) -> anyhow::Result<(Option<BindingSettings>, Option<BindingSettings>)> {
    let to = |engine: StoreEngine, store: Arc<dyn BindingStore>| BindingSettings {
        store,
        node: settings.general.node.clone(),
        changes_max: settings.bindings.changes_max,
        gather_ms: engine.gather_ms(),
    };
    let Some(node) = node else {
        let alone = engine.map(|engine| {
            let kind = engine.engine;
            let store = tidings::cluster::store(engine).map_err(anyhow::Error::msg)?;
            anyhow::Ok(to(kind, store))
        });
        return Ok((alone.transpose()?, None));
    };
    let tables = engine.filter(|engine| engine.engine == StoreEngine::MySql);
    let tables = tables.map(|engine| anyhow::Ok(to(StoreEngine::MySql, node.tables(engine)?)));
    let rows = to(StoreEngine::Redis, node.bindings()?);
    Ok((Some(rows), tables.transpose()?))
}

/// The daemon's parts beside its endpoint: the page, `/echo`, and a greeting on the terminal.
struct ServeHost {
    gate: Arc<ServeGate>,
    in_force: Current,
    echoes: Echoes,
    is_open: bool,
    /// The keys that were in force in the image of the program before this one, if there was one, and
    /// aren't any more.
    withdrawn: Option<WithdrawnKeys>,
    endpoint: Arc<Endpoint>,
    life: Arc<DaemonLife>,
}

impl EndpointHost for ServeHost {
    fn started(&self, server: &WorkerHandle) {
        // Only set here, and only once.
        self.gate.server.get_or_init(|| server.handle());
        if !self.life.started(server) {
            return;
        }
        if let Some(withdrawn) = &self.withdrawn {
            // The image before has said where the server is.
            return self.endpoint.withdraw(withdrawn, || {});
        }
        let in_force = self.in_force.load();
        announce(
            server,
            in_force.echo_size_max.is_some(),
            in_force.has_page,
            self.is_open,
        );
    }

    fn takes(&self, request: &Request) -> bool {
        let is_echo = request.path() == ECHO_PATH;
        if is_echo {
            self.echoes.insert(request.fd);
        }
        is_echo
    }

    fn admits_link(&self, request: &Request) -> bool {
        let in_force = self.in_force.load();
        in_force.admits_link(request.header("authorization"))
    }

    fn is_own(&self, fd: Fd) -> bool {
        self.echoes.contains(fd)
    }

    fn is_light(&self, frame: Frame<'_>) -> bool {
        frame.data.len() <= LIGHT_ECHO_BYTES_MAX
    }

    fn receive(&self, server: &WorkerHandle, frame: Frame<'_>) {
        server.push(frame.fd, frame).ok();
    }

    fn closed(&self, fd: Fd) {
        self.echoes.remove(fd);
    }

    fn answer(&self, request: Request, responder: Responder) {
        let (method, path) = (request.method(), request.path());
        let has_page = self.in_force.load().has_page;
        responder.end(beside_the_api(method, path, has_page));
    }
}

/// Tells people, and scripts that wait for the line, where the server is.
fn announce(server: &WorkerHandle, echo: bool, has_page: bool, is_open: bool) {
    for listened in server.listening() {
        announce::listening(listened);
        let Some(address) = &listened.ip() else {
            continue;
        };
        announce::page(address, has_page, is_open);
        announce::sending(address, is_open);
        if echo {
            output::announce(format_args!("echo: websocat ws://{address}/echo"));
        }
        if is_open {
            output::announce(format_args!(
                "no keys are asked for; `tidings init` makes a file with some"
            ));
        }
    }
    announce::listening_tls(server);
}

/// Returns the server's name for clients: that of the settings, or one made for this process.
fn node_name(node: &str) -> String {
    match node {
        "" => format!("tidings-{}", std::process::id()),
        node => node.to_owned(),
    }
}
