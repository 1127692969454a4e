//! Where the load goes: the URL, and the address behind it.
//!
//! A load generator that is pointed at strangers is a weapon, so an address that isn't this
//! machine's own loopback is refused unless the caller states that the target is his.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::client::socket::Place;
use crate::client::{Security, Trust};

/// What is spoken behind a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// `ws://` or `wss://`
    WebSocket,
    /// `http://` or `https://`
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
    #[error("the url must begin with {0} or {1}")]
    Scheme(&'static str, &'static str),
    /// What TLS needs isn't there.
    #[error("no TLS")]
    Security(#[source] std::io::Error),
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
    /// What begins TLS, behind `wss://` and `https://`.
    security: Option<Security>,
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
        trust: Trust<'_>,
    ) -> Result<Self, TargetError> {
        let (plain, encrypted) = match scheme {
            Scheme::WebSocket => ("ws://", "wss://"),
            Scheme::Http => ("http://", "https://"),
        };
        let (rest, port) = match (url.strip_prefix(plain), url.strip_prefix(encrypted)) {
            (Some(rest), _) => (rest, 80),
            (None, Some(rest)) => (rest, 443),
            (None, None) => return Err(TargetError::Scheme(plain, encrypted)),
        };
        let encrypts = url.starts_with(encrypted);
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
        let security = encrypts.then(|| Security::new(name, trust)).transpose();
        let path = if path.starts_with('/') {
            path.into()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            address,
            security: security.map_err(TargetError::Security)?,
            host: host.into(),
            path,
        })
    }
}

impl Target {
    /// Where sockets to it lead.
    pub(crate) fn place(&self) -> Place {
        Place {
            address: self.address,
            security: self.security.clone(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Target, TargetError> {
        Target::parse(url, Scheme::WebSocket, Ownership::Unstated, Trust::System)
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
        assert!(Target::parse(url, Scheme::WebSocket, Ownership::Mine, Trust::System).is_ok());
    }
}
