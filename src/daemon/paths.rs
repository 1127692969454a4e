//! The paths of the daemon beside the API, and the decisions that are made on the reactor's thread.

use std::sync::{Arc, OnceLock};

use tidings::api::health::{self, ServerReadiness, is_health_path};
use tidings::api::{Refusal, RefusalReason, Refused, method_not_allowed};
use tidings::chat::ErrorCode;
use tidings::endpoint::{EVENTS_PATH, Endpoint, LINK_PATH};
use tidings::server::{Fd, Handle, Head, Response, TlsCertificates, Verdict};

use super::cross_origin::CLIENT_PATHS;
use super::echo::ECHO_PATH;
use super::in_force::{Current, InForce};
use super::node::DaemonNode;
use crate::page;

/// Judges request heads.
pub(super) struct ServeGate {
    pub(super) in_force: Current,
    /// The endpoint, which knows whether messages can be stored.
    pub(super) endpoint: Arc<Endpoint>,
    /// The part in a cluster, if there is one.
    pub(super) node: Option<Arc<DaemonNode>>,
    /// The handle, set once the server runs.
    pub(super) server: OnceLock<Handle>,
    /// The certificates that it shows, if it speaks TLS.
    pub(super) certificates: Option<Arc<TlsCertificates>>,
}

impl ServeGate {
    pub(super) fn judge(&self, head: &Head, fd: Fd) -> Verdict {
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
            .refuse(head, self.is_secure(in_force, head, fd))
        {
            self.note(refusal.reason, head, fd);
            return Verdict::Answer(refusal.response);
        }
        if in_force.believes_proxies && !in_force.rules.any_host && self.is_from_elsewhere(fd) {
            self.note(RefusalReason::Proxy, head, fd);
            let message = "a proxy speaks for a client of another machine, and a server without keys is \
                for this machine only; make keys with `tidings init`, or start the server with --insecure";
            return Verdict::Answer(Refusal::new(ErrorCode::Forbidden, message).response());
        }
        if let Some(answer) = in_force.cross_origin.preflight(head) {
            return Verdict::Answer(answer);
        }
        if head.asks_for_websocket() {
            if let Some(answer) = self.sends_away() {
                return Verdict::Answer(answer);
            }
            return match (head.path(), in_force.echo_size_max) {
                ("/ws" | "/", _) => Verdict::Pass,
                (ECHO_PATH, Some(message_size_max)) => Verdict::PassWith { message_size_max },
                (LINK_PATH, _) if !in_force.link_keys.is_empty() => {
                    self.judge_link(in_force, head, fd)
                }
                _ => Verdict::Answer(not_found("there is no WebSocket at this path; try /ws")),
            };
        }
        if head.path() == EVENTS_PATH && head.method() == "GET" {
            return self.judge_events();
        }
        match head.has_body() {
            true => self.judge_before_body(head, fd, in_force.has_page),
            false => Verdict::Pass,
        }
    }

    /// Refuses a body from a client that shows no key, or whose path and method take no body.
    fn judge_before_body(&self, head: &Head, fd: Fd, has_page: bool) -> Verdict {
        match self.endpoint.admit_head(head, fd) {
            Ok(true) => Verdict::Pass,
            Ok(false) => Verdict::Answer(beside_the_api(head.method(), head.path(), has_page)),
            Err(answer) => Verdict::Answer(answer),
        }
    }

    /// The answer to whoever would stay, while the node sends its clients away.
    fn sends_away(&self) -> Option<Response> {
        let node = self.node.as_ref()?;
        node.shared().is_draining().then(|| {
            let message = "this node sends its clients away; another one takes them";
            Refusal::new(ErrorCode::Unavailable, message).response()
        })
    }

    /// Opens a stream of events; its login is judged as that of a WebSocket.
    fn judge_events(&self) -> Verdict {
        match self.sends_away() {
            Some(answer) => Verdict::Answer(answer),
            None => Verdict::Events { fields: None },
        }
    }

