//! The parser of one request head at the front of the bytes.
//!
//! The blank line is looked for first, and only then httparse reads the whole head: httparse starts
//! over at every call, so the cost of a slowly sent head would grow with the square of its size.
//! Rules that a part of the head can break (its bounds, its line ends, the method) are checked at
//! once.
//!
//! Invariant: errors are found in the order of the bytes, so that the same bytes meet the same
//! error however they were cut.

use std::mem::MaybeUninit;
use std::ops::Range;

use memchr::{memchr_iter, memchr3};

use super::error::HttpError;
use super::head::{FieldAt, Head, HeadBytes, Span};
use super::limits::HttpLimits;
use super::target::{self, is_authority};
use super::token::is_token_byte;
use super::version::Version;

/// Longest method, in bytes; a round number, as the longest registered one, UPDATEREDIRECTREF, has
/// 17.
const METHOD_SIZE_MAX: usize = 32;

/// Fields that are parsed without the heap; more than the default `head_fields_max` of 100, so that
/// no head needs the heap unless that setting is raised.
const FIELDS_ON_STACK: usize = 128;

/// Looks for a whole head at the front of `bytes`; returns the head and its size in bytes.
///
/// `None` means that more bytes are needed. `searched` is the number of bytes that are known not to
/// end the head: 0 for a new one, kept by the caller, and set back to 0 here once a head is found.
/// One empty line before the head is skipped and counts for the size (RFC 9112 §2.2).
///
/// # Errors
///
/// The bytes can't become an acceptable head, whatever follows.
pub fn parse(
    bytes: &[u8],
    searched: &mut usize,
    limits: &HttpLimits,
) -> Result<Option<(Head, usize)>, HttpError> {
    let lead = match bytes {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let message = &bytes[lead..];
    let size_max = limits.head_size_max.min(u32::MAX as usize);
    let window = &message[..message.len().min(size_max)];
    check_request_line(window, limits.target_size_max)?;
    let Some(size) = end_of_head(window, searched.saturating_sub(lead))? else {
        if message.len() > size_max {
            return Err(HttpError::HeadTooLarge(size_max));
        }
        *searched = bytes.len();
        return Ok(None);
    };
    let head = read_with_room(&window[..size], limits)?;
    *searched = 0;
    Ok(Some((head, lead + size)))
}

/// Refuses a request line whose first bytes show that it has no method, or a target above its
/// bound.
fn check_request_line(window: &[u8], target_size_max: usize) -> Result<(), HttpError> {
    let start = &window[..window.len().min(METHOD_SIZE_MAX + 1)];
    let Some(method_size) = start.iter().position(|&byte| !is_token_byte(byte)) else {
        return match start.len() > METHOD_SIZE_MAX {
            true => Err(HttpError::MethodTooLong(METHOD_SIZE_MAX)),
            false => Ok(()),
        };
    };
    if method_size == 0 || start[method_size] != b' ' {
        return Err(HttpError::RequestLine);
    }
    let target = &window[method_size + 1..];
    let target = &target[..target.len().min(target_size_max.saturating_add(1))];
    let target_size = memchr3(b' ', b'\r', b'\n', target).unwrap_or(target.len());
    if target_size > target_size_max {
        return Err(HttpError::TargetTooLong(target_size_max));
    }
    Ok(())
}

/// Returns the head's size with its blank line; every line before must end in CRLF.
fn end_of_head(window: &[u8], searched: usize) -> Result<Option<usize>, HttpError> {
    for found in memchr_iter(b'\n', &window[searched.min(window.len())..]) {
        let at = searched + found;
        if at == 0 || window[at - 1] != b'\r' {
            return Err(HttpError::LineEnd);
        }
        if at >= 2 && window[at - 2] == b'\n' {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

fn read_with_room(head: &[u8], limits: &HttpLimits) -> Result<Head, HttpError> {
    // A field line has at least four bytes, so a head can't have more fields than this.
    let room = limits.head_fields_max.min(head.len() / 4);
    let read = if room <= FIELDS_ON_STACK {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
        read(head, &mut fields[..room])
    } else {
        let mut fields = vec![MaybeUninit::uninit(); room];
        read(head, &mut fields)
    };
    read.map_err(|error| match error {
        HttpError::TooManyFields(_) => HttpError::TooManyFields(limits.head_fields_max),
        error => error,
    })
}

fn read<'b>(
    head: &'b [u8],
    room: &mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Head, HttpError> {
    let mut request = httparse::Request::new(&mut []);
    let status = request.parse_with_uninit_headers(head, room);
    let size = status.map_err(|error| error_of(error, head))?;
    let httparse::Request {
        method: Some(method),
        path: Some(target),
        version: Some(minor),
        headers,
    } = request
    else {
        return Err(HttpError::RequestLine);
    };
    if size != httparse::Status::Complete(head.len()) {
        return Err(HttpError::LineEnd);
    }
    let version = if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let parts = target::split(method, target)?;
    let host = host_of(headers, version)?;
    let target = part_of(head, target.as_bytes());
    Ok(Head {
        fields: headers
            .iter()
            .map(|field| FieldAt {
                name: part_of(head, field.name.as_bytes()),
                value: part_of(head, field.value),
            })
            .collect(),
        method: part_of(head, method.as_bytes()),
        target,
        path: part_in(target, parts.path),
        query: parts.query.map(|query| part_in(target, query)),
        host: match parts.authority {
            Some(authority) => Some(part_in(target, authority)),
            None => host.map(|host| part_of(head, host)),
        },
        version,
        is_secure: false,
        bytes: HeadBytes::new(head),
    })
}

/// Finds the Host field: exactly one in HTTP/1.1, at most one in HTTP/1.0, never malformed (§3.2).
fn host_of<'b>(
    fields: &[httparse::Header<'b>],
    version: Version,
) -> Result<Option<&'b [u8]>, HttpError> {
    let mut hosts = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("host"));
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(HttpError::HostTwice),
        (Some(host), None) if is_authority(host.value) => Ok(Some(host.value)),
        (Some(_), None) => Err(HttpError::HostInvalid),
        (None, None) if version == Version::Http11 => Err(HttpError::HostMissing),
        (None, None) => Ok(None),
    }
}

fn error_of(error: httparse::Error, head: &[u8]) -> HttpError {
    match error {
        httparse::Error::Version if names_another_version(head) => HttpError::Version,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => HttpError::Field,
        httparse::Error::NewLine => HttpError::LineEnd,
        httparse::Error::TooManyHeaders => HttpError::TooManyFields(0),
        _ => HttpError::RequestLine,
    }
}

/// Whether the request line ends in a well-formed version that isn't spoken here: this is answered
/// with 505, any other broken request line with 400.
fn names_another_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    match line {
        [.., b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            let is_spoken = *major == b'1' && matches!(minor, b'0' | b'1');
            major.is_ascii_digit() && minor.is_ascii_digit() && !is_spoken
        }
        _ => false,
    }
}

