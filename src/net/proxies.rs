//! Whom a request comes from when it comes through proxies.
//!
//! A proxy says in a header field whom it asks for, and passes on what a client wrote into that field or
//! into another one. So only one field is read, which the settings name; only from a peer that is
//! trusted; and of the addresses in it the last one that isn't a trusted proxy's: what stands before
//! it, anybody may have written.

use std::net::{IpAddr, SocketAddr};

use crate::base::{Network, PeerAddress};
use crate::proto::http::Head;

/// The proxies that are believed, and the field in which they tell whom they ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyRules {
    /// The addresses of proxies. Default none.
    pub trusted: Vec<Network>,
    /// Whether whoever connects to a Unix socket is a proxy. Default no.
    pub trusts_unix: bool,
    /// Local addresses at which each connection begins with a PROXY header; an address of all zeros stands
    /// for every one, and so does port 0. Default none.
    pub proxy_protocol: Vec<SocketAddr>,
    /// The field that they write. Default `X-Forwarded-For`.
    pub header: ProxyHeader,
}

/// The field in which proxies tell whom they ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`: addresses, each added by the next proxy.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): the same as parameters `for`.
    Forwarded,
    /// `X-Real-IP`: one address.
    XRealIp,
}

impl ProxyHeader {
    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::XRealIp => "x-real-ip",
        }
    }
}

impl ProxyRules {
    /// Whether no proxy is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trusted.is_empty() && !self.trusts_unix
    }

    /// Whether a peer is a proxy that is believed.
    #[must_use]
    pub fn trusts(&self, peer: PeerAddress) -> bool {
        match peer.ip() {
            Some(ip) => self.trusted.iter().any(|network| network.contains(ip)),
            None => self.trusts_unix,
        }
    }

    /// Whether connections to this local address begin with a PROXY header.
    #[must_use]
    pub fn wants_header(&self, local: SocketAddr) -> bool {
        let ip = local.ip().to_canonical();
        self.proxy_protocol.iter().any(|own| {
            (own.port() == 0 || own.port() == local.port())
                && (own.ip().is_unspecified() || own.ip().to_canonical() == ip)
        })
    }

    /// Finds the client of a request that `peer` sent. Its port is 0 where a proxy told none.
    #[must_use]
    pub fn client(&self, head: &Head, peer: PeerAddress) -> PeerAddress {
        let mut client = peer;
        if !self.trusts(peer) {
            return client;
        }
        let lines: Vec<&[u8]> = head.fields_named(self.header.name()).collect();
        for line in lines.into_iter().rev() {
            for element in from_behind(line) {
                let Some(told) = self.address(element) else {
                    // Nothing that stands before it can be told from an invention.
                    return client;
                };
                client = told;
                if self.header == ProxyHeader::XRealIp || !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }

    /// The address in one element of the field.
    fn address(&self, element: &str) -> Option<PeerAddress> {
        match self.header {
            ProxyHeader::XForwardedFor | ProxyHeader::XRealIp => address(element),
            ProxyHeader::Forwarded => address(parameter(element, "for")?),
        }
    }

    /// Whether the client spoke TLS with the proxy, where a trusted one says so: in `Forwarded` if that is
    /// the field, else in `X-Forwarded-Proto`. `None` where nobody who is trusted says it.
    #[must_use]
    pub fn is_secure(&self, head: &Head, peer: PeerAddress) -> Option<bool> {
        if !self.trusts(peer) {
            return None;
        }
        let name = match self.header {
            ProxyHeader::Forwarded => "forwarded",
            ProxyHeader::XForwardedFor | ProxyHeader::XRealIp => "x-forwarded-proto",
        };
        let last = from_behind(head.fields_named(name).last()?).next()?;
        let scheme = match self.header {
            ProxyHeader::Forwarded => parameter(last, "proto")?,
            ProxyHeader::XForwardedFor | ProxyHeader::XRealIp => last,
        };
        let is = |known: &str| scheme.eq_ignore_ascii_case(known);
        match (is("https") || is("wss"), is("http") || is("ws")) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

/// The elements of a list from its end, without the spaces around them; one that isn't UTF-8 is empty.
///
/// A comma between quotes separates nothing. Quotes are counted from the end too: those that a client
/// left open stand before what proxies have added.
fn from_behind(line: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let mut is_quoted = false;
        let comma = line.iter().rposition(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        });
        let element = match comma {
            Some(at) => {
                rest = Some(&line[..at]);
                &line[at + 1..]
            }
            None => {
                rest = None;
                line
            }
        };
        let text = std::str::from_utf8(element).unwrap_or_default();
        Some(text.trim_matches([' ', '\t']))
    })
}

