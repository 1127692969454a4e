//! The daemon: the chat on one port, and who may come in.

use std::sync::{Arc, OnceLock};

use anyhow::Context;
use tidings::endpoint::{Endpoint, EndpointHost, EndpointSettings};
use tidings::server::{Fd, Frame, Request, Responder, Server, ServerOutcome, WorkerHandle};

use super::announce;
use super::echo::{ECHO_PATH, ECHO_SIZE_MAX, Echoes};
use super::host_metrics;
use super::keys::Keys;
use super::origin::SameOrigin;
use super::paths::{ServeGate, beside_the_api};
use super::storage;
use crate::auth::ApiKeys;
use crate::config::{Loaded, Settings};
use crate::output;

/// Bytes of a gateway's frame beside the data of a message: a hundred receivers with the longest
/// names, each character escaped.
const LINK_FRAME_SIZE: usize = 256 * 1_024;

/// Bytes of a message that is echoed on the reactor's thread at the most: copied in a µs or two.
const LIGHT_ECHO_BYTES_MAX: usize = 16 * 1_024;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// The daemon can't start, most likely since the address can't be listened on.
pub fn serve(loaded: Loaded) -> anyhow::Result<ServerOutcome> {
    let Loaded {
        settings,
        access,
        uplink_key,
        ..
    } = loaded;
    let store = storage::open(&settings)?;
    let is_open = access.is_open();
    let endpoint = Endpoint::new(
        endpoint_settings(&settings),
        settings.chat(),
        Box::new(Keys(access)),
        store,
    );
    let endpoint = Arc::new(endpoint.context("can't start a thread")?);
    let general = &settings.general;
    let listen = general.listen;
    let server = settings.server();
    let message_size_max = server.reactor.connection.message_size_max;
    let gate = Arc::new(ServeGate {
        rules: SameOrigin {
            origins_allowed: general
                .origins_allowed
                .iter()
                .map(|one| one.0.clone())
                .collect(),
            // With keys every client has to show one, whatever name led here.
            any_host: general.insecure || !is_open,
        },
        has_page: general.page.is_on(is_open),
        echo_size_max: general.echo.then_some(message_size_max.max(ECHO_SIZE_MAX)),
        link_size_max: message_size_max + LINK_FRAME_SIZE,
        link_keys: ApiKeys::new(uplink_key.iter().map(|key| ("gateways", key))),
        endpoint: Arc::clone(&endpoint),
        server: OnceLock::new(),
    });
    let host = Arc::new(ServeHost {
        gate: Arc::clone(&gate),
        echoes: Echoes::default(),
        is_open,
    });
    let builder = Server::builder()
        .listen(listen.to_string())
        .reactors(general.reactors)
        .workers(general.workers)
        .settings(server)
        .gate(move |head, fd| gate.judge(head, fd));
    let outcome = endpoint.attach(builder, host).run();
    // Everything that was taken is on disk now, also what nobody waits for any more.
    endpoint.finish();
    outcome.with_context(|| format!("can't serve on {listen}"))
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
    }
}

/// The daemon's parts beside its endpoint: the page, `/echo`, and a greeting on the terminal.
struct ServeHost {
    gate: Arc<ServeGate>,
    echoes: Echoes,
    is_open: bool,
}

impl EndpointHost for ServeHost {
    fn started(&self, server: &WorkerHandle) {
        // Only set here, and only once.
        self.gate.server.get_or_init(|| server.handle());
        announce(
            server,
            self.gate.echo_size_max.is_some(),
            self.gate.has_page,
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
        responder.end(beside_the_api(method, path, self.gate.has_page));
    }
}

/// Tells people, and scripts that wait for the line, where the server is.
fn announce(server: &WorkerHandle, echo: bool, has_page: bool, is_open: bool) {
    for address in server.addresses() {
        announce::listening(address);
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
}

/// Returns the server's name for clients: that of the settings, or one made for this process.
fn node_name(node: &str) -> String {
    match node {
        "" => format!("tidings-{}", std::process::id()),
        node => node.to_owned(),
    }
}
