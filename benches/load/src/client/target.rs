//! Where the load goes: the URL, the address behind it, and the addresses it comes from.
//!
//! A load generator that is pointed at strangers is a weapon, so an address that isn't this
//! machine's own loopback is refused unless the caller states that the target is his.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// Connections that one source address can surely hold at once: Linux gives it 28,232 local ports.
const CONNECTIONS_PER_SOURCE: usize = 20_000;

/// What is spoken behind a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `ws://`
    WebSocket,
    /// `http://`
    Http,
}

/// What the caller said about whose machine the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Nothing: only loopback is allowed.
    Unstated,
    /// `--target-is-mine`.
    Mine,
}

/// A URL that cannot or must not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TargetError {
    /// The URL has another scheme than the mode speaks.
    #[error("the url must begin with {0}")]
    Scheme(&'static str),
    /// The URL has no host, a wrong port, or bytes that belong in no request line.
    #[error("the url {0:?} has no valid host, port or path")]
    Malformed(String),
    /// The name has no address.
    #[error("no address found for {0:?}")]
    Unresolved(String, #[source] std::io::Error),
    /// The address is not on this machine.
    #[error(
        "{0} is not a loopback address: a load generator pointed at others is a weapon. \
         If the server is yours, say --target-is-mine"
    )]
    NotLoopback(SocketAddr),
}

/// A server to put under load, by one address.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The address that is connected to.
    pub(crate) address: SocketAddr,
    /// The `Host` field: host, and port when the URL has one.
    pub(crate) host: String,
    /// Path and query, at least `/`.
    pub(crate) path: String,
}

impl Target {
    /// Reads a URL, looks up its address and checks whose it is.
    ///
    /// # Errors
    ///
    /// The URL can't be used, or points at somebody else's machine; see [`TargetError`].
    pub(crate) fn parse(
        url: &str,
        scheme: Scheme,
        ownership: Ownership,
    ) -> Result<Self, TargetError> {
        let (prefix, port) = match scheme {
            Scheme::WebSocket => ("ws://", 80),
            Scheme::Http => ("http://", 80),
        };
        let rest = url
            .strip_prefix(prefix)
            .ok_or(TargetError::Scheme(prefix))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let malformed = || TargetError::Malformed(url.into());
        if host.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed());
        }
        let (name, port) = split_port(host, port).ok_or_else(malformed)?;
        let address = resolve(name, port)?;
        if ownership == Ownership::Unstated && !address.ip().is_loopback() {
            return Err(TargetError::NotLoopback(address));
        }
        let path = if path.starts_with('/') {
            path.into()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            address,
            host: host.into(),
            path,
        })
    }
}

fn split_port(host: &str, default: u16) -> Option<(&str, u16)> {
    let bare = |name: &'_ str| name.len() - name.trim_start_matches('[').len();
    let after = host.rfind(']').map_or(0, |end| end + 1);
    let (name, port) = match host[after..].find(':') {
        Some(colon) => (
            &host[..after + colon],
            host[after + colon + 1..].parse().ok()?,
        ),
        None => (host, default),
    };
    let name = if bare(name) == 1 {
        name[1..].strip_suffix(']')?
    } else {
        name
    };
    (!name.is_empty() && !name.contains('@')).then_some((name, port))
}

fn resolve(name: &str, port: u16) -> Result<SocketAddr, TargetError> {
    let unresolved = |error| TargetError::Unresolved(name.into(), error);
    let mut addresses = (name, port).to_socket_addrs().map_err(unresolved)?;
    addresses
        .next()
        .ok_or_else(|| unresolved(std::io::ErrorKind::NotFound.into()))
}

/// The local addresses that connections come from.
///
/// One address has some 28,000 local ports towards one server. Every address of 127.0.0.0/8 is this
/// machine's, so more connections than that come from 127.0.0.2, 127.0.0.3 and so on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources {
    count: usize,
}

impl Sources {
    /// Takes as many addresses as asked, or as `connections` (ever made, not at once) need.
    ///
    /// Only IPv4 loopback has addresses to spare; elsewhere there is one, whatever is asked.
    pub(crate) fn new(target: &Target, asked: Option<usize>, connections: usize) -> Self {
        let v4_loopback = matches!(target.address.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let needed = asked.unwrap_or_else(|| connections.div_ceil(CONNECTIONS_PER_SOURCE));
        Self {
            count: if v4_loopback { needed.clamp(1, 250) } else { 1 },
        }
    }

    /// The address to bind for the `index`-th connection; `None` leaves it to the system.
    pub(crate) fn source_of(&self, index: usize) -> Option<SocketAddr> {
        let last = 2 + (index % self.count) as u8;
        (self.count > 1).then(|| (Ipv4Addr::new(127, 0, 0, last), 0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(url, Scheme::WebSocket, Ownership::Unstated)
    }

    #[test]
    fn a_url_gives_address_host_and_path() {
        for (url, address, host, path) in [
            (
                "ws://127.0.0.1:9502/echo",
                "127.0.0.1:9502",
                "127.0.0.1:9502",
                "/echo",
            ),
            ("ws://127.0.0.9", "127.0.0.9:80", "127.0.0.9", "/"),
            ("ws://[::1]:81?a=b#c", "[::1]:81", "[::1]:81", "/?a=b"),
        ] {
            let target = parse(url).unwrap();
            assert_eq!(target.address, address.parse().unwrap(), "{url}");
            assert_eq!(
                (target.host.as_str(), target.path.as_str()),
                (host, path),
                "{url}"
            );
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in [
            "",
            "ws://",
            "ws://:80/",
            "http://127.0.0.1/",
            "ws://127.0.0.1:99999/",
            "ws://127.0.0.1/a b",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_stranger_is_refused_unless_claimed() {
        let url = "ws://192.0.2.1:80/";
        let error = parse(url).unwrap_err().to_string();
        assert!(error.contains("--target-is-mine"), "{error}");
        assert!(Target::parse(url, Scheme::WebSocket, Ownership::Mine).is_ok());
    }

    #[test]
    fn many_connections_come_from_many_addresses() {
        let target = parse("ws://127.0.0.1:1/").unwrap();
        assert_eq!(Sources::new(&target, None, 20_000).source_of(7), None);
        let sources = Sources::new(&target, None, 50_000);
        assert_eq!(sources.source_of(3), sources.source_of(0));
        assert_eq!(sources.source_of(4), Some("127.0.0.3:0".parse().unwrap()));
    }
}