/// The value of a parameter in an element of `Forwarded` (RFC 7239 §4), without its quotes; `None` where
/// it isn't there exactly once.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut found = element.split(';').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let key = key.trim_matches([' ', '\t']);
        key.eq_ignore_ascii_case(name)
            .then_some(value.trim_matches([' ', '\t']))
    });
    let value = found.next()?;
    if found.next().is_some() {
        return None;
    }
    let quoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some(quoted.unwrap_or(value))
}

/// An address with or without a port, as proxies write it: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`. Names that hide an address (RFC 7239 §6.3) are none.
fn address(text: &str) -> Option<PeerAddress> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(of(ip, 0));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(of(address.ip(), address.port()));
    }
    let literal = text.strip_prefix('[')?.strip_suffix(']')?;
    let ip = literal.parse::<std::net::Ipv6Addr>().ok()?;
    Some(of(ip.into(), 0))
}

fn of(ip: IpAddr, port: u16) -> PeerAddress {
    PeerAddress::Ip(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::{HttpLimits, parse};

    /// A client that nobody knows, and what it writes into a field to be somebody else.
    const CLIENT: &str = "203.0.113.9";

    const ALL: [ProxyHeader; 3] = [
        ProxyHeader::XForwardedFor,
        ProxyHeader::Forwarded,
        ProxyHeader::XRealIp,
    ];

    fn rules(header: ProxyHeader) -> ProxyRules {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        ProxyRules {
            trusted: trusted.into(),
            header,
            ..ProxyRules::default()
        }
    }

    fn head(fields: &str) -> Head {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let parsed = parse(request.as_bytes(), &mut 0, &HttpLimits::default());
        parsed.expect("a valid head").expect("a whole head").0
    }

    fn peer(ip: &str) -> PeerAddress {
        PeerAddress::Ip(SocketAddr::new(ip.parse().unwrap(), 4_711))
    }

    fn client(header: ProxyHeader, fields: &str, from: &str) -> String {
        rules(header).client(&head(fields), peer(from)).to_string()
    }

    /// What a client may write into a field of each kind, to be taken for another one.
    const INVENTED: [&str; 9] = [
        "198.51.100.1",
        "10.0.0.1",
        "198.51.100.1, 10.0.0.1",
        "for=198.51.100.1",
        "for=198.51.100.1;for=10.0.0.1",
        "\"",
        "for=\"10.0.0.1",
        "\u{e9}, ,,",
        "unknown",
    ];

    #[test]
    fn nothing_that_an_untrusted_peer_writes_is_believed() {
        for header in ALL {
            for name in [
                "X-Forwarded-For",
                "Forwarded",
                "X-Real-IP",
                "X-Forwarded-Proto",
                "X-Client-IP",
                "Via",
            ] {
                for value in INVENTED {
                    let fields = format!("{name}: {value}\r\n");
                    let told = client(header, &fields, CLIENT);
                    assert_eq!(told, format!("{CLIENT}:4711"), "{header:?} {fields}");
                    let secure = rules(header).is_secure(&head(&fields), peer(CLIENT));
                    assert_eq!(secure, None, "{header:?} {fields}");
                }
            }
        }
    }

    #[test]
    fn nothing_that_a_client_writes_is_believed_through_a_trusted_proxy() {
        for header in ALL {
            for invented in INVENTED {
                // Proxies add an element to the line, or a line of their own behind it; one that tells a
                // single address replaces what was there.
                let own = match header {
                    ProxyHeader::XForwardedFor => [
                        format!("X-Forwarded-For: {invented}, {CLIENT}\r\n"),
                        format!("X-Forwarded-For: {invented}\r\nX-Forwarded-For: {CLIENT}\r\n"),
                    ],
                    ProxyHeader::Forwarded => [
                        format!("Forwarded: {invented}, for={CLIENT};proto=http\r\n"),
                        format!("Forwarded: {invented}\r\nForwarded: for=\"{CLIENT}\"\r\n"),
                    ],
                    ProxyHeader::XRealIp => [
                        format!("X-Real-IP: {CLIENT}\r\n"),
                        format!("X-Real-IP: {invented}\r\nX-Real-IP: {CLIENT}\r\n"),
                    ],
                };
                // The other fields are passed on as the client wrote them.
                let others = ALL.into_iter().filter(|other| *other != header);
                let others: String = others
                    .map(|other| format!("{}: {invented}\r\n", other.name()))
                    .collect();
                for own in own {
                    for fields in [format!("{own}{others}"), format!("{others}{own}")] {
                        assert_eq!(client(header, &fields, "10.0.0.7"), CLIENT, "{fields}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_proxy_that_tells_nobody_is_itself_the_client() {
        for header in ALL {
            let others = ALL.into_iter().filter(|other| *other != header);
            let mut all: Vec<String> = others
                .map(|other| format!("{}: {CLIENT}\r\n", other.name()))
                .collect();
            let unreadable = [
                "",
                "unknown",
                "_hidden",
                "for=unknown",
                "for=_x",
                "for=",
                "name.example",
            ];
            all.extend(unreadable.map(|value| format!("{}: {value}\r\n", header.name())));
            for fields in all {
                let told = client(header, &fields, "10.0.0.7");
                assert_eq!(told, "10.0.0.7:4711", "{header:?} {fields}");
            }
        }
    }

    #[test]
    fn the_last_address_that_no_trusted_proxy_has_is_the_clients() {
        let x = ProxyHeader::XForwardedFor;
        for (value, expected) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:5000", "203.0.113.9:5000"),
            ("203.0.113.9, 10.0.0.2, 10.0.0.3", "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9,10.0.0.2", "203.0.113.9"),
            // All of them are proxies of ours: a health check from inside.
            ("10.0.0.1, 10.0.0.2", "10.0.0.1"),
            ("unknown, 10.0.0.2", "10.0.0.2"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db9::1, 2001:db8::2", "2001:db9::1"),
            ("[2001:db9::1]:80", "[2001:db9::1]:80"),
            ("[2001:db9::1]", "2001:db9::1"),
        ] {
            let fields = format!("X-Forwarded-For: {value}\r\n");
            assert_eq!(client(x, &fields, "10.0.0.7"), expected, "{value}");
        }
        for (value, expected) in [
            ("for=203.0.113.9;proto=https;by=10.0.0.7", "203.0.113.9"),
            ("proto=https;For=\"[2001:db9::1]:80\"", "[2001:db9::1]:80"),
            ("for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
            ("for=\"a,b\", for=203.0.113.9", "203.0.113.9"),
        ] {
            let fields = format!("Forwarded: {value}\r\n");
            let told = client(ProxyHeader::Forwarded, &fields, "10.0.0.7");
            assert_eq!(told, expected, "{value}");
        }
    }

    #[test]
    fn a_peer_of_a_unix_socket_is_believed_where_the_rules_say_so() {
        let head = head(&format!("X-Forwarded-For: {CLIENT}\r\n"));
        for trusts_unix in [false, true] {
            let rules = ProxyRules {
                trusts_unix,
                ..ProxyRules::default()
            };
            let told = rules.client(&head, PeerAddress::Unix).to_string();
            assert_eq!(told, if trusts_unix { CLIENT } else { "unix" });
        }
    }

    #[test]
    fn a_trusted_proxy_says_whether_its_client_spoke_tls() {
        for (header, fields, expected) in [
            (
                ProxyHeader::XForwardedFor,
                "X-Forwarded-Proto: https",
                Some(true),
            ),
            (ProxyHeader::XRealIp, "X-Forwarded-Proto: HTTP", Some(false)),
            (
                ProxyHeader::XForwardedFor,
                "X-Forwarded-Proto: https, http",
                Some(false),
            ),
            (
                ProxyHeader::XForwardedFor,
                "X-Forwarded-Proto: gopher",
                None,
            ),
            (ProxyHeader::XForwardedFor, "Forwarded: proto=https", None),
            (
                ProxyHeader::Forwarded,
                "Forwarded: for=_x;proto=https",
                Some(true),
            ),
            (ProxyHeader::Forwarded, "X-Forwarded-Proto: https", None),
        ] {
            let secure = rules(header).is_secure(&head(&format!("{fields}\r\n")), peer("10.0.0.7"));
            assert_eq!(secure, expected, "{header:?} {fields}");
        }
    }
}
