//! The types of text that a setting can have; a list of any of them is a kind of value too.

use std::ops::RangeInclusive;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use super::origin::OriginParts;
use super::quote::quoted;
use crate::auth::{Algorithm, Secret};
use tidings::cluster::ClusterPromise;
use tidings::server::ProxyHeader;
use tidings::server::TlsVersion;

/// A type of setting that is written as text.
pub(super) trait SettingText: Sized {
    /// The limits that one setting of this type has.
    type Bounds;
    /// Whether such a text may stand in an error message.
    const IS_PUBLIC: bool = true;

    /// Reads a text; `None` when it isn't allowed.
    fn parse(text: &str, bounds: &Self::Bounds) -> Option<Self>;
    /// Writes the setting as text that [`SettingText::parse`] reads.
    fn show(&self) -> String;
    /// The rule that a text has to meet, as the end of a sentence that begins with "has to be".
    fn allowed(bounds: &Self::Bounds) -> String;
}

impl SettingText for String {
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

impl SettingText for Secret {
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

/// Who may connect to Unix sockets, in the digits that `chmod` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(pub u32);

impl SettingText for SocketMode {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        let is_octal =
            matches!(text.len(), 3..=4) && text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal)?;
        (mode <= 0o777).then_some(Self(mode))
    }

    fn show(&self) -> String {
        format!("{:04o}", self.0)
    }

    fn allowed((): &()) -> String {
        "the mode of a file in octal digits, such as \"0660\" or \"0666\"".into()
    }
}

/// The oldest version of TLS that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsVersionSetting(pub TlsVersion);

impl WordChoice for TlsVersionSetting {
    const ALL: &'static [(&'static str, Self)] = &[
        ("1.2", Self(TlsVersion::V1_2)),
        ("1.3", Self(TlsVersion::V1_3)),
    ];
}

/// A PEM block, which has lines of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pem(pub String);

impl SettingText for Pem {
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

impl SettingText for Origin {
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

/// The level of the log, as `tracing-subscriber` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(pub String);

impl LogLevel {
    /// The levels, from nothing to everything.
    const WORDS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, &()).ok_or_else(|| format!("has to be {}", Self::allowed(&())))
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, &()).ok_or_else(|| format!("has to be {}", Self::allowed(&())))
    }
}

impl SettingText for LogLevel {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        // To the filter a lone word that is no level is the name of a module, of which it then logs
        // everything; here that would be a mistyped level.
        let fits = |part: &str| {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            Self::WORDS.contains(&level.to_ascii_lowercase().as_str())
        };
        let fits = text.split(',').all(fits) && text.parse::<EnvFilter>().is_ok();
        fits.then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }

    fn allowed((): &()) -> String {
        "off, error, warn, info, debug or trace, or parts such as info,tidings::net=debug".into()
    }
}

/// A setting that is one of a few words.
pub(super) trait WordChoice: Copy + PartialEq + 'static {
    /// Every choice with its word.
    const ALL: &'static [(&'static str, Self)];
}

macro_rules! choice {
    ($($name:ty),*) => {$(
        impl SettingText for $name {
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
choice!(
    TlsVersionSetting,
    LogFormat,
    PageMode,
    Algorithm,
    BindingPlace,
    ClusterPromise,
    ProxyHeader
);

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Each line is text for people.
    Text,
    /// Each line is a JSON object.
    Json,
}

impl WordChoice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// The condition under which the chat page is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageMode {
    /// The page is served in open mode only.
    Open,
    /// The page is always served.
    On,
    /// The page is never served.
    Off,
}

impl PageMode {
    /// Whether the page is served, by a server that is in open mode or not.
    #[must_use]
    pub fn is_on(self, is_open: bool) -> bool {
        match self {
            Self::Open => is_open,
            Self::On => true,
            Self::Off => false,
        }
    }
}

impl WordChoice for PageMode {
    const ALL: &'static [(&'static str, Self)] =
        &[("open", Self::Open), ("on", Self::On), ("off", Self::Off)];
}

/// Where bindings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingPlace {
    /// In the process.
    Memory,
    /// In Redis, too.
    Redis,
    /// In MySQL, too.
    MySql,
}

impl WordChoice for BindingPlace {
    const ALL: &'static [(&'static str, Self)] = &[
        ("memory", Self::Memory),
        ("redis", Self::Redis),
        ("mysql", Self::MySql),
    ];
}

impl WordChoice for ClusterPromise {
    const ALL: &'static [(&'static str, Self)] = &Self::ALL;
}

impl WordChoice for Algorithm {
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
    fn a_mistyped_level_is_none() {
        for good in [
            "info",
            "INFO",
            "off",
            "warn,tidings::net=debug",
            "tidings=trace",
        ] {
            assert!(good.parse::<LogLevel>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "verbose",
            "info,",
            "tidings",
            "info,tidings=loud",
            "3 4",
        ] {
            let error = bad.parse::<LogLevel>().expect_err(bad);
            assert!(error.contains("error, warn, info, debug"), "{bad}: {error}");
        }
    }

    #[test]
    fn an_origin_has_neither_path_nor_wildcard() {
        let parse = |text| <Origin as SettingText>::parse(text, &());
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
