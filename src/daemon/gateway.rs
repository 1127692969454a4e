//! The gateway: HTTP in front, an outbox on disk behind it, a process that brings it away.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use tidings::gateway::{Gateway, GatewaySettings, PUSH_PROCESS, push, store_settings};
use tidings::server::{Handle, Head, Response, Server, ServerOutcome, Verdict, WorkerHandle};
use tidings::store::{Journal, StoreSettings};

use super::keys::Keys;
use super::origin::SameOrigin;
use crate::config::{GatewayPlan, Loaded};

/// What a push process gets beyond its own time at a stop, before it is killed, in milliseconds.
const STOP_GRACE_MS: u64 = 2_000;

/// Longest pause before a push process that keeps dying is started again, in milliseconds: messages
/// wait meanwhile, and starting it costs little.
const RESTART_MS_MAX: u64 = 1_000;

/// Runs the gateway until it is told to stop.
///
/// # Errors
///
/// It can't start: the address can't be listened on, or the outbox can't be opened.
pub fn gateway(loaded: Loaded, plan: GatewayPlan) -> anyhow::Result<ServerOutcome> {
    let Loaded {
        settings, access, ..
    } = loaded;
    let (general, own) = (&settings.general, &settings.gateway);
    let directory = plan.directory;
    let is_open = access.is_open();
    let store = StoreSettings {
        dedup_ms: own.repeat_ms,
        ..StoreSettings::new(&directory)
    };
    let store = Journal::open(store_settings(store, own.outbox_size_max))
        .context("can't open the outbox")?;
    let gateway = GatewaySettings {
        outbox_bytes_max: own.outbox_size_max,
        data_size_max: settings.websocket.message_size_max,
        link: plan.link,
        drain_ms_max: own.drain_ms_max,
        settle_ms: own.settle_ms,
        disk: settings.disk(),
        ..GatewaySettings::new(&own.name, plan.upstreams)
    };
    let gateway = Gateway::new(gateway, Box::new(store), Box::new(Keys(access)));
    let gateway = Arc::new(gateway.context("can't start a thread")?);
    let gate = Gate {
        rules: SameOrigin {
            origins_allowed: general
                .origins_allowed
                .iter()
                .map(|one| one.0.clone())
                .collect(),
            any_host: general.insecure || !is_open,
        },
        gateway: Arc::clone(&gateway),
        server: OnceLock::new(),
    };
    let mut server = settings.server();
    server.process.stop_ms_max = own.drain_ms_max + STOP_GRACE_MS;
    server.process.restart_backoff_ms_max = RESTART_MS_MAX;
    let (gate, start) = (Arc::new(gate), Arc::clone(&gateway));
    let (judge, answer) = (Arc::clone(&gate), Arc::clone(&gateway));
    let listen = general.listen;
    let builder = Server::builder()
        .listen(listen.to_string())
        .reactors(general.reactors)
        // The callbacks may wait for the disk.
        .workers(general.workers.max(1))
        .settings(server)
        .gate(move |head| judge.judge(head))
        .process(PUSH_PROCESS, push)
        .on_start(move |server| {
            // Only set here, and only once.
            gate.server.get_or_init(|| server.handle());
            match start.start(server) {
                Ok(()) => announce(server, is_open),
                Err(error) => {
                    tracing::error!(%error, "the outbox can't be brought away");
                    server.stop();
                }
            }
        })
        .on_request(move |server, request, responder| {
            if let Some((_, responder)) = answer.answer(server, request, responder) {
                responder.end(error(
                    404,
                    "not_found",
                    "there is nothing at this path; a gateway takes POST /v1/messages",
                ));
            }
        });
    let outcome = gateway.attach(builder).run();
    let outcome = outcome.with_context(|| format!("can't listen on {listen}"));
    farewell(gateway, &directory);
    outcome
}

/// What is decided on the reactor's thread.
struct Gate {
    rules: SameOrigin,
    gateway: Arc<Gateway>,
    /// Set once the server runs.
    server: OnceLock<Handle>,
}

impl Gate {
    fn judge(&self, head: &Head) -> Verdict {
        if let Some(refusal) = self.rules.refuse(head) {
            return Verdict::Answer(refusal);
        }
        if head.asks_for_websocket() {
            let message = "a gateway has no WebSocket; connect to its upstreams";
            return Verdict::Answer(error(404, "not_found", message));
        }
        match (head.method(), head.path()) {
            // Here, so that a stuck worker doesn't look like death.
            ("GET" | "HEAD", "/healthz") => Verdict::Answer(status("ok")),
            ("GET" | "HEAD", "/readyz") => Verdict::Answer(self.readiness()),
            _ => Verdict::Pass,
        }
    }

    fn readiness(&self) -> Response {
        let is_running = self
            .server
            .get()
            .is_some_and(|server| !server.is_stopping());
        match (is_running, self.gateway.is_ready()) {
            (true, true) => status("ready"),
            (true, false) => status("full").with_status(503),
            (false, _) => status("stopping").with_status(503),
        }
    }
}

/// Says what is left, and frees the folder.
fn farewell(gateway: Arc<Gateway>, directory: &Path) {
    for (upstream, left) in gateway.finish() {
        println!(
            "left for {upstream}: {left} messages, which wait in {}",
            directory.display()
        );
    }
    // Whoever still has it is a thread that hangs; the folder is free when this process ends.
    if let Some(gateway) = Arc::into_inner(gateway) {
        gateway.close();
    }
}

/// Tells people, and scripts that wait for the line, where the gateway is.
fn announce(server: &WorkerHandle, is_open: bool) {
    let key = if is_open {
        ""
    } else {
        "-H 'Authorization: Bearer YOUR-API-KEY' "
    };
    for address in server.addresses() {
        println!("listening on http://{address}");
        println!(
            "send: curl -H 'Content-Type: application/json' {key}http://{address}/v1/messages -d \
             '{{\"to\":{{\"room\":\"lobby\"}},\"from\":\"curl\",\"data\":{{\"text\":\"hello\"}}}}'"
        );
    }
}

fn status(status: &str) -> Response {
    Response::json(serde_json::json!({ "status": status }).to_string())
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    Response::json(body.to_string()).with_status(status)
}
