//! The kinds of texts that a setting can have; lists of them are kinds of values too.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use tracing_subscriber::EnvFilter;

use super::value::quoted;
use crate::auth::{Algorithm, Secret};

/// A text that means something.
pub(super) trait Text: Sized {
    /// What bounds one setting of this kind.
    type Bounds;
    /// Whether it may stand in an error message.
    const IS_PUBLIC: bool = true;

    /// Reads it; `None` for what isn't allowed.
    fn parse(text: &str, bounds: &Self::Bounds) -> Option<Self>;
    /// As it was read.
    fn show(&self) -> String;
    /// What is allowed, after "has to be".
    fn allowed(bounds: &Self::Bounds) -> String;
}

impl Text for String {
    /// Fewest and most bytes.
    type Bounds = RangeInclusive<usize>;

    fn parse(text: &str, bounds: &Self::Bounds) -> Option<Self> {
        let fits = bounds.contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }

    fn allowed(bounds: &Self::Bounds) -> String {
        format!(
            "a text of {} to {} bytes without control characters",
            bounds.start(),
            bounds.end()
        )
    }
}

impl Text for Secret {
    type Bounds = ();
    const IS_PUBLIC: bool = false;

    fn parse(text: &str, (): &()) -> Option<Self> {
        Some(Self::from(text.to_owned()))
    }

    fn show(&self) -> String {
        self.reveal().to_owned()
    }

    fn allowed((): &()) -> String {
        "a text".into()
    }
}

impl Text for SocketAddr {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn allowed((): &()) -> String {
        "an IP address and a port, such as 127.0.0.1:9502 or [::]:9502".into()
    }
}

/// A PEM block, which has lines of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pem(pub String);

impl Text for Pem {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        (text.is_empty() || text.contains("-----BEGIN ")).then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }

    fn allowed((): &()) -> String {
        "a PEM block, -----BEGIN PUBLIC KEY----- and so on".into()
    }
}

/// The origin of a web page or an app, as browsers send it: scheme, host and port if it isn't the
/// usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub String);

/// The parts of an origin (RFC 6454 §4).
#[derive(Debug, Clone, Copy)]
pub struct OriginParts<'a> {
    /// `https`, or that of an app, such as `capacitor`.
    pub scheme: &'a str,
    /// A name or an address; one of IPv6 stands in brackets.
    pub host: &'a str,
    /// The port, if it is written.
    pub port: Option<u16>,
}

impl<'a> OriginParts<'a> {
    /// Takes `scheme://host[:port]` apart; `None` for anything else.
    pub fn of(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (host, port) = host_and_port(authority)?;
        let begins = scheme.starts_with(|first: char| first.is_ascii_alphabetic());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        (begins && scheme.bytes().all(plain)).then_some(Self { scheme, host, port })
    }

    /// The port that is meant; `None` for a scheme without a usual one.
    fn port_meant(&self) -> Option<u16> {
        self.port.or_else(|| usual_port(self.scheme))
    }
}

impl PartialEq for OriginParts<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host.eq_ignore_ascii_case(other.host)
            && self.port_meant() == other.port_meant()
    }
}

/// The port that a scheme has where none is written.
pub fn usual_port(scheme: &str) -> Option<u16> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    if is("http") || is("ws") {
        Some(80)
    } else if is("https") || is("wss") {
        Some(443)
    } else {
        None
    }
}

/// Takes `host[:port]` apart, as it stands in `Host` and behind a scheme; `None` for anything else.
pub fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    let literal = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let fits = match literal {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(plain)
        }
    };
    fits.then_some((host, port))
}

impl Text for Origin {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        OriginParts::of(text).map(|_| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }

    fn allowed((): &()) -> String {
        "an origin without a path, such as https://app.example".into()
    }
}

/// How much is logged, as `tracing-subscriber` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(pub String);

impl Text for LogLevel {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        let fits = !text.is_empty() && text.parse::<EnvFilter>().is_ok();
        fits.then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }

    fn allowed((): &()) -> String {
        "error, warn, info, debug, or parts such as info,tidings::net=debug".into()
    }
}

/// One of a few words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Each with its word.
    const ALL: &'static [(&'static str, Self)];
}

macro_rules! choice {
    ($($name:ty),*) => {$(
        impl Text for $name {
            type Bounds = ();

            fn parse(text: &str, (): &()) -> Option<Self> {
                let found = Self::ALL.iter().find(|(word, _)| *word == text)?;
                Some(found.1)
            }

            fn show(&self) -> String {
                let found = Self::ALL.iter().find(|(_, choice)| choice == self);
                found.map(|(word, _)| *word).unwrap_or_default().to_owned()
            }

            fn allowed((): &()) -> String {
                let words: Vec<String> = Self::ALL.iter().map(|(word, _)| quoted(word)).collect();
                format!("one of {}", words.join(", "))
            }
        }
    )*};
}
choice!(LogFormat, Page, Algorithm);

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A line an event.
    Json,
}

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// Whether the chat page is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Only in open mode.
    Open,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Choice for Page {
    const ALL: &'static [(&'static str, Self)] =
        &[("open", Self::Open), ("on", Self::On), ("off", Self::Off)];
}

impl Choice for Algorithm {
    const ALL: &'static [(&'static str, Self)] = &[
        ("HS256", Self::HS256),
        ("RS256", Self::RS256),
        ("ES256", Self::ES256),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_equal_by_what_they_mean() {
        let of = |text| OriginParts::of(text).unwrap();
        for (one, other) in [
            ("https://app.example", "HTTPS://App.Example:443"),
            ("http://a", "http://a:80"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(of(one), of(other));
        }
        for (one, other) in [
            ("https://a", "http://a"),
            ("https://a", "https://a:80"),
            ("https://a", "https://b"),
            ("capacitor://localhost", "ionic://localhost"),
            ("capacitor://localhost", "capacitor://localhost:80"),
        ] {
            assert_ne!(of(one), of(other));
        }
    }

    #[test]
    fn an_origin_has_neither_path_nor_wildcard() {
        let parse = |text| <Origin as Text>::parse(text, &());
        for good in [
            "https://app.example",
            "http://localhost:8080",
            "http://[::1]:80",
            "http://[::1]",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
            "web+app://a_b:65535",
        ] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "*",
            "https://*",
            "https://",
            "app.example",
            "https://a/",
            "null",
            "://a",
            "+a://a",
            "http://a:b",
            "http://a:65536",
            "http://:80",
            "http://[a]",
            "http://u@a",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
