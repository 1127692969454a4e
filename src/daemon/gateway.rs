//! The gateway: HTTP in front, an outbox on disk behind it, a process that delivers the outbox.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use tidings::api::health::{self, ServerReadiness};
use tidings::api::{Refusal, method_not_allowed};
use tidings::base::vital::is_told_to_fail;
use tidings::gateway::{Gateway, GatewaySettings, PUSH_PROCESS, push, store_settings};
use tidings::handover::{Handover, HandoverWriter};
use tidings::server::process::ProcessLaunch;
use tidings::server::upgrade::rehearse_processes;
use tidings::server::{
    Fd, Handle, Head, Response, Server, ServerOutcome, ServerSettings, TlsCertificates, Verdict,
    WorkerHandle,
};
use tidings::store::{MemoryStore, StoreSettings};

use super::announce;
use super::host_metrics;
use super::in_force::{Current, InForce};
use super::keys::Keys;
use super::life::{DaemonLife, certificates, listening, listening_tls, replacing};
use super::reload::{SettingsRenewal, Succession, Swap};
use super::storage::{self, KeptJournal};
use super::upgrade::{Thaw, same_sections};
use crate::auth::Access;
use crate::config::{GatewayPlan, Loaded, Purpose, Settings};
use crate::output;
use crate::service::ServiceStart;

/// Time that a push process gets at a stop beyond its own, before it is killed, in milliseconds:
/// enough to end once it has nothing left to do.
const STOP_GRACE_MS: u64 = 2_000;

/// Longest pause before a push process that keeps dying is started again, in milliseconds: messages
/// wait meanwhile, and starting it costs little.
const RESTART_MS_MAX: u64 = 1_000;

/// Runs the gateway until it is told to stop, with its own arguments and those of its push process.
///
/// # Errors
///
/// The gateway can't start: the address can't be listened on, or the outbox can't be opened.
pub fn gateway(
    loaded: Loaded,
    (arguments, push_arguments): (&[OsString], Vec<OsString>),
    renewal: SettingsRenewal,
    start: ServiceStart,
    thaw: Option<Thaw>,
) -> anyhow::Result<ServerOutcome> {
    let plan = loaded.gateway().map_err(anyhow::Error::msg)?;
    let (thawed, lock) = match &thaw {
        Some(thaw) => (Some(thaw.daemon()?), thaw.lock()?),
        None => (None, None),
    };
    let thaws_next = (thaw.as_ref()).is_some_and(|thaw| thaw.relay.entered().back().is_none());
    let given = match &thaw {
        Some(thaw) => thaw.state.given.clone(),
        None => start.addresses()?,
    };
    let was_given = !given.is_empty();
    let started = (start.report, start.signals);
    let life = DaemonLife::new(Purpose::Gateway, &loaded, started, thawed);
    let Loaded {
        settings,
        access,
        texts,
        tls,
        ..
    } = loaded;
    let certificates = certificates(tls.as_ref())?;
    let general = &settings.general;
    let directory = plan.directory.clone();
    let is_open = access.is_open();
    let in_force = InForce::new(&settings, access, None).shared();
    let store = outbox_settings(&settings, &directory);
    let kept = lock.map(|lock| KeptJournal {
        lock,
        section: None,
    });
    let (store, lock) = storage::open_journal(store, kept).context("can't open the outbox")?;
    let keys = Box::new(Keys(Arc::clone(&in_force)));
    let gateway = Gateway::new(gateway_settings(&settings, plan), Box::new(store), keys);
    let gateway = Arc::new(gateway.context("can't start a thread")?);
    if let Some(thaw) = &thaw {
        gateway.take_over(&thaw.relay.entered().handover()?)?;
    }
    let gate = Arc::new(GatewayGate {
        in_force: Arc::clone(&in_force),
        gateway: Arc::clone(&gateway),
        server: OnceLock::new(),
        announces: thaw.is_none().then_some(is_open),
        certificates: certificates.clone(),
    });
    let ready = Arc::clone(&gate);
    let reloaded = Arc::clone(&gate);
    let prepare = move |succession: Succession<'_>| reloaded.prepare(&succession);
    let running = (settings.clone(), texts);
    life.reload_with(renewal, running, in_force, prepare);
    let handed = Arc::clone(&gateway);
    life.upgrade_with(arguments, move |_, writer, state| {
        handed.hand_over(writer);
        state.lock = lock.as_ref().map(AsRawFd::as_raw_fd);
        state.given = given.clone();
        Ok(())
    });
    let (judge, answer) = (gate.clone(), gateway.clone());
    let begun = Arc::clone(&life);
    let listen = general.listen.clone();
    let builder = match thaw {
        // Sockets that the program was started with are kept.
        Some(thaw) if was_given => Server::builder().thaw(thaw.relay).keep_listeners(),
        Some(thaw) => listening(Server::builder().thaw(thaw.relay), general, Vec::new()),
        None => listening(Server::builder(), general, start.sockets),
    };
    let builder = listening_tls(builder, &settings.tls.listen, certificates.as_ref());
    let builder = builder
        .reactors(general.reactors)
        // The callbacks may wait for the disk.
        .workers(general.workers.max(1))
        .settings(server_settings(&settings))
        .gate(move |head, fd| judge.judge(head, fd))
        .process(PUSH_PROCESS, push)
        .process_launch(ProcessLaunch {
            arguments: Some(push_arguments),
            variables_withheld: own_variables(),
        })
        .on_start(move |server| gate.start(server, &begun))
        .on_request(move |server, request, responder| {
            if let Some((request, responder)) = answer.answer(server, request, responder) {
                responder.end(beside_the_api(request.path()));
            }
        });
    let builder = life.attach(gateway.attach(builder), move || ready.readiness());
    if thaws_next && is_told_to_fail("thaw.gateway") {
        bail!("a test said that the gateway can't be thawed");
    }
    let outcome = builder.run();
    let outcome = outcome.with_context(|| format!("can't listen on {listen}"));
    farewell(gateway, &directory);
    life.ended(outcome)
}