/// Returns the place in `head` of a part that httparse cut out of it; heads are below 4 GiB.
fn part_of(head: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr() as usize - head.as_ptr() as usize;
    Span {
        start: start as u32,
        end: (start + part.len()) as u32,
    }
}

fn part_in(whole: Span, range: Range<usize>) -> Span {
    Span {
        start: whole.start + range.start as u32,
        end: whole.start + range.end as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: impl AsRef<[u8]>) -> Result<Option<(Head, usize)>, HttpError> {
        parse(bytes.as_ref(), &mut 0, &HttpLimits::default())
    }

    fn refusal(bytes: impl AsRef<[u8]>) -> HttpError {
        let whole = parsed(&bytes).err();
        assert_eq!(whole, first_refusal(bytes.as_ref()), "cut or not");
        whole.unwrap_or_else(|| panic!("taken: {:?}", String::from_utf8_lossy(bytes.as_ref())))
    }

    /// Byte by byte; what a real connection would see first.
    fn first_refusal(bytes: &[u8]) -> Option<HttpError> {
        let mut searched = 0;
        (0..=bytes.len())
            .find_map(|size| parse(&bytes[..size], &mut searched, &HttpLimits::default()).err())
    }

    const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";

    #[test]
    fn a_head_is_found_with_its_parts_and_its_size() {
        let (head, size) = parsed([GET, "rest"].concat()).unwrap().unwrap();
        assert_eq!(size, GET.len());
        assert_eq!(
            (head.method(), head.target(), head.version()),
            ("GET", "/a?b=c", Version::Http11)
        );
        assert_eq!(
            (head.path(), head.query(), head.host()),
            ("/a", Some("b=c"), Some("a"))
        );
        assert_eq!(head.field("x"), Some(&b"y"[..]));
    }

    #[test]
    fn every_part_of_a_head_asks_for_more() {
        let mut searched = 0;
        for size in 0..GET.len() {
            let found = parse(
                &GET.as_bytes()[..size],
                &mut searched,
                &HttpLimits::default(),
            );
            assert!(found.unwrap().is_none(), "{size}");
            assert!(searched <= size);
        }
        let found = parse(GET.as_bytes(), &mut searched, &HttpLimits::default()).unwrap();
        assert_eq!((found.unwrap().1, searched), (GET.len(), 0));
    }

    #[test]
    fn one_empty_line_before_a_head_is_passed_over_and_no_second_one() {
        let (head, size) = parsed(["\r\n", GET].concat()).unwrap().unwrap();
        assert_eq!((head.method(), size), ("GET", GET.len() + 2));
        for lead in ["\r\n\r\n", "\n", "\r", " ", "\r\n ", "\0"] {
            assert_eq!(
                refusal([lead, GET].concat()),
                HttpError::RequestLine,
                "{lead:?}"
            );
        }
    }

    #[test]
    fn a_request_line_has_three_parts_and_single_spaces() {
        for line in [
            "GET",
            "GET /",
            "GET /  HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "G\u{e9}T / HTTP/1.1",
            "GET /\0 HTTP/1.1",
            "GET /\x7f HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1",
            "GET / HTTP/1.11",
            "GET / HTTP/11",
            "GET / FTP/1.1",
            "GET /a b HTTP/1.1",
            "GET(/ HTTP/1.1",
            "GET /\r HTTP/1.1",
            "GET / \rHTTP/1.1",
        ] {
            let error = refusal(format!("{line}\r\nHost: a\r\n\r\n"));
            let known = matches!(error, HttpError::RequestLine | HttpError::LineEnd);
            assert!(known, "{line:?}: {error:?}");
        }
        assert_eq!(
            refusal(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
            HttpError::RequestLine
        );
    }

    #[test]
    fn only_versions_1_0_and_1_1_are_spoken() {
        for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0"] {
            assert_eq!(
                refusal(format!("GET / {version}\r\nHost: a\r\n\r\n")),
                HttpError::Version
            );
        }
        assert_eq!(
            refusal("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            HttpError::Version
        );
        let (head, _) = parsed("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert_eq!((head.version(), head.host()), (Version::Http10, None));
    }

    #[test]
    fn a_tls_hello_is_refused_at_its_first_byte() {
        assert_eq!(parsed(b"\x16\x03\x01").unwrap_err(), HttpError::RequestLine);
    }

    #[test]
    fn lines_end_in_crlf_and_hold_no_other_cr() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\n",
            "GET / HTTP/1.1\r\nX: y\n\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(refusal(head), HttpError::LineEnd, "{head:?}");
        }
        for head in [
            "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
        ] {
            let error = refusal(head);
            assert!(
                matches!(error, HttpError::Field | HttpError::LineEnd),
                "{head:?}: {error:?}"
            );
        }
    }

    #[test]
    fn malformed_fields_are_refused() {
        for field in [
            "X : y",
            "X\t: y",
            " X: y",
            "\tX: y",
            "X: y\r\n z",
            "X: y\r\n\tz",
            ": y",
            "X",
            "X y: z",
            "X: a\0b",
            "X: a\x0bb",
            "X: a\x7fb",
            "X(: y",
            "X\u{e9}: y",
            "X\0: y",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
            assert_eq!(refusal(head), HttpError::Field, "{field:?}");
        }
        assert_eq!(
            refusal("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
            HttpError::Field
        );
    }

    #[test]
    fn host_stands_exactly_once_and_is_one() {
        let with = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(refusal(with("")), HttpError::HostMissing);
        assert_eq!(
            refusal(with("Host: a\r\nhost: a\r\n")),
            HttpError::HostTwice
        );
        for host in [
            "", "a b", "a, b", "a/b", "u@a", "a:b", "[::1", "\u{e9}", "http://a",
        ] {
            assert_eq!(
                refusal(with(&format!("Host: {host}\r\n"))),
                HttpError::HostInvalid,
                "{host}"
            );
        }
        let old = "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n";
        assert_eq!(refusal(old), HttpError::HostTwice);
    }

    #[test]
    fn the_authority_of_a_target_outranks_host_but_does_not_replace_it() {
        let request = "GET http://a:1/b?c HTTP/1.1\r\nHost: z\r\n\r\n";
        let (head, _) = parsed(request).unwrap().unwrap();
        assert_eq!(
            (head.host(), head.path(), head.query()),
            (Some("a:1"), "/b", Some("c"))
        );
        let (head, _) = parsed("GET http://a HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert_eq!(
            (head.host(), head.path(), head.query()),
            (Some("a"), "/", None)
        );
        assert_eq!(
            refusal("GET http://a/ HTTP/1.1\r\n\r\n"),
            HttpError::HostMissing
        );
        assert_eq!(
            refusal("GET http://a/ HTTP/1.1\r\nHost: /\r\n\r\n"),
            HttpError::HostInvalid
        );
        assert_eq!(
            refusal("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            HttpError::HostInvalid
        );
    }

    #[test]
    fn a_star_is_for_options_and_connect_for_nobody() {
        let (head, _) = parsed("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap()
            .unwrap();
        assert_eq!((head.method(), head.path()), ("OPTIONS", "*"));
        assert_eq!(
            refusal("GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
            HttpError::Target
        );
        assert_eq!(
            refusal("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
            HttpError::Connect
        );
    }

    #[test]
    fn a_target_over_its_bound_is_refused_before_it_ends() {
        let limits = HttpLimits {
            target_size_max: 10,
            ..HttpLimits::default()
        };
        let fits = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9));
        assert!(parse(fits.as_bytes(), &mut 0, &limits).unwrap().is_some());
        assert!(parse(b"GET /xxxxxxxxx", &mut 0, &limits).unwrap().is_none());
        let refused = parse(b"GET /xxxxxxxxxx", &mut 0, &limits).unwrap_err();
        assert_eq!(refused, HttpError::TargetTooLong(10));
        assert_eq!(
            refusal(format!("GET /{}", "x".repeat(8192))),
            HttpError::TargetTooLong(8192)
        );
    }

    #[test]
    fn a_method_over_its_bound_is_refused_before_it_ends() {
        let fits = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(32));
        assert!(parsed(fits).unwrap().is_some());
        assert!(parsed("M".repeat(32)).unwrap().is_none());
        assert_eq!(refusal("M".repeat(33)), HttpError::MethodTooLong(32));
    }

    #[test]
    fn a_head_over_its_bound_is_refused_before_it_ends() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        let fits = [start, &"x".repeat(16384 - start.len() - 4), "\r\n\r\n"].concat();
        assert_eq!(parsed(&fits).unwrap().unwrap().1, 16384);
        let endless = [start, &"x".repeat(16384 - start.len())].concat();
        assert!(parsed(&endless).unwrap().is_none());
        assert_eq!(
            refusal([&endless, "x"].concat()),
            HttpError::HeadTooLarge(16384)
        );
        let ends_late = [start, &"x".repeat(16384 - start.len()), "\r\n\r\n"].concat();
        assert_eq!(refusal(ends_late), HttpError::HeadTooLarge(16384));
    }

    #[test]
    fn more_fields_than_the_bound_are_refused() {
        let with = |count| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(count)
            )
        };
        assert_eq!(parsed(with(99)).unwrap().unwrap().0.fields().count(), 100);
        assert_eq!(refusal(with(100)), HttpError::TooManyFields(100));
        let limits = HttpLimits {
            head_fields_max: usize::MAX,
            ..HttpLimits::default()
        };
        let (head, _) = parse(with(999).as_bytes(), &mut 0, &limits)
            .unwrap()
            .unwrap();
        assert_eq!(head.fields().count(), 1000);
    }
}
