//! Settings for two machines: the gateway's, and those of the server that it links to.

use std::path::PathBuf;

use super::load::Loader;
use super::section::section;
use super::types::SettingText;
use super::{Loaded, Settings};
use crate::auth::Secret;
use tidings::gateway::{Target, TargetError};
use tidings::link::LinkSettings;
use tidings::tls::{TlsDialer, TlsError, TlsTrust};

/// A day, in milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

section! {
    /// Gateways on other machines: they bring messages to `/link`, and say
    /// `Authorization: Bearer KEY`. Whoever has this key may send as anybody.
    UplinkSection {
        /// The key; without one there is no `/link`.
        key: Secret = Secret::default(), by reload;
        /// A file with the key instead; one line break at its end doesn't count.
        key_file: String = String::new(), within 0..=4_096, by reload;
    }
}

section! {
    /// `tidings gateway`: takes messages by HTTP, keeps them on disk, and brings them to servers on
    /// other machines. It takes `listen`, `[api_keys]`, `[http]` and so on from this file too, but
    /// listens on port 9501 if nothing else is said.
    GatewaySection {
        /// Servers to bring messages to, such as "ws://10.0.0.2:9502/link", or by TLS
        /// "wss://push.example/link"; each gets every one.
        upstreams: Vec<UpstreamUrl> = Vec::new(), by reload;
        /// File with the certificates, PEM, of the authorities that may have signed those of wss://
        /// upstreams. Empty: those that the system trusts.
        ca_file: String = String::new(), within 0..=4_096, by reload;
        /// Name that the certificates of wss:// upstreams are for, where it isn't the host of the address.
        server_name: String = String::new(), within 0..=255, by reload;
        /// The key that they ask for, as it stands in their `uplink.key`.
        link_key: Secret = Secret::default(), by reload;
        /// A file with the key instead; one line break at its end doesn't count.
        link_key_file: String = String::new(), within 0..=4_096, by reload;
        /// Folder of the outbox. Each gateway has its own; a copy must not be used.
        data: String = String::from("tidings-outbox"), within 1..=4_096, by restart;
        /// Name by which upstreams know this gateway; a label, no more.
        name: String = String::from("gateway"), within 1..=64, by reload;
        /// The outbox at most, in bytes; a message more is refused with 503 until the upstreams
        /// have acknowledged some.
        outbox_size_max: u64 = 1_073_741_824, within 1 << 20..=1 << 40, by reload;
        /// Time within which a message with the same id is the same message, in milliseconds.
        repeat_ms: u64 = 300_000, within 0..=DAY_MS, by reload;
        /// Time between two signs of life on a link, in milliseconds.
        ping_ms: u64 = 2_000, within 50..=DAY_MS, by reload;
        /// Silence after which a link is made anew, in milliseconds.
        silence_ms_max: u64 = 6_000, within 100..=DAY_MS, by reload;
        /// Pause before the first try to make a link again, in milliseconds; each further one is
        /// half as long again.
        retry_ms_min: u64 = 1_000, within 10..=DAY_MS, by reload;
        /// Longest pause before a try, in milliseconds.
        retry_ms_max: u64 = 10_000, within 10..=DAY_MS, by reload;
        /// Messages on the way to an upstream at most.
        on_way_max: usize = 1_024, within 1..=65_536, by reload;
        /// Time for what is on the way at a stop, in milliseconds; the rest stays in the outbox.
        drain_ms_max: u64 = 8_000, within 0..=DAY_MS, by upgrade;
        /// Time for which acknowledgements of upstreams are collected before they are written to disk,
        /// in milliseconds; a message whose acknowledgement a crash loses is only sent again.
        settle_ms: u64 = 200, within 0..=DAY_MS, by reload;
    }
}

/// The address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl(pub String);

impl SettingText for UpstreamUrl {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        match Target::new(text, "key") {
            // The plan says what is missing.
            Ok(_) | Err(TargetError::NoTls) => Some(Self(text.to_owned())),
            Err(_) => None,
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }

    fn allowed((): &()) -> String {
        "an address such as ws://10.0.0.2:9502/link or wss://push.example/link".into()
    }
}

