//! The proxies that are believed.

use std::net::SocketAddr;

use tidings::server::{Network, ProxyHeader, ProxyRules};

use super::Settings;
use super::types::{SettingText, WordChoice};

/// A proxy, or a network of proxies, that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedProxy {
    /// An address, or all of a network.
    Network(Network),
    /// Whoever connects to a Unix socket.
    Unix,
}

impl SettingText for TrustedProxy {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        match text {
            "unix" => Some(Self::Unix),
            text => text.parse().ok().map(Self::Network),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Network(network) => network.to_string(),
            Self::Unix => "unix".into(),
        }
    }

    fn allowed((): &()) -> String {
        "an address, a network such as 10.0.0.0/8 without bits behind its prefix, or \"unix\""
            .into()
    }
}

impl SettingText for SocketAddr {
    type Bounds = ();

    fn parse(text: &str, (): &()) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn allowed((): &()) -> String {
        "an IP address and a port, such as 10.0.0.2:9504 or [::]:9504".into()
    }
}

impl WordChoice for ProxyHeader {
    const ALL: &'static [(&'static str, Self)] = &[
        ("x-forwarded-for", Self::XForwardedFor),
        ("forwarded", Self::Forwarded),
        ("x-real-ip", Self::XRealIp),
    ];
}

impl Settings {
    /// Makes the rules for what proxies say.
    pub(super) fn proxies(&self) -> ProxyRules {
        let general = &self.general;
        let trusted = general.proxies_trusted.iter();
        let networks = trusted.filter_map(|proxy| match proxy {
            TrustedProxy::Network(network) => Some(*network),
            TrustedProxy::Unix => None,
        });
        ProxyRules {
            trusted: networks.collect(),
            trusts_unix: general.proxies_trusted.contains(&TrustedProxy::Unix),
            proxy_protocol: general.proxy_protocol.clone(),
            header: general.proxy_header,
        }
    }
}