    fn judge_link(&self, in_force: &InForce, head: &Head, fd: Fd) -> Verdict {
        match in_force.admits_link(head.field_text("authorization")) {
            true => Verdict::PassWith {
                message_size_max: in_force.link_size_max,
            },
            false => {
                self.note(RefusalReason::LinkKey, head, fd);
                let message = "Authorization has to be Bearer and this server's uplink.key";
                let refusal = Refusal::new(ErrorCode::Unauthorized, message);
                Verdict::Answer(refusal.response())
            }
        }
    }

    /// Whether a proxy has told a client that isn't on this machine.
    fn is_from_elsewhere(&self, fd: Fd) -> bool {
        let told = self.server.get().and_then(|one| one.through_proxy(fd));
        told.is_some_and(|told| !told.client.is_loopback())
    }

    /// Whether the client of a browser's request spoke TLS, where a proxy that is believed says so.
    fn is_secure(&self, in_force: &InForce, head: &Head, fd: Fd) -> Option<bool> {
        if head.is_secure() {
            return Some(true);
        }
        if !in_force.believes_proxies || head.field("origin").is_none() {
            return None;
        }
        self.server.get()?.through_proxy(fd)?.is_secure
    }

    /// Counts a refusal, and logs it.
    fn note(&self, reason: RefusalReason, head: &Head, fd: Fd) {
        let info = self.server.get().and_then(|one| one.connection_info(fd));
        let refused = Refused {
            connection: info.map(|info| (fd.0, info.peer)),
            host: head.host(),
            origin: head.field_text("origin"),
            ..Refused::default()
        };
        self.endpoint.refusals().note(reason, refused);
    }

    /// Whether the server takes requests.
    pub(super) fn readiness(&self) -> ServerReadiness {
        let server = self.server.get();
        if let Some(failure) = server.and_then(Handle::failure) {
            return ServerReadiness::Unready(failure.to_owned().into());
        }
        let runs = server.is_some_and(|one| !one.is_stopping());
        let node = self.node.as_ref().filter(|_| runs);
        if let Some(why) = node.and_then(|node| node.shared().unready()) {
            return ServerReadiness::Unready(why.into());
        }
        match (runs, self.endpoint.is_storing()) {
            (false, _) => ServerReadiness::Stopping,
            (true, false) => ServerReadiness::Unready("store can't take messages".into()),
            (true, true) => ServerReadiness::Ready,
        }
    }
}

/// Answers requests beside the API: the client, which pages of any server may load, and the chat
/// page.
pub(super) fn beside_the_api(method: &str, path: &str, has_page: bool) -> Response {
    let asset = page::asset(path).filter(|asset| has_page || CLIENT_PATHS.contains(&asset.path));
    match (asset, path) {
        (Some(asset), _) if matches!(method, "GET" | "HEAD") => {
            let mut response = Response::new(200).field("Content-Type", asset.content_type);
            if CLIENT_PATHS.contains(&asset.path) {
                // It is no secret, and a page of another origin imports it.
                response = response.field("Access-Control-Allow-Origin", "*");
            }
            for (name, value) in page::HEADERS {
                response = response.field(name, value);
            }
            response.body(asset.body)
        }
        (Some(_), _) => method_not_allowed("GET, HEAD"),
        (None, path) if is_health_path(path) => method_not_allowed("GET, HEAD"),
        (None, "/ws") => upgrade_required(),
        (None, "/") => not_found(
            "the chat page is off; the setting page = \"on\" (TIDINGS_PAGE=on) turns it on; \
             the API begins with /v1/, and WebSockets connect to /ws",
        ),
        _ => not_found("there is nothing at this path; the API begins with /v1/"),
    }
}

/// Answers a request to the path of WebSockets that doesn't ask for one, most likely since a proxy took
/// the wish away (RFC 9110 §15.5.22).
fn upgrade_required() -> Response {
    Refusal::bad_request(
        "this is a WebSocket; connect with ws:// or wss://, and behind a proxy have it pass Upgrade \
         and Connection on",
    )
    .with_status(426)
    .response()
    .field("Upgrade", "websocket")
}

fn not_found(message: &'static str) -> Response {
    Refusal::not_found(message).response()
}