/// The work of `tidings gateway`: the outbox in which messages wait, and the servers that they go
/// to.
#[derive(Debug)]
pub struct GatewayPlan {
    /// The servers that get every message.
    pub upstreams: Vec<Target>,
    /// The folder of the outbox.
    pub directory: PathBuf,
    /// Times and bounds of the links.
    pub link: LinkSettings,
}

impl Loaded {
    /// Makes the settings that only a gateway needs.
    ///
    /// # Errors
    ///
    /// The gateway has no upstream or no key; the text says how to mend it.
    pub fn gateway(&self) -> Result<GatewayPlan, String> {
        let gateway = &self.settings.gateway;
        let Some(key) = &self.link_key else {
            return Err(
                "a gateway needs the key of its upstreams: gateway.link_key, \
                 gateway.link_key_file, TIDINGS_GATEWAY_LINK_KEY or --link-key"
                    .into(),
            );
        };
        if gateway.upstreams.is_empty() {
            return Err("a gateway needs an upstream: gateway.upstreams or \
                 --upstream ws://10.0.0.2:9502/link"
                .into());
        }
        let mut upstreams = Vec::new();
        for url in &gateway.upstreams {
            let target = Target::new(&url.0, key.reveal());
            let target = target.map_err(|error| format!("{}: {error}", url.0))?;
            let target = target.trusting(&self.upstream_trust);
            if upstreams.contains(&target) {
                return Err(format!("{} is an upstream twice", url.0));
            }
            upstreams.push(target);
        }
        Ok(GatewayPlan {
            upstreams,
            directory: PathBuf::from(&gateway.data),
            link: self.settings.link(),
        })
    }
}

impl Loaded {
    /// Says why upstreams by TLS couldn't be trusted on this machine, if there are any and it is so.
    #[must_use]
    pub fn upstreams_by_tls(&self) -> Option<TlsError> {
        let mut urls = self.settings.gateway.upstreams.iter();
        let are_there = urls.any(|url| url.0.starts_with("wss://"));
        are_there.then(|| TlsDialer::new(&self.upstream_trust).err())?
    }
}

impl Settings {
    fn link(&self) -> LinkSettings {
        let gateway = &self.gateway;
        LinkSettings {
            ping_ms: gateway.ping_ms,
            silence_ms_max: gateway.silence_ms_max,
            retry_ms_min: gateway.retry_ms_min,
            retry_ms_max: gateway.retry_ms_max.max(gateway.retry_ms_min),
            on_way_max: gateway.on_way_max,
            ..LinkSettings::default()
        }
    }
}

/// Longest file of authorities, in bytes: the bundle of a system has a quarter.
const CA_FILE_SIZE_MAX: u64 = 1 << 20;

impl Loader {
    /// Finds out whom a gateway trusts at upstreams by TLS.
    pub(super) fn upstream_trust(&mut self) -> TlsTrust {
        let gateway = self.settings.gateway.clone();
        let (file, name) = (gateway.ca_file, gateway.server_name);
        let name = (!name.is_empty()).then_some(&*name);
        if file.is_empty() && name.is_none() {
            return TlsTrust::default();
        }
        let path = self.folder.join(&file);
        let text = match file.is_empty() {
            true => None,
            // A byte more than it may have shows that it has more.
            false => match self.read_file(&path, CA_FILE_SIZE_MAX + 1) {
                Ok(text) => Some(text),
                Err(error) => {
                    let what = format!("gateway.ca_file: can't read {}: {error}", path.display());
                    self.problem("gateway.ca_file", what);
                    return TlsTrust::default();
                }
            },
        };
        let trust = TlsTrust::new(text.as_deref(), name);
        if text.is_some_and(|text| text.len() as u64 > CA_FILE_SIZE_MAX) {
            let what = format!("{} is larger than {CA_FILE_SIZE_MAX} bytes", path.display());
            self.problem("gateway.ca_file", format!("gateway.ca_file: {what}"));
        } else if let Err(error) = TlsDialer::check(&trust) {
            let key = match error {
                TlsError::Name(_) => "gateway.server_name",
                _ => "gateway.ca_file",
            };
            self.problem(key, format!("{key}: {error}"));
        }
        trust
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_here_are_the_librarys() {
        assert_eq!(Settings::default().link(), LinkSettings::default());
    }
}
