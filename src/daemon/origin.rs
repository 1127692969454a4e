//! The check of where requests come from, for a server that asks for no keys: only programs on this
//! machine, and the pages that the server serves itself, may talk to it.
//!
//! A browser lets any web page open a WebSocket to 127.0.0.1 and post to it. Two header fields
//! tell: `Origin` names the page's server, and `Host` shows a foreign name that was made to point
//! here. A proxy on this machine would make everybody a program on this machine; the fields that
//! proxies add tell.

use std::borrow::Cow;
use std::net::IpAddr;

use tidings::api::{Refusal, RefusalReason};
use tidings::chat::ErrorCode;
use tidings::server::{Head, Response};

use super::cross_origin::is_open_to_all;
use crate::config::{OriginParts, host_and_port, usual_port};

/// Bytes of a foreign `Host` or `Origin` that a refusal repeats: the longest name of a host has 253.
const SHOWN_MAX: usize = 300;

/// The fields with which proxies say for whom they ask; beside these, all that begin with
/// `X-Forwarded-`.
const PROXY_FIELDS: [&str; 3] = ["forwarded", "via", "x-real-ip"];

/// The rules for the fields of a request head.
#[derive(Debug, Clone, Default)]
pub struct SameOrigin {
    /// Origins that are let in beside the server's own, such as `https://example.com`.
    pub origins_allowed: Vec<String>,
    /// Lets any `Host` and any proxy in; the origin rule stays.
    pub any_host: bool,
}

/// A request that is refused for where it comes from.
#[derive(Debug)]
pub struct OriginRefusal {
    /// The reason, for the log and the counters of refusals.
    pub reason: RefusalReason,
    /// The answer that the client gets.
    pub response: Response,
}

impl OriginRefusal {
    fn new(reason: RefusalReason, message: impl Into<Cow<'static, str>>) -> Self {
        let refusal = Refusal::new(ErrorCode::Forbidden, message);
        Self {
            reason,
            response: refusal.response(),
        }
    }
}

impl SameOrigin {
    /// Judges a request whose client spoke TLS or not, as far as that is known; gives the reason and the
    /// answer if the request is refused, `None` if it may pass.
    #[must_use]
    pub fn refuse(&self, head: &Head, is_secure: Option<bool>) -> Option<OriginRefusal> {
        // No browser leaves Host out; an old program may (HTTP/1.0), and then it names no wrong one.
        if !self.any_host && head.host().is_some_and(|host| !is_loopback(host)) {
            return Some(OriginRefusal::new(
                RefusalReason::Host,
                "Host is neither localhost nor a loopback address; \
                 name such an address, or start the server with --insecure",
            ));
        }
        if !self.any_host
            && let Some(name) = proxy_field(head)
        {
            let message = format!(
                "{name} shows a proxy, and a server without keys is for this machine only; \
                 make keys with `tidings init`, or start the server with --insecure"
            );
            return Some(OriginRefusal::new(RefusalReason::Proxy, message));
        }
        if is_open_to_all(head) {
            return None;
        }
        let host = head.host().unwrap_or_default();
        let mut origins = head.fields_named("origin");
        let Some(origin) = origins.next() else {
            return is_of_a_foreign_page(head).then(|| {
                let message = "Sec-Fetch-Site shows a page of another site; it has to fetch with \
                    CORS, and its origin has to be let in with --allow-origin";
                OriginRefusal::new(RefusalReason::Origin, message)
            });
        };
        let alone = origins.next().is_none();
        let origin = String::from_utf8_lossy(origin);
        if alone && self.allows(&origin, host, is_secure) {
            return None;
        }
        let message = foreign_origin(&origin, host);
        Some(OriginRefusal::new(RefusalReason::Origin, message))
    }

    fn allows(&self, origin: &str, host: &str, is_secure: Option<bool>) -> bool {
        let Some(parts) = OriginParts::of(origin) else {
            // No browser sends an origin without a scheme; load tools do.
            return is_own_name(origin, host);
        };
        let allowed = self.origins_allowed.iter();
        is_own(parts, host, is_secure)
            || allowed
                .filter_map(|allowed| OriginParts::of(allowed))
                .any(|allowed| allowed == parts)
    }
}

/// Whether a browser asks for the API on behalf of a page of another site, without its origin: as an
/// image, a script, a form or a link, none of which the API is for.
fn is_of_a_foreign_page(head: &Head) -> bool {
    let mut sites = head.fields_named("sec-fetch-site");
    head.path().starts_with("/v1/") && sites.any(|site| site.eq_ignore_ascii_case(b"cross-site"))
}

