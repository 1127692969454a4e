//! Who may talk to a server that asks for no keys: programs on this machine, and the pages that it
//! serves itself.
//!
//! A browser lets any web page open a WebSocket to 127.0.0.1 and post to it. Two header fields
//! tell: `Origin` names the page's server, and `Host` shows a foreign name that was made to point
//! here.

use std::net::IpAddr;

use tidings::api::Refusal;
use tidings::chat::ErrorCode;
use tidings::server::{Head, Response};

/// The rules; see the module.
#[derive(Debug, Clone, Default)]
pub struct SameOrigin {
    /// Origins that are let in beside the server's own, such as `https://example.com`.
    pub origins_allowed: Vec<String>,
    /// Lets any `Host` in; the origin rule stays.
    pub any_host: bool,
}

impl SameOrigin {
    /// `None` when the request may pass, otherwise the answer that refuses it.
    #[must_use]
    pub fn refuse(&self, head: &Head) -> Option<Response> {
        let host = head.host().unwrap_or_default();
        if !self.any_host && !is_loopback(host) {
            return Some(forbidden(
                "Host is neither localhost nor a loopback address; \
                 name such an address, or start the server with --insecure",
            ));
        }
        let mut origins = head.fields_named("origin");
        let origin = origins.next()?;
        let alone = origins.next().is_none();
        let allowed = std::str::from_utf8(origin).is_ok_and(|origin| self.allows(origin, host));
        if alone && allowed {
            return None;
        }
        Some(forbidden(
            "Origin is another server's; let it in with --allow-origin",
        ))
    }

    fn allows(&self, origin: &str, host: &str) -> bool {
        let own = ["http://", "https://"]
            .iter()
            .filter_map(|scheme| origin.strip_prefix(scheme))
            .any(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host));
        own || self
            .origins_allowed
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

/// Whether the name in a `Host` field, with or without a port, can only mean this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || literal
            .unwrap_or(name)
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn forbidden(message: &'static str) -> Response {
    Refusal::new(ErrorCode::Forbidden, message).response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::proto::http::{HttpLimits, parse};

    fn refused(rules: &SameOrigin, fields: &str) -> bool {
        let request = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let parsed = parse(request.as_bytes(), &mut 0, &HttpLimits::default());
        let (head, _) = parsed.expect("a valid head").expect("a whole head");
        let answer = rules.refuse(&head);
        answer.is_some_and(|answer| answer.status() == 403)
    }

    #[test]
    fn only_a_loopback_name_is_a_host() {
        let rules = SameOrigin::default();
        for host in [
            "127.0.0.1:9502",
            "127.8.8.8",
            "localhost",
            "LocalHost:80",
            "[::1]:9502",
        ] {
            assert!(!refused(&rules, &format!("Host: {host}\r\n")), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1",
        ] {
            assert!(refused(&rules, &format!("Host: {host}\r\n")), "{host}");
        }
        let rules = SameOrigin {
            any_host: true,
            ..SameOrigin::default()
        };
        assert!(!refused(&rules, "Host: chat.example\r\n"));
    }

    #[test]
    fn an_origin_has_to_be_the_servers_own_or_listed() {
        let rules = SameOrigin {
            origins_allowed: vec!["https://app.example".into()],
            ..SameOrigin::default()
        };
        let host = "Host: localhost:9502\r\n";
        for origin in [
            "http://localhost:9502",
            "https://localhost:9502",
            "https://app.example",
        ] {
            assert!(
                !refused(&rules, &format!("{host}Origin: {origin}\r\n")),
                "{origin}"
            );
        }
        for origin in [
            "null",
            "http://localhost",
            "http://app.example",
            "http://evil.example",
            "",
        ] {
            assert!(
                refused(&rules, &format!("{host}Origin: {origin}\r\n")),
                "{origin}"
            );
        }
        let two = "Origin: http://localhost:9502\r\nOrigin: http://evil.example\r\n";
        assert!(
            refused(&rules, &format!("{host}{two}")),
            "the second counts too"
        );
    }
}
