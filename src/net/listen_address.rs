//! The addresses that a server listens on, as people write them.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// The beginning of the path of a Unix socket.
const UNIX: &str = "unix:";

/// Longest path of a Unix socket in bytes: the system keeps 108, of which the last is 0.
const PATH_SIZE_MAX: usize = 107;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenAddress {
    /// An address of this machine; port 0 takes a free one.
    Ip(SocketAddr),
    /// The name of a host and a port: all addresses that the name has on this machine.
    Name(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// The text is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it takes an address and a port such as 127.0.0.1:9502, localhost:9502 or [::]:9502, or unix:PATH"
)]
pub struct NoListenAddress;

impl ListenAddress {
    /// Lists the addresses behind this one: those of a name, or itself.
    ///
    /// # Errors
    ///
    /// The system doesn't know the name.
    pub fn resolved(&self) -> io::Result<Vec<Self>> {
        let Self::Name(host, port) = self else {
            return Ok(vec![self.clone()]);
        };
        let mut addresses: Vec<Self> = Vec::new();
        for address in (&**host, *port).to_socket_addrs()? {
            let address = Self::Ip(address);
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        match addresses.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            )),
            false => Ok(addresses),
        }
    }

    /// Whether only programs of this machine can connect. A name counts by its addresses; one that
    /// isn't known counts as reachable.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
            Self::Name(..) => self
                .resolved()
                .is_ok_and(|all| all.iter().all(Self::is_loopback)),
        }
    }

    /// Returns the port; `None` for a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Name(_, port) => Some(*port),
            Self::Unix(_) => None,
        }
    }

    /// Returns the address of the network, where it is given as such.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Name(..) | Self::Unix(_) => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = NoListenAddress;

    fn from_str(text: &str) -> Result<Self, NoListenAddress> {
        if let Some(path) = text.strip_prefix(UNIX) {
            // `unix:///run/x` is what some programs write.
            let path = match path.strip_prefix("//") {
                Some(rest) if rest.starts_with('/') => rest,
                _ => path,
            };
            let fits = (1..=PATH_SIZE_MAX).contains(&path.len())
                && !path.ends_with('/')
                && !path.chars().any(char::is_control);
            return fits.then(|| Self::Unix(path.into())).ok_or(NoListenAddress);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or(NoListenAddress)?;
        let is_name = host.bytes().any(|byte| byte.is_ascii_alphabetic())
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match (is_name && is_port, port.parse()) {
            (true, Ok(port)) => Ok(Self::Name(host.to_owned(), port)),
            _ => Err(NoListenAddress),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_an_address_is_read_and_written_as_it_was() {
        for text in [
            "127.0.0.1:9502",
            "[::]:0",
            "[::1]:65535",
            "localhost:9502",
            "chat-1.example:80",
            "unix:/run/tidings.sock",
            "unix:tidings.sock",
        ] {
            let address: ListenAddress = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
        let slashes: ListenAddress = "unix:///run/t.sock".parse().unwrap();
        assert_eq!(slashes.to_string(), "unix:/run/t.sock");
        let long = format!("unix:/{}", "a".repeat(PATH_SIZE_MAX));
        for bad in [
            "",
            "localhost",
            ":9502",
            "::1:9502",
            "1.2.3:80",
            "a:",
            "a:+1",
            "a:65536",
            "a b:1",
            "unix:",
            "unix:/run/",
            "/run/t.sock",
            "http://a:80",
            &long,
        ] {
            assert_eq!(bad.parse::<ListenAddress>(), Err(NoListenAddress), "{bad}");
        }
    }

    #[test]
    fn a_unix_socket_and_a_name_of_loopback_addresses_are_loopback() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("unix:/run/t.sock", true),
            ("localhost:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("nobody.invalid:1", false),
        ] {
            let address: ListenAddress = text.parse().expect(text);
            assert_eq!(address.is_loopback(), expected, "{text}");
        }
    }
}