/// Whether an origin is the server that `Host` names. Without a port there, the origin's scheme
/// says which one is meant: a proxy may speak TLS before this server. Where it is known whether the client
/// spoke TLS, only the scheme that goes with it is the server's own.
fn is_own(origin: OriginParts<'_>, host: &str, is_secure: Option<bool>) -> bool {
    let own_scheme = is_secure.map(|is_secure| if is_secure { "https" } else { "http" });
    if own_scheme.is_some_and(|own| !origin.scheme.eq_ignore_ascii_case(own)) {
        return false;
    }
    let usual = usual_port(origin.scheme);
    let own = host_and_port(host);
    usual.is_some()
        && own.is_some_and(|(name, port)| {
            name.eq_ignore_ascii_case(origin.host) && port.or(usual) == origin.port.or(usual)
        })
}

/// Whether an origin without a scheme is the name in `Host`, and the port where it says one.
fn is_own_name(origin: &str, host: &str) -> bool {
    match (host_and_port(origin), host_and_port(host)) {
        (Some((origin, port)), Some((name, own_port))) => {
            origin.eq_ignore_ascii_case(name) && (port.is_none() || port == own_port)
        }
        _ => false,
    }
}

/// Finds the first field of a request that a proxy added.
fn proxy_field(head: &Head) -> Option<Cow<'_, str>> {
    let mut names = head.field_names();
    let name = names.find(|name| is_of_a_proxy(name))?;
    Some(cut(std::str::from_utf8(name).unwrap_or_default()).into())
}

fn is_of_a_proxy(name: &[u8]) -> bool {
    let forwarded = name.get(.."x-forwarded-".len());
    forwarded.is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
        || (PROXY_FIELDS.iter()).any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
}

/// Says which Origin would be right.
fn foreign_origin(origin: &str, host: &str) -> String {
    let (origin, host) = (cut(origin), cut(host));
    let own = match host {
        "" => String::new(),
        host => format!("send http://{host} or none, or "),
    };
    format!("Origin {origin:?} is another server's; {own}let it in with --allow-origin")
}

/// Returns the beginning of a foreign text.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_MAX)]
}

/// Whether the name in a `Host` field, with or without a port, can only mean this machine.
fn is_loopback(host: &str) -> bool {
    let digits = host.bytes().rev().take_while(u8::is_ascii_digit).count();
    let name = match &host[..host.len() - digits] {
        // Nearly every request names it so.
        "127.0.0.1:" => return true,
        name => name.strip_suffix(':').unwrap_or(host),
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::proto::http::{HttpLimits, parse};

    fn refused(rules: &SameOrigin, fields: &str) -> bool {
        let request = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        let parsed = parse(request.as_bytes(), &mut 0, &HttpLimits::default());
        let (head, _) = parsed.expect("a valid head").expect("a whole head");
        let answer = rules.refuse(&head, None);
        answer.is_some_and(|answer| answer.response.status() == 403)
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
    fn the_origin_of_an_app_is_compared_whole() {
        let rules = SameOrigin {
            origins_allowed: vec!["capacitor://localhost".into()],
            ..SameOrigin::default()
        };
        let host = "Host: localhost:9502\r\n";
        for (origin, is_refused) in [
            ("capacitor://localhost", false),
            ("capacitor://evil", true),
            ("ionic://localhost", true),
        ] {
            let fields = format!("{host}Origin: {origin}\r\n");
            assert_eq!(refused(&rules, &fields), is_refused, "{origin}");
        }
    }

    #[test]
    fn what_came_through_a_proxy_is_refused_where_no_keys_are_asked_for() {
        let host = "Host: 127.0.0.1:9502\r\n";
        let behind = SameOrigin {
            any_host: true,
            ..SameOrigin::default()
        };
        for field in [
            "X-Forwarded-For: 203.0.113.9",
            "x-forwarded-proto: https",
            "X-Real-IP: 203.0.113.9",
            "Forwarded: for=203.0.113.9",
            "Via: 1.1 proxy",
        ] {
            let fields = format!("{host}{field}\r\n");
            assert!(refused(&SameOrigin::default(), &fields), "{field}");
            assert!(!refused(&behind, &fields), "{field}");
        }
        let fields = format!("{host}X-Forward: x\r\n");
        assert!(!refused(&SameOrigin::default(), &fields));
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
            "HTTPS://App.Example:443",
            // As tsung sends it.
            "localhost",
            "localhost:9502",
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
            "https://app.example:444",
            "capacitor://localhost:9502",
            "evil.example",
            "localhost:9503",
            "",
        ] {
            assert!(
                refused(&rules, &format!("{host}Origin: {origin}\r\n")),
                "{origin}"
            );
        }
        let usual = "Host: localhost\r\n";
        for (origin, is_refused) in [
            ("http://localhost", false),
            ("http://localhost:80", false),
            ("https://localhost", false),
            ("https://localhost:80", true),
        ] {
            let fields = format!("{usual}Origin: {origin}\r\n");
            assert_eq!(refused(&rules, &fields), is_refused, "{origin}");
        }
        let two = "Origin: http://localhost:9502\r\nOrigin: http://evil.example\r\n";
        assert!(
            refused(&rules, &format!("{host}{two}")),
            "the second counts too"
        );
    }
}
