//! The forms of a request target, and the authority in it (RFC 9112 §3.2, RFC 3986 §3.2).

use std::net::Ipv6Addr;
use std::ops::Range;

use memchr::memchr;

use super::error::HttpError;

/// The places of a target's parts, counted from its start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TargetParts {
    /// `host [":" port]` of an absolute target.
    pub(super) authority: Option<Range<usize>>,
    /// The path; empty where an absolute target has none.
    pub(super) path: Range<usize>,
    pub(super) query: Option<Range<usize>>,
}

/// Splits a target, in the form that its method may use.
///
/// A fragment is refused: clients never send one, and a parser that cuts it off would see another
/// path than one that keeps it.
pub(super) fn split(method: &str, target: &str) -> Result<TargetParts, HttpError> {
    if method == "CONNECT" {
        return Err(HttpError::Connect);
    }
    let bytes = target.as_bytes();
    if memchr(b'#', bytes).is_some() {
        return Err(HttpError::Target);
    }
    let authority = match bytes.first() {
        Some(b'/') => None,
        Some(b'*') if bytes.len() == 1 && method == "OPTIONS" => None,
        _ => Some(authority_of(bytes)?),
    };
    let start = authority.as_ref().map_or(0, |part| part.end);
    let (path, query) = match memchr(b'?', &bytes[start..]) {
        Some(at) => (start..start + at, Some(start + at + 1..bytes.len())),
        None => (start..bytes.len(), None),
    };
    Ok(TargetParts {
        authority,
        path,
        query,
    })
}

/// Whether the bytes are `host [":" port]` with a host (RFC 9110 §4.2.1 refuses an empty one).
///
/// User information is refused (RFC 9110 §4.2.4), since `@` is no byte of a host.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    let (host_is_valid, port) = if bytes.first() == Some(&b'[') {
        let Some(end) = memchr(b']', bytes) else {
            return false;
        };
        let address = std::str::from_utf8(&bytes[1..end]);
        let is_address = address.is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
        (is_address, &bytes[end + 1..])
    } else {
        let end = memchr(b':', bytes).unwrap_or(bytes.len());
        (is_name(&bytes[..end]), &bytes[end..])
    };
    host_is_valid && is_port(port)
}

/// Finds the authority of `http://…` or `https://…`, the only absolute targets that make sense
/// here.
fn authority_of(target: &[u8]) -> Result<Range<usize>, HttpError> {
    let scheme = |prefix: &[u8]| {
        let start = target.get(..prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then_some(prefix.len())
    };
    let start = scheme(b"http://")
        .or_else(|| scheme(b"https://"))
        .ok_or(HttpError::Target)?;
    let rest = &target[start..];
    let size = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    if !is_authority(&rest[..size]) {
        return Err(HttpError::HostInvalid);
    }
    Ok(start..start + size)
}

/// Whether the bytes are nothing, or a colon and digits up to 65,535; RFC 3986 §3.2.3 lets the
/// digits be missing.
fn is_port(bytes: &[u8]) -> bool {
    let digits = match bytes {
        [] => return true,
        [b':', digits @ ..] => digits,
        _ => return false,
    };
    let number = digits.iter().try_fold(0_u16, |port, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

/// Whether the bytes are a registered name or an IPv4 address (RFC 3986 §3.2.2), not empty.
fn is_name(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return !bytes.is_empty(),
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if NAME_BYTES[usize::from(*byte)] => rest,
            _ => return false,
        };
    }
}

/// The answers of [`is_name_byte`]: each request has a host.
const NAME_BYTES: [bool; 256] = {
    let mut known = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        known[byte] = is_name_byte(byte as u8);
        byte += 1;
    }
    known
};

/// Whether the byte is one of `unreserved` and `sub-delims` of RFC 3986 §2.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses_with_or_without_a_port() {
        for host in [
            "a",
            "localhost",
            "127.0.0.1:9502",
            "a.example:",
            "[::1]",
            "[::1]:80",
            "a_b",
            "%41b",
            "a:65535",
            "[::ffff:1.2.3.4]",
        ] {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "a:b",
            "a:1:2",
            "a:65536",
            "a:+1",
            "[::1",
            "::1",
            "[a]",
            "[::1]x",
            "[]",
            "a%4",
            "a%zz",
            "a\\b",
            "a\"b",
            "\u{e9}",
            "a\0",
            "[::1%25lo]",
        ] {
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn every_form_of_a_target_is_split_at_its_joints() {
        let parts = |authority: Option<Range<usize>>, path, query| TargetParts {
            authority,
            path,
            query,
        };
        for (target, expected) in [
            ("/", parts(None, 0..1, None)),
            ("/a?b", parts(None, 0..2, Some(3..4))),
            ("/a?", parts(None, 0..2, Some(3..3))),
            ("/?a?b", parts(None, 0..1, Some(2..5))),
            ("//a/b", parts(None, 0..5, None)),
            ("http://a:1/b?c", parts(Some(7..10), 10..12, Some(13..14))),
            ("HTTPS://a", parts(Some(8..9), 9..9, None)),
            ("http://a?b", parts(Some(7..8), 8..8, Some(9..10))),
        ] {
            assert_eq!(split("GET", target), Ok(expected), "{target}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for target in [
            "a", "a/b", "*", "**", "a:80", "?a", "/a#b", "ftp://a/", "http:/a", "http:a", "\u{e9}",
        ] {
            assert_eq!(split("GET", target), Err(HttpError::Target), "{target}");
        }
        for target in ["http://", "http:///a", "http://u@a/", "http://a:x/"] {
            assert_eq!(
                split("GET", target),
                Err(HttpError::HostInvalid),
                "{target}"
            );
        }
        assert_eq!(split("CONNECT", "a:80"), Err(HttpError::Connect));
        assert_eq!(split("options", "*"), Err(HttpError::Target));
        assert!(split("OPTIONS", "*").is_ok());
    }
}
