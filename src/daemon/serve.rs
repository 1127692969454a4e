//! The daemon: the chat on one port, and who may come in.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use anyhow::Context;
use tidings::endpoint::{Endpoint, EndpointSettings};
use tidings::server::{Fd, Request, Server, ServerOutcome, WorkerHandle};

use super::keys::Keys;
use super::origin::SameOrigin;
use super::paths::{Paths, beside_the_api};
use super::storage;
use crate::auth::ApiKeys;
use crate::config::{Loaded, PageMode};

/// What a gateway's frame has beside the data of a message, in bytes: a hundred receivers of the
/// longest names, all of it escaped.
const LINK_FRAME_SIZE: usize = 256 * 1_024;

/// Largest message that is echoed, in bytes.
const ECHO_SIZE_MAX: usize = 16 << 20;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// It can't start, most likely since the address can't be listened on.
pub fn serve(loaded: Loaded) -> anyhow::Result<ServerOutcome> {
    let Loaded {
        settings,
        access,
        uplink_key,
        ..
    } = loaded;
    let mut server = settings.server();
    let general = &settings.general;
    let (listen, echo, is_open) = (general.listen, general.echo, access.is_open());
    let message_size_max = server.reactor.connection.message_size_max;
    if uplink_key.is_some() {
        server.reactor.connection.message_size_max += LINK_FRAME_SIZE;
    }
    if echo {
        server.reactor.connection.message_size_max = ECHO_SIZE_MAX;
    }
    let door = EndpointSettings {
        node: node_name(&general.node),
        message_size_max,
        ping_s: server.reactor.connection.ping_ms / 1_000,
        login_ms_max: settings.tokens.login_ms_max,
        limits: settings.limits(),
        sync: settings.promise().to_owned(),
        disk: settings.disk(),
        replays: settings.replays(),
    };
    let store = storage::open(&settings)?;
    let door = Endpoint::new(door, settings.chat(), Box::new(Keys(access)), store)
        .context("can't start a thread")?;
    let door = Arc::new(door);
    let has_page = match general.page {
        PageMode::Open => is_open,
        PageMode::On => true,
        PageMode::Off => false,
    };
    let origins_allowed = general
        .origins_allowed
        .iter()
        .map(|origin| origin.0.clone())
        .collect();
    // With keys, whoever comes has to show one, whatever name led here.
    let any_host = general.insecure || !is_open;
    let rules = SameOrigin {
        origins_allowed,
        any_host,
    };
    let paths = Arc::new(Paths {
        rules,
        echo,
        link_keys: ApiKeys::new(uplink_key.iter().map(|key| ("gateways", key))),
        door: Arc::clone(&door),
        server: OnceLock::new(),
    });
    let daemon = Arc::new(Daemon {
        door: Arc::clone(&door),
        echoes: Echoes::default(),
    });
    let builder = Server::builder()
        .listen(listen.to_string())
        .reactors(general.reactors)
        .workers(general.workers)
        .pressure(door.pressure())
        .serials_from(door.serials_from())
        .settings(server);
    let builder = {
        let (gate, start) = (Arc::clone(&paths), Arc::clone(&daemon));
        builder
            .gate(move |head| gate.judge(head))
            .on_start(move |server| {
                // Only set here, and only once.
                paths.server.get_or_init(|| server.handle());
                start.door.start(server);
                announce(server, echo, has_page, is_open);
            })
    };
    let (open, message, close, drain, buffer, request) = (
        daemon.clone(),
        daemon.clone(),
        daemon.clone(),
        daemon.clone(),
        daemon.clone(),
        daemon,
    );
    let outcome = builder
        .on_open(move |server, request| open.opened(server, request))
        .on_message(
            move |server, frame| match message.echoes.contains(frame.fd) {
                true => drop(server.push(frame.fd, frame)),
                false => message.door.message(server, frame),
            },
        )
        .on_close(move |_, fd, _| close.closed(fd))
        .on_drain(move |server, fd| {
            if !drain.echoes.contains(fd) {
                drain.door.drained(server, fd);
            }
        })
        .on_buffer_empty(move |_, fd| buffer.door.buffer_empty(fd))
        .on_request(move |server, asked, responder| {
            if let Some((asked, responder)) = request.door.answer(server, asked, responder) {
                responder.end(beside_the_api(asked.method(), asked.path(), has_page));
            }
        })
        .run();
    // What was taken is on disk now, also what nobody waits for any more.
    door.finish();
    outcome.with_context(|| format!("can't serve on {listen}"))
}

/// What the callbacks share.
struct Daemon {
    door: Arc<Endpoint>,
    echoes: Echoes,
}

impl Daemon {
    fn opened(&self, server: &WorkerHandle, request: &Request) {
        if request.path() == "/echo" {
            self.echoes.insert(request.fd);
        } else {
            self.door.opened(server, request);
        }
    }

    fn closed(&self, fd: Fd) {
        if !self.echoes.remove(fd) {
            self.door.closed(fd);
        }
    }
}

/// The connections that opened `/echo`.
#[derive(Debug, Default)]
struct Echoes(RwLock<HashSet<Fd, foldhash::fast::RandomState>>);

impl Echoes {
    fn contains(&self, fd: Fd) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&fd)
    }

    fn insert(&self, fd: Fd) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(fd);
    }

    fn remove(&self, fd: Fd) -> bool {
        // Most are none, and needn't keep the others waiting.
        self.contains(fd)
            && self
                .0
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&fd)
    }
}

/// Tells people, and scripts that wait for the line, where the server is.
fn announce(server: &WorkerHandle, echo: bool, has_page: bool, is_open: bool) {
    let key = if is_open {
        ""
    } else {
        "-H 'Authorization: Bearer YOUR-API-KEY' "
    };
    for address in server.addresses() {
        println!("listening on http://{address}");
        if has_page {
            println!("chat: open http://{address}/ in two windows");
        }
        println!(
            "send: curl -H 'Content-Type: application/json' {key}http://{address}/v1/messages -d \
             '{{\"to\":{{\"room\":\"lobby\"}},\"from\":\"curl\",\"data\":{{\"text\":\"hello\"}}}}'"
        );
        if echo {
            println!("echo: websocat ws://{address}/echo");
        }
        if is_open {
            println!("no keys are asked for; `tidings init` makes a file with some");
        }
    }
}

/// The server's name for clients: the settings', or one of this process.
fn node_name(node: &str) -> String {
    match node {
        "" => format!("tidings-{}", std::process::id()),
        node => node.to_owned(),
    }
}
