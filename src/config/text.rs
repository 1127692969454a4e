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

/// The origin of a web page, as browsers send it: scheme, host and port if it isn't the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub String);

impl Text for Origin {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let fits = matches!(scheme, "http" | "https")
            && !authority.is_empty()
            && authority.bytes().all(plain);
        fits.then(|| Self(text.to_owned()))
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
    fn an_origin_has_neither_path_nor_wildcard() {
        let parse = |text| <Origin as Text>::parse(text, &());
        for good in [
            "https://app.example",
            "http://localhost:8080",
            "http://[::1]:80",
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
            "ftp://a",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