/// Takes over the gateway of a trial handover, which leads nowhere, and `compares` it with what was handed
/// over.
pub(super) fn rehearse_gateway(
    handover: &Handover<'_>,
    next: &Loaded,
    compares: bool,
) -> anyhow::Result<()> {
    let settings = &next.settings;
    let processes = server_settings(settings).process;
    rehearse_processes(handover, &[PUSH_PROCESS], &processes)?;
    let plan = next.gateway().map_err(anyhow::Error::msg)?;
    let in_force = InForce::new(settings, Access::default(), None).shared();
    let store = MemoryStore::new(outbox_settings(settings, &plan.directory));
    let gateway = Gateway::new(
        gateway_settings(settings, plan),
        Box::new(store),
        Box::new(Keys(in_force)),
    )?;
    gateway.take_over(handover)?;
    if !compares {
        return Ok(());
    }
    let mut again = HandoverWriter::new();
    gateway.hand_over(&mut again);
    same_sections(handover, again)
}

/// Makes the settings of the outbox in its folder.
fn outbox_settings(settings: &Settings, directory: &Path) -> StoreSettings {
    let own = &settings.gateway;
    let store = StoreSettings {
        dedup_ms: own.repeat_ms,
        ..StoreSettings::new(directory)
    };
    store_settings(store, own.outbox_size_max)
}

/// Makes the settings of the gateway's server.
fn server_settings(settings: &Settings) -> ServerSettings {
    let mut server = settings.server();
    server.process.stop_ms_max = settings.gateway.drain_ms_max + STOP_GRACE_MS;
    server.process.restart_backoff_ms_max = RESTART_MS_MAX;
    server
}

/// Makes the settings of the gateway.
fn gateway_settings(settings: &Settings, plan: GatewayPlan) -> GatewaySettings {
    let own = &settings.gateway;
    GatewaySettings {
        outbox_bytes_max: own.outbox_size_max,
        data_size_max: settings.websocket.message_size_max,
        link: plan.link,
        drain_ms_max: own.drain_ms_max,
        settle_ms: own.settle_ms,
        push_log_level: settings.log.level.0.clone(),
        disk: settings.disk(),
        limits: settings.limits(),
        host_metrics,
        ..GatewaySettings::new(&own.name, plan.upstreams)
    }
}

/// Judges request heads, on the reactor's thread.
struct GatewayGate {
    in_force: Current,
    gateway: Arc<Gateway>,
    /// The handle, set once the server runs.
    server: OnceLock<Handle>,
    /// Whether people are told that it is open, if they are told where the gateway is: an image of the
    /// program before has done so.
    announces: Option<bool>,
    /// The certificates that it shows, if it speaks TLS.
    certificates: Option<Arc<TlsCertificates>>,
}

