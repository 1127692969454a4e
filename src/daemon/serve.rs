//! The daemon: the chat on one port, and who may come in.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use anyhow::{Context, bail};
use tidings::chat::ChatSettings;
use tidings::door::{Door, DoorSettings, Open};
use tidings::server::{Fd, Outcome, Request, Server, ServerSettings, WorkerHandle};

use super::origin::SameOrigin;
use super::paths::{Paths, beside_the_api};

/// Largest message that is echoed, in bytes.
const ECHO_SIZE_MAX: usize = 16 << 20;

/// Milliseconds that a connection may stay without a login.
const LOGIN_MS_MAX: u64 = 10_000;

/// What `tidings serve` was told.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Threads that own the sockets.
    pub reactors: usize,
    /// Threads that run the callbacks; 0 runs them on the reactors.
    pub workers: usize,
    /// Whether `/echo` is there.
    pub echo: bool,
    /// Lets other machines in, although no keys are asked for.
    pub insecure: bool,
    /// Origins that are let in beside the server's own.
    pub origins_allowed: Vec<String>,
    /// Bounds and times.
    pub server: ServerSettings,
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// It can't start: the address isn't loopback, or can't be listened on.
pub fn serve(settings: ServeSettings) -> anyhow::Result<Outcome> {
    let ServeSettings {
        listen,
        reactors,
        workers,
        echo,
        insecure,
        origins_allowed,
        mut server,
    } = settings;
    if !listen.ip().is_loopback() && !insecure {
        bail!(
            "{listen} can be reached from other machines, and no keys are asked for: \
             listen on 127.0.0.1, or say --insecure if that is what you want"
        );
    }
    let message_size_max = server.reactor.connection.message_size_max;
    if echo {
        server.reactor.connection.message_size_max = ECHO_SIZE_MAX;
    }
    let door = DoorSettings {
        node: format!("tidings-{}", std::process::id()),
        message_size_max,
        ping_s: server.reactor.connection.ping_ms / 1_000,
        login_ms_max: LOGIN_MS_MAX,
    };
    let door = Arc::new(Door::new(door, ChatSettings::default(), Box::new(Open)));
    let rules = SameOrigin {
        origins_allowed,
        any_host: insecure,
    };
    let paths = Arc::new(Paths {
        rules,
        echo,
        server: OnceLock::new(),
    });
    let daemon = Arc::new(Daemon {
        door,
        echoes: Echoes::default(),
    });
    let builder = Server::builder()
        .listen(listen.to_string())
        .reactors(reactors)
        .workers(workers)
        .settings(server);
    let builder = {
        let (gate, start) = (Arc::clone(&paths), Arc::clone(&daemon));
        builder
            .gate(move |head| gate.judge(head))
            .on_start(move |server| {
                // Only set here, and only once.
                paths.server.get_or_init(|| server.handle());
                start.door.start(server);
                announce(server, echo);
            })
    };
    let (open, message, close, drain, request) = (
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
        .on_request(move |server, asked, responder| {
            if let Some((asked, responder)) = request.door.answer(server, asked, responder) {
                responder.end(beside_the_api(asked.method(), asked.path(), true));
            }
        })
        .run();
    outcome.with_context(|| format!("can't serve on {listen}"))
}

/// What the callbacks share.
struct Daemon {
    door: Arc<Door>,
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
fn announce(server: &WorkerHandle, echo: bool) {
    for address in server.addresses() {
        println!("listening on http://{address}");
        println!("chat: open http://{address}/ in two windows");
        println!(
            "send: curl -H 'Content-Type: application/json' http://{address}/v1/messages -d \
             '{{\"to\":{{\"room\":\"lobby\"}},\"from\":\"curl\",\"data\":{{\"text\":\"hello\"}}}}'"
        );
        if echo {
            println!("echo: websocat ws://{address}/echo");
        }
        println!("no keys are asked for: this is for trying things, on this machine only");
    }
}
