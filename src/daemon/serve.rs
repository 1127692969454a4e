//! The daemon: its paths, and who may ask for them.

use std::net::SocketAddr;

use anyhow::{Context, bail};

use super::origin::SameOrigin;
use super::stats::to_json;
use tidings::server::{
    Head, Outcome, Request, Responder, Response, Server, ServerSettings, Verdict, WorkerHandle,
};

/// Largest message that is echoed, in bytes.
const ECHO_SIZE_MAX: usize = 16 << 20;

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
    if !settings.listen.ip().is_loopback() && !settings.insecure {
        bail!(
            "{} can be reached from other machines, and no keys are asked for: \
             listen on 127.0.0.1, or say --insecure if that is what you want",
            settings.listen
        );
    }
    let ServeSettings {
        listen,
        reactors,
        workers,
        echo,
        insecure,
        origins_allowed,
        mut server,
    } = settings;
    if echo {
        server.reactor.connection.message_size_max = ECHO_SIZE_MAX;
    }
    let rules = SameOrigin {
        origins_allowed,
        any_host: insecure,
    };
    let builder = Server::builder()
        .listen(listen.to_string())
        .reactors(reactors)
        .workers(workers)
        .settings(server)
        .gate(move |head| judge(head, &rules, echo))
        .on_start(move |server| announce(server, echo))
        .on_message(|server, frame| {
            server.push(frame.fd, frame).ok();
        })
        .on_request(answer);
    builder
        .run()
        .with_context(|| format!("can't serve on {listen}"))
}

/// Tells people, and scripts that wait for the line, where the server is.
fn announce(server: &WorkerHandle, echo: bool) {
    for address in server.addresses() {
        println!("listening on http://{address}");
        if echo {
            println!("try: websocat ws://{address}/echo");
        }
        println!("try: curl http://{address}/healthz");
    }
}

/// Judges a request on the reactor's thread.
fn judge(head: &Head, rules: &SameOrigin, echo: bool) -> Verdict {
    if let Some(refusal) = rules.refuse(head) {
        return Verdict::Answer(refusal);
    }
    if head.asks_for_websocket() {
        return match head.path() {
            "/echo" if echo => Verdict::Pass,
            _ => Verdict::Answer(not_found("there is no WebSocket at this path")),
        };
    }
    match (head.method(), head.path()) {
        ("GET" | "HEAD", "/healthz") => Verdict::Answer(Response::json(r#"{"status":"ok"}"#)),
        _ => Verdict::Pass,
    }
}

fn answer(server: &WorkerHandle, request: Request, responder: Responder) {
    responder.end(match (request.method(), request.path()) {
        ("GET" | "HEAD", "/v1/stats") => Response::json(to_json(&server.stats()).to_string()),
        (_, "/v1/stats" | "/healthz") => {
            error(405, "bad_request", "only GET is answered here").field("Allow", "GET, HEAD")
        }
        _ => not_found("there is nothing at this path; try /healthz or /v1/stats"),
    });
}

fn not_found(message: &str) -> Response {
    error(404, "not_found", message)
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    Response::json(body.to_string()).with_status(status)
}
