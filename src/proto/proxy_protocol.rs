//! The header with which a proxy in front begins a connection: the PROXY protocol, versions 1 and 2.
//!
//! It says in a line of text or in some bytes whom the connection is from, before anything that the
//! client sends. Nothing here knows whether its sender may be believed.
//!
//! Invariant: what was read depends on the bytes alone, never on how reads cut them; and nothing behind
//! the header is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, with its end of line.
const LINE_SIZE_MAX: usize = 107;

/// The longest header of version 2: room for what is told beside the addresses, of which nothing is used.
const BINARY_SIZE_MAX: usize = 4_096;

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes of version 2 up to the addresses.
const FIXED_SIZE: usize = 16;

/// The longest header of all.
pub const HEADER_SIZE_MAX: usize = BINARY_SIZE_MAX;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeaderSource {
    /// The connection is a client's, from this address.
    Client(SocketAddr),
    /// The proxy speaks for itself, as for a probe, or doesn't know.
    Proxy,
}

/// A connection doesn't begin with such a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it doesn't begin with a PROXY header")]
pub struct NoProxyHeader;

/// Reads the header at the front of `bytes`; returns what it says and its size, or `None` while it isn't
/// whole.
///
/// # Errors
///
/// The bytes begin with something else, or with a header that is too long or contradicts itself.
pub fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeaderSource, usize)>, NoProxyHeader> {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] == SIGNATURE[..common] {
        return binary(bytes);
    }
    let start = b"PROXY ";
    let common = bytes.len().min(start.len());
    if bytes[..common] != start[..common] {
        return Err(NoProxyHeader);
    }
    let line = &bytes[..bytes.len().min(LINE_SIZE_MAX)];
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => {
            let text = std::str::from_utf8(&line[..end]).map_err(|_| NoProxyHeader)?;
            Ok(Some((of_line(text)?, end + 2)))
        }
        None if bytes.len() >= LINE_SIZE_MAX => Err(NoProxyHeader),
        None => Ok(None),
    }
}

/// `PROXY TCP4 203.0.113.9 10.0.0.2 51402 9502`
fn of_line(line: &str) -> Result<ProxyHeaderSource, NoProxyHeader> {
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or(NoProxyHeader);
    let family = word()?;
    if family == "UNKNOWN" {
        return Ok(ProxyHeaderSource::Proxy);
    }
    let (source, destination) = (word()?, word()?);
    let ports = [port(word()?)?, port(word()?)?];
    let address = |text: &str| -> Result<IpAddr, NoProxyHeader> {
        let address: IpAddr = text.parse().map_err(|_| NoProxyHeader)?;
        let fits = match family {
            "TCP4" => address.is_ipv4(),
            "TCP6" => address.is_ipv6(),
            _ => false,
        };
        fits.then_some(address).ok_or(NoProxyHeader)
    };
    address(destination)?;
    let source = SocketAddr::new(address(source)?.to_canonical(), ports[0]);
    match words.next() {
        None => Ok(ProxyHeaderSource::Client(source)),
        Some(_) => Err(NoProxyHeader),
    }
}

/// Reads a port: digits alone, since `parse` would take `+80`.
fn port(digits: &str) -> Result<u16, NoProxyHeader> {
    match digits.bytes().all(|digit| digit.is_ascii_digit()) {
        true => digits.parse().map_err(|_| NoProxyHeader),
        false => Err(NoProxyHeader),
    }
}

fn binary(bytes: &[u8]) -> Result<Option<(ProxyHeaderSource, usize)>, NoProxyHeader> {
    let Some(fixed) = bytes.first_chunk::<FIXED_SIZE>() else {
        return Ok(None);
    };
    let [command, family] = [fixed[12], fixed[13]];
    let size = FIXED_SIZE + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if command >> 4 != 2 || size > BINARY_SIZE_MAX {
        return Err(NoProxyHeader);
    }
    let Some(addresses) = bytes.get(FIXED_SIZE..size) else {
        return Ok(None);
    };
    let source = match (command & 0xf, family) {
        (0, _) => ProxyHeaderSource::Proxy,
        (1, 0x11) => ProxyHeaderSource::Client(v4(addresses).ok_or(NoProxyHeader)?),
        (1, 0x21) => ProxyHeaderSource::Client(v6(addresses).ok_or(NoProxyHeader)?),
        // A Unix socket, a datagram, or something that isn't known.
        (1, _) => ProxyHeaderSource::Proxy,
        _ => return Err(NoProxyHeader),
    };
    Ok(Some((source, size)))
}

