//! The address of an upstream, and the key that the upstream asks for.

use std::fmt;

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request;
use tungstenite::http::{HeaderValue, Uri};

/// An upstream's address and key.
#[derive(Clone, PartialEq)]
pub struct Target {
    url: String,
    key: String,
    host: String,
    port: u16,
}

/// The reason why an address and a key are no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The text is no address of a WebSocket.
    #[error("it has to be an address such as ws://10.0.0.2:9502/link")]
    Url,
    /// The key can't stand in a header.
    #[error("the link key has characters that no header may have")]
    Key,
}

impl Target {
    /// Makes a target of an address such as `ws://host:port/link`.
    ///
    /// # Errors
    ///
    /// [`TargetError`].
    pub fn new(url: &str, key: &str) -> Result<Self, TargetError> {
        let uri: Uri = url.parse().map_err(|_| TargetError::Url)?;
        let host = uri.host().filter(|host| !host.is_empty());
        // Nobody would look at a user or a password there, and the address stands in logs.
        let has_user = uri.authority().is_some_and(|at| at.as_str().contains('@'));
        let is_plain = uri.scheme_str() == Some("ws") && uri.query().is_none() && !has_user;
        let host = host.filter(|_| is_plain).ok_or(TargetError::Url)?;
        let port = uri.authority().and_then(|at| at.as_str().rsplit_once(':'));
        let has_port = port.is_some_and(|(_, port)| !port.ends_with(']'));
        if has_port && uri.port_u16().is_none() {
            return Err(TargetError::Url);
        }
        let target = Self {
            url: url.to_owned(),
            key: key.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
        };
        target.request()?;
        Ok(target)
    }

    /// Returns the address as it was given, which is also the upstream's name in the outbox.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn host(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Makes the head of the handshake.
    pub(super) fn request(&self) -> Result<Request, TargetError> {
        let mut request = self
            .url
            .as_str()
            .into_client_request()
            .map_err(|_| TargetError::Url)?;
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", self.key)).map_err(|_| TargetError::Key)?;
        value.set_sensitive(true);
        request.headers_mut().insert("Authorization", value);
        Ok(request)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Target").field(&self.url).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_of_a_websocket() {
        for (url, host) in [
            ("ws://10.0.0.2:9502/link", ("10.0.0.2", 9502)),
            ("ws://push.example/link", ("push.example", 80)),
            ("ws://[::1]:7/link", ("::1", 7)),
            ("ws://localhost:1", ("localhost", 1)),
        ] {
            let target = Target::new(url, "key").unwrap();
            assert_eq!((target.host(), target.url()), (host, url));
        }
        for url in [
            "",
            "10.0.0.2:9502",
            "http://a/link",
            "wss://a/link",
            "ws:///link",
            "ws://a:99999/link",
            "ws://a/link?x=1",
            "ws://ann:hunter2@a/link",
        ] {
            assert_eq!(Target::new(url, "key"), Err(TargetError::Url), "{url}");
        }
        assert_eq!(Target::new("ws://a/link", "a\nb"), Err(TargetError::Key));
    }

    #[test]
    fn debug_shows_no_key() {
        let target = Target::new("ws://a/link", "hunter2").unwrap();
        assert_eq!(format!("{target:?}"), r#"Target("ws://a/link")"#);
        assert!(!format!("{:?}", target.request()).contains("hunter2"));
    }
}