impl GatewayGate {
    /// Prepares other settings for the server and the gateway: for each of its parts those that differ.
    ///
    /// # Errors
    ///
    /// A gateway can't go by them: there is no key or no upstream.
    fn prepare(&self, succession: &Succession<'_>) -> anyhow::Result<Box<Swap>> {
        let (running, next) = (succession.running, &succession.next.settings);
        let server = (running.differs_for_server(next)).then(|| server_settings(next));
        let plan = succession.next.gateway().map_err(anyhow::Error::msg)?;
        let store = outbox_settings(next, &plan.directory);
        let settings = gateway_settings(next, plan);
        let (gateway, handle) = (Arc::clone(&self.gateway), self.server.get().cloned());
        let replace_certificates =
            replacing(self.certificates.as_ref(), succession.next.tls.as_ref());
        Ok(Box::new(move |_, rollout, replace| {
            replace_certificates();
            gateway.set_settings(settings, store, rollout);
            if let (Some(server), Some(handle)) = (server, handle) {
                handle.set_settings(&server, rollout);
            }
            // Each request shows its key anew.
            replace();
        }))
    }

    /// Begins, on the main thread.
    fn start(&self, server: &WorkerHandle, life: &Arc<DaemonLife>) {
        // Only set here, and only once.
        self.server.get_or_init(|| server.handle());
        if let Err(error) = self.gateway.start(server) {
            tracing::error!(%error, "the outbox can't be delivered");
            return server.fail("the relay thread could not be started");
        }
        if life.started(server)
            && let Some(is_open) = self.announces
        {
            announce::addresses(server, is_open);
        }
    }

    fn judge(&self, head: &Head, fd: Fd) -> Verdict {
        let in_force = self.in_force.load();
        let verdict = self.judge_by(&in_force, head, fd);
        in_force.cross_origin.complete(head, verdict)
    }

    fn judge_by(&self, in_force: &InForce, head: &Head, fd: Fd) -> Verdict {
        // A balancer may name any host or none, and the answer tells nothing that others may not know.
        if let Some(answer) = health::answer(head, || self.readiness()) {
            return Verdict::Answer(answer);
        }
        if let Some(refusal) = in_force
            .rules
            .refuse(head, head.is_secure().then_some(true))
        {
            self.gateway.note_refused(refusal.reason, head, fd);
            return Verdict::Answer(refusal.response);
        }
        if let Some(answer) = in_force.cross_origin.preflight(head) {
            return Verdict::Answer(answer);
        }
        if head.asks_for_websocket() {
            let message = "a gateway has no WebSocket; connect to its upstreams";
            return Verdict::Answer(Refusal::not_found(message).response());
        }
        match head.has_body() {
            true => self.judge_before_body(head, fd),
            false => Verdict::Pass,
        }
    }

    /// Refuses a body from a client that shows no key, or whose path and method take no body.
    fn judge_before_body(&self, head: &Head, fd: Fd) -> Verdict {
        match self.gateway.admit_head(head, fd) {
            Ok(true) => Verdict::Pass,
            Ok(false) => Verdict::Answer(beside_the_api(head.path())),
            Err(answer) => Verdict::Answer(answer),
        }
    }

    fn readiness(&self) -> ServerReadiness {
        let server = self.server.get();
        if let Some(failure) = server.and_then(Handle::failure) {
            return ServerReadiness::Unready(failure.to_owned().into());
        }
        let is_running = server.is_some_and(|server| !server.is_stopping());
        match (is_running, self.gateway.is_ready()) {
            (true, true) => ServerReadiness::Ready,
            (true, false) => ServerReadiness::Unready("full".into()),
            (false, _) => ServerReadiness::Stopping,
        }
    }
}

/// The variables that are for this program, beside those of its own: what its service manager says.
const OF_THE_MANAGER: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// The variables that are for this program. Keys are among them, and the push process needs none:
/// what it has to know comes over its pipe.
fn own_variables() -> Vec<OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names
        .filter(|name| {
            name.as_encoded_bytes().starts_with(b"TIDINGS_")
                || OF_THE_MANAGER.iter().any(|known| name == known)
        })
        .collect()
}

/// Answers requests beside the gateway's API.
fn beside_the_api(path: &str) -> Response {
    if health::is_health_path(path) {
        return method_not_allowed("GET, HEAD");
    }
    Refusal::not_found("there is nothing at this path; a gateway takes POST /v1/messages")
        .response()
}

/// Says what is left, and frees the folder.
fn farewell(gateway: Arc<Gateway>, directory: &Path) {
    for (upstream, left) in gateway.finish() {
        output::announce(format_args!(
            "left for {upstream}: {left} messages, which wait in {}",
            directory.display()
        ));
    }
    // Only a thread that hangs can still have the gateway; the folder is free when this process
    // ends.
    if let Some(gateway) = Arc::into_inner(gateway) {
        gateway.close();
    }
}