/// Source, destination, their ports.
fn v4(addresses: &[u8]) -> Option<SocketAddr> {
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses.first_chunk::<12>()?;
    let port = u16::from_be_bytes([high, low]);
    Some((Ipv4Addr::new(a, b, c, d), port).into())
}

fn v6(addresses: &[u8]) -> Option<SocketAddr> {
    let all = addresses.first_chunk::<36>()?;
    let source = Ipv6Addr::from_bits(u128::from_be_bytes(*all.first_chunk()?));
    let port = u16::from_be_bytes([all[32], all[33]]);
    Some(SocketAddr::new(IpAddr::V6(source).to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let size = (addresses.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &size, addresses].concat()
    }

    fn v4_addresses() -> Vec<u8> {
        [
            &[203, 0, 113, 9, 10, 0, 0, 2][..],
            &51_402_u16.to_be_bytes(),
            &9_502_u16.to_be_bytes(),
        ]
        .concat()
    }

    fn all() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let v6 = "2001:db9::1".parse::<Ipv6Addr>().unwrap().octets();
        let v6 = [&v6[..], &[0; 16], &80_u16.to_be_bytes(), &[0, 0]].concat();
        let more = [&v4_addresses()[..], &[4, 0, 1, 7]].concat();
        vec![
            (
                b"PROXY TCP4 203.0.113.9 10.0.0.2 51402 9502\r\n".to_vec(),
                Some("203.0.113.9:51402"),
            ),
            (
                b"PROXY TCP6 2001:db9::1 ::1 80 9502\r\n".to_vec(),
                Some("[2001:db9::1]:80"),
            ),
            (
                b"PROXY TCP6 ::ffff:203.0.113.9 ::1 80 9502\r\n".to_vec(),
                Some("203.0.113.9:80"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN whatever it says\r\n".to_vec(), None),
            (
                version_2(1, 0x11, &v4_addresses()),
                Some("203.0.113.9:51402"),
            ),
            (version_2(1, 0x11, &more), Some("203.0.113.9:51402")),
            (version_2(1, 0x21, &v6), Some("[2001:db9::1]:80")),
            (version_2(0, 0, &[]), None),
            (version_2(1, 0, &[]), None),
            (version_2(1, 0x31, &[0; 216]), None),
        ]
    }

    #[test]
    fn a_header_is_read_whole_at_every_cut_and_nothing_behind_it() {
        for (header, client) in all() {
            let source = match client {
                Some(address) => ProxyHeaderSource::Client(address.parse().unwrap()),
                None => ProxyHeaderSource::Proxy,
            };
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "{header:?} at {cut}");
            }
            for rest in [&b""[..], REST] {
                let bytes = [&header[..], rest].concat();
                assert_eq!(
                    parse(&bytes),
                    Ok(Some((source, header.len()))),
                    "{header:?}"
                );
            }
        }
    }

    #[test]
    fn whatever_else_a_connection_begins_with_is_refused() {
        for bytes in [
            REST.to_vec(),
            b"proxy TCP4 203.0.113.9 10.0.0.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.2 1\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.2 1 2 3\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.2 +1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 10.0.0.2 1 65536\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 203.0.113.9 ::1 1 2\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.9 10.0.0.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 name 10.0.0.2 1 2\r\n".to_vec(),
            b"PROXY  TCP4 203.0.113.9 10.0.0.2 1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.\xff 10.0.0.2 1 2\r\n".to_vec(),
            [b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat(),
            version_2(2, 0x11, &v4_addresses()),
            version_2(1, 0x11, &[0; 11]),
            version_2(1, 0x21, &[0; 35]),
            version_2(1, 0x11, &[0; BINARY_SIZE_MAX]),
            [&SIGNATURE[..], &[0x11, 0x11, 0, 0]].concat(),
        ] {
            assert_eq!(parse(&bytes), Err(NoProxyHeader), "{bytes:?}");
        }
    }
}
