//! Origins (RFC 6454), taken apart so that they are compared by what they mean.

/// The parts of an origin (RFC 6454 §4).
#[derive(Debug, Clone, Copy)]
pub struct OriginParts<'a> {
    /// The scheme: `https`, or that of an app, such as `capacitor`.
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

    /// Returns the port that is meant; `None` for a scheme without a usual port.
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

/// Returns the port that a scheme has where none is written.
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
}
