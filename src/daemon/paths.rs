//! What stands at which path, and what is decided on the reactor's thread.

use std::sync::{Arc, OnceLock};

use tidings::endpoint::{Endpoint, LINK_PATH};
use tidings::server::{Handle, Head, Response, Verdict};

use super::origin::SameOrigin;
use crate::auth::ApiKeys;
use crate::page;

/// Judges request heads.
pub(super) struct Paths {
    pub(super) rules: SameOrigin,
    /// Whether `/echo` is there.
    pub(super) echo: bool,
    /// What gateways have to show; without a key there is no `/link`.
    pub(super) link_keys: ApiKeys,
    /// Says whether messages can be stored.
    pub(super) door: Arc<Endpoint>,
    /// Set once the server runs.
    pub(super) server: OnceLock<Handle>,
}

impl Paths {
    pub(super) fn judge(&self, head: &Head) -> Verdict {
        if let Some(refusal) = self.rules.refuse(head) {
            return Verdict::Answer(refusal);
        }
        if head.asks_for_websocket() {
            return match head.path() {
                "/ws" | "/" => Verdict::Pass,
                "/echo" if self.echo => Verdict::Pass,
                LINK_PATH if !self.link_keys.is_empty() => self.judge_link(head),
                _ => Verdict::Answer(not_found("there is no WebSocket at this path; try /ws")),
            };
        }
        match (head.method(), head.path()) {
            // Here, so that a stuck worker doesn't look like death.
            ("GET" | "HEAD", "/healthz") => Verdict::Answer(status("ok")),
            ("GET" | "HEAD", "/readyz") => Verdict::Answer(self.readiness()),
            _ => Verdict::Pass,
        }
    }

    fn judge_link(&self, head: &Head) -> Verdict {
        let field = head.field_text("authorization").unwrap_or_default();
        let key = field
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match key.and_then(|(_, key)| self.link_keys.who(key.trim())) {
            Some(_) => Verdict::Pass,
            None => {
                let message = "Authorization has to be Bearer and this server's uplink.key";
                let response = error(401, "unauthorized", message);
                Verdict::Answer(response.field("WWW-Authenticate", "Bearer"))
            }
        }
    }

    fn readiness(&self) -> Response {
        let runs = self.server.get().is_some_and(|one| !one.is_stopping());
        match (runs, self.door.is_storing()) {
            (false, _) => status("stopping").with_status(503),
            (true, false) => status("store can't take messages").with_status(503),
            (true, true) => status("ready"),
        }
    }
}

fn status(status: &str) -> Response {
    Response::json(serde_json::json!({ "status": status }).to_string())
}

/// What isn't the API's: the chat page, and nothing else.
pub(super) fn beside_the_api(method: &str, path: &str, has_page: bool) -> Response {
    let asset = page::asset(path).filter(|_| has_page);
    match (asset, path) {
        (Some(asset), _) if matches!(method, "GET" | "HEAD") => {
            let mut response = Response::new(200).field("Content-Type", asset.content_type);
            for (name, value) in page::HEADERS {
                response = response.field(name, value);
            }
            response.body(asset.body)
        }
        (Some(_), _) | (None, "/healthz" | "/readyz") => {
            error(405, "bad_request", "GET, HEAD is answered here").field("Allow", "GET, HEAD")
        }
        _ => not_found("there is nothing at this path; the API begins with /v1/"),
    }
}

fn not_found(message: &str) -> Response {
    error(404, "not_found", message)
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    Response::json(body.to_string()).with_status(status)
}
