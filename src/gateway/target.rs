//! The address of an upstream, the key that the upstream asks for, and whom to trust there.

use std::fmt;

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request;
use tungstenite::http::{HeaderValue, Uri};

use crate::tls::TlsTrust;

/// An upstream's address and key.
#[derive(Clone, PartialEq)]
pub struct Target {
    url: String,
    key: String,
    host: String,
    port: u16,
    /// Whom to trust, if the link goes by TLS.
    trust: Option<TlsTrust>,
}

/// The reason why an address and a key are no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The text is no address of a WebSocket.
    #[error("it has to be an address such as ws://10.0.0.2:9502/link or wss://push.example/link")]
    Url,
    /// The address asks for TLS, and this program has none.
    #[error("this program was built without TLS (feature `tls`), which wss:// asks for")]
    NoTls,
    /// The key can't stand in a header.
    #[error("the link key has characters that no header may have")]
    Key,
}

impl Target {
    /// Makes a target of an address such as `ws://host:port/link`, port 80 if there is none, or
    /// `wss://host:port/link`, port 443. By TLS the authorities of the system are trusted.
    ///
    /// # Errors
    ///
    /// [`TargetError`].
    pub fn new(url: &str, key: &str) -> Result<Self, TargetError> {
        let uri: Uri = url.parse().map_err(|_| TargetError::Url)?;
        let host = uri.host().filter(|host| !host.is_empty());
        // Nobody would look at a user or a password there, and the address stands in logs.
        let has_user = uri.authority().is_some_and(|at| at.as_str().contains('@'));
        let (encrypts, usual_port) = match uri.scheme_str() {
            Some("ws") => (false, 80),
            Some("wss") => (true, 443),
            _ => return Err(TargetError::Url),
        };
        if encrypts && !cfg!(feature = "tls") {
            return Err(TargetError::NoTls);
        }
        let is_bare = uri.query().is_none() && !has_user;
        let host = host.filter(|_| is_bare).ok_or(TargetError::Url)?;
        let port = uri.authority().and_then(|at| at.as_str().rsplit_once(':'));
        let has_port = port.is_some_and(|(_, port)| !port.ends_with(']'));
        if has_port && uri.port_u16().is_none() {
            return Err(TargetError::Url);
        }
        let target = Self {
            url: url.to_owned(),
            key: key.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(usual_port),
            trust: encrypts.then(TlsTrust::default),
        };
        target.request()?;
        Ok(target)
    }

    /// The same target, where these authorities and this name are trusted, if the link goes by TLS.
    #[must_use]
    pub fn trusting(self, trust: &TlsTrust) -> Self {
        let trust = self.trust.map(|_| trust.clone());
        Self { trust, ..self }
    }

    /// Whom to trust; `None` if the link doesn't go by TLS.
    pub(super) fn trust(&self) -> Option<&TlsTrust> {
        self.trust.as_ref()
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
            #[cfg(feature = "tls")]
            ("wss://push.example/link", ("push.example", 443)),
            #[cfg(feature = "tls")]
            ("wss://[::1]:7/link", ("::1", 7)),
        ] {
            let target = Target::new(url, "key").unwrap();
            assert_eq!((target.host(), target.url()), (host, url));
        }
        for url in [
            "",
            "10.0.0.2:9502",
            "http://a/link",
            "https://a/link",
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
    #[cfg(not(feature = "tls"))]
    fn a_target_by_tls_is_refused_where_there_is_none() {
        assert_eq!(Target::new("wss://a/link", "key"), Err(TargetError::NoTls));
    }

    #[test]
    #[cfg(feature = "tls")]
    fn whom_to_trust_tells_targets_by_tls_apart_and_no_others() {
        let other = TlsTrust::new(None, Some("push.example"));
        for (url, tells) in [("ws://a/link", false), ("wss://a/link", true)] {
            let target = Target::new(url, "key").unwrap();
            let trusting = target.clone().trusting(&other);
            assert_eq!(target != trusting, tells, "{url}");
            assert_eq!(trusting.trust().is_some(), tells, "{url}");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let target = Target::new("ws://a/link", "hunter2").unwrap();
        assert_eq!(format!("{target:?}"), r#"Target("ws://a/link")"#);
        assert!(!format!("{:?}", target.request()).contains("hunter2"));
    }
}
