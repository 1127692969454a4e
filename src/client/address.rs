//! Where a server is: one address for its WebSocket and its HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tidings::tls::TlsTrust;

/// The address of a server, as people write it: `ws://127.0.0.1:9502/ws`, `http://127.0.0.1:9502/`, or
/// `127.0.0.1:9502` alone. A path in front of `/ws` is kept, for a server behind a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// `http` or `https`.
    scheme: &'static str,
    /// Host and port.
    authority: String,
    /// What stands in front of `/ws` and `/v1/`; empty, or it begins with a slash.
    base: String,
    /// Whom to trust behind TLS.
    trust: TlsTrust,
}

impl ServerAddress {
    /// Reads an address; the error says what is wrong with it.
    ///
    /// # Errors
    ///
    /// The scheme is none of `ws`, `wss`, `http` and `https`, or there is no host.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("ws", text));
        let (scheme, port) = match scheme {
            "ws" | "http" => ("http", 80),
            "wss" | "https" => ("https", 443),
            _ => {
                let form = "it takes ws://HOST:PORT/ws or http://HOST:PORT";
                return Err(format!("{scheme}:// leads to no server: {form}"));
            }
        };
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let rest = &rest[..end];
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || authority.contains(['@', ' ']) {
            return Err("it takes a host and a port, such as ws://127.0.0.1:9502/ws".into());
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.ends_with(']'));
        let authority = match has_port {
            true => authority.to_owned(),
            false => format!("{authority}:{port}"),
        };
        let path = path.trim_end_matches('/');
        let base = path.strip_suffix("/ws").unwrap_or(path).to_owned();
        Ok(Self {
            scheme,
            authority,
            base,
            trust: TlsTrust::default(),
        })
    }

    /// The address at which this machine reaches a server that listens on `listen`.
    #[must_use]
    pub fn of_listener(listen: SocketAddr) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self {
            scheme: "http",
            authority: SocketAddr::new(ip, listen.port()).to_string(),
            base: String::new(),
            trust: TlsTrust::default(),
        }
    }

    /// Host and port, as `Host` has them.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The same address, whose certificate is trusted by these authorities and this name.
    #[must_use]
    pub fn trusting(self, trust: TlsTrust) -> Self {
        Self { trust, ..self }
    }

    /// Whom to trust, if the server is behind TLS.
    #[must_use]
    pub fn trust(&self) -> &TlsTrust {
        &self.trust
    }

    /// The host alone, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map(|(host, _)| host);
        host.unwrap_or(&self.authority).trim_matches(['[', ']'])
    }

    /// Whether the server is behind TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.scheme == "https"
    }

    /// A path below this address, as a request names it.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The chat page, for a browser.
    #[must_use]
    pub fn page(&self) -> String {
        let usual = if self.is_encrypted() { ":443" } else { ":80" };
        let authority = self.authority.strip_suffix(usual);
        let authority = authority.unwrap_or(&self.authority);
        format!("{}://{authority}{}/", self.scheme, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_an_address_leads_to_page_and_paths() {
        for (text, page, host, websocket) in [
            (
                "ws://127.0.0.1:9502/ws",
                "http://127.0.0.1:9502/",
                "127.0.0.1",
                "/ws",
            ),
            (
                "http://127.0.0.1:9502/",
                "http://127.0.0.1:9502/",
                "127.0.0.1",
                "/ws",
            ),
            (
                "127.0.0.1:9502",
                "http://127.0.0.1:9502/",
                "127.0.0.1",
                "/ws",
            ),
            ("ws://[::1]:7", "http://[::1]:7/", "::1", "/ws"),
            ("ws://[::1]/ws", "http://[::1]/", "::1", "/ws"),
            (
                "https://chat.example",
                "https://chat.example/",
                "chat.example",
                "/ws",
            ),
            ("wss://a/chat/ws", "https://a/chat/", "a", "/chat/ws"),
            ("http://a:1/?room=b#token=c", "http://a:1/", "a", "/ws"),
        ] {
            let address = ServerAddress::parse(text).expect(text);
            assert_eq!(address.page(), page, "{text}");
            assert_eq!(
                (address.host(), &*address.path("/ws")),
                (host, websocket),
                "{text}"
            );
            assert_eq!(address.is_encrypted(), page.starts_with("https"), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_the_right_form_is_named() {
        for text in ["ftp://a", "ws://", "http:///ws", "ws://me@host/ws", ""] {
            let refused = ServerAddress::parse(text).expect_err(text);
            assert!(refused.contains("ws://"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_server_on_every_address_is_reached_on_this_machine() {
        for (listen, page) in [
            ("0.0.0.0:9502", "http://127.0.0.1:9502/"),
            ("[::]:9502", "http://[::1]:9502/"),
            ("10.1.2.3:80", "http://10.1.2.3/"),
        ] {
            let listen = listen.parse().expect(listen);
            assert_eq!(ServerAddress::of_listener(listen).page(), page);
        }
    }
}
