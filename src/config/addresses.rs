//! The addresses to listen on: one text, or a list of them.

use std::fmt;
use std::net::SocketAddr;

use tidings::server::ListenAddress;
use toml::de::DeValue;

use super::quote::quoted;
use super::value::{SettingValue, describe};

/// Addresses to listen on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenAddresses(pub Vec<ListenAddress>);

impl ListenAddresses {
    /// The first address of the network at which this machine finds the server; `None` if there is only
    /// a free port or a Unix socket.
    #[must_use]
    pub fn reached(&self) -> Option<SocketAddr> {
        let resolved = self
            .0
            .iter()
            .flat_map(|one| one.resolved().unwrap_or_default());
        let mut addresses = resolved.filter_map(|one| one.ip());
        addresses.find(|address| address.port() != 0)
    }
}

impl From<ListenAddress> for ListenAddresses {
    fn from(address: ListenAddress) -> Self {
        Self(vec![address])
    }
}

impl fmt::Display for ListenAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(", "))
    }
}

impl SettingValue for ListenAddresses {
    type Bounds = ();

    fn from_toml(value: &DeValue<'_>, (): &()) -> Option<Self> {
        if let Some(text) = value.as_str() {
            return Some(Self(vec![text.parse().ok()?]));
        }
        let items = value.as_array()?.iter();
        let addresses = items.map(|item| item.get_ref().as_str()?.parse().ok());
        addresses.collect::<Option<_>>().map(Self)
    }

    fn from_text(text: &str, (): &()) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let addresses = text.split(',').map(|item| item.trim().parse().ok());
        addresses.collect::<Option<_>>().map(Self)
    }

    fn to_toml(&self) -> String {
        match &*self.0 {
            [one] => quoted(&one.to_string()),
            all => {
                let items: Vec<String> = all.iter().map(|one| quoted(&one.to_string())).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }

    fn allowed((): &()) -> String {
        "an address and a port such as 127.0.0.1:9502, localhost:9502 or [::]:9502, unix:PATH, or a \
         list of these"
            .into()
    }

    fn describe_wrong(value: &DeValue<'_>, (): &()) -> String {
        let items = value.as_array().into_iter().flat_map(|items| items.iter());
        let is_wrong = |item: &&DeValue<'_>| {
            let text = item.as_str();
            text.is_none_or(|text| text.parse::<ListenAddress>().is_err())
        };
        let wrong = items.map(|item| item.get_ref()).find(is_wrong);
        wrong.map_or_else(
            || describe(value, true),
            |item| format!("a list with {}", describe(item, true)),
        )
    }
}
