//! The head of a request: method, target and fields, and the framing of the body after it.

mod handover;

use std::fmt;

use super::body::Framing;
use super::error::HttpError;
use super::response::AnswerTo;
use super::version::Version;

/// One request head, owned: a copy of its bytes and the places of its parts in them.
///
/// Only [`parse`](super::parse()) makes one, and has checked its syntax, its target and its host.
#[derive(Clone)]
pub struct Head {
    pub(super) bytes: HeadBytes,
    pub(super) fields: Box<[FieldAt]>,
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) path: Span,
    pub(super) query: Option<Span>,
    pub(super) host: Option<Span>,
    pub(super) version: Version,
    pub(in crate::proto) is_secure: bool,
}

/// The bytes of a head. Nearly all are UTF-8, which is looked at once then and not for each part.
#[derive(Clone)]
pub(super) enum HeadBytes {
    Text(Box<str>),
    /// The value of some field is no UTF-8.
    #[expect(clippy::box_collection, reason = "16 bytes for the many that are text")]
    Mixed(Box<Vec<u8>>),
}

impl HeadBytes {
    pub(super) fn new(head: &[u8]) -> Self {
        match std::str::from_utf8(head) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Mixed(Box::new(head.to_vec())),
        }
    }

    fn all(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Mixed(bytes) => bytes,
        }
    }

    /// Returns a part as text; `None` if it isn't UTF-8.
    fn text(&self, Span { start, end }: Span) -> Option<&str> {
        let range = start as usize..end as usize;
        match self {
            Self::Text(text) => text.get(range),
            Self::Mixed(bytes) => std::str::from_utf8(&bytes[range]).ok(),
        }
    }
}

/// A range in the bytes of a head; four bytes are enough for each end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The places of one field line's name and value.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldAt {
    pub(super) name: Span,
    pub(super) value: Span,
}

impl Span {
    fn size(self) -> usize {
        (self.end - self.start) as usize
    }
}

impl Head {
    /// Whether the head announces a body that isn't empty.
    #[must_use]
    pub fn has_body(&self) -> bool {
        let mut lengths = self.fields_named("content-length");
        lengths.any(|length| length != b"0") || self.field("transfer-encoding").is_some()
    }

    /// Whether the request came over TLS that ends at this server. A handover doesn't carry it, since no
    /// such connection is carried.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Counts the bytes that the head owns: its text, and the places of the fields in it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.all().len() + size_of_val(&*self.fields)
    }

    /// Returns the method as it was sent; methods tell upper from lower case (RFC 9110 §9.1).
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    /// Returns the whole target as it was sent, still percent-encoded; bytes beyond ASCII are
    /// UTF-8.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// Returns the target's path, before `?`, still percent-encoded: it starts with `/`, or is `*`.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.text(self.path) {
            // `http://host` means the root (RFC 9110 §4.2.3).
            "" => "/",
            path => path,
        }
    }

    /// Returns the part after the target's first `?`, still percent-encoded.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.map(|part| self.text(part))
    }

    /// Returns the version of the request.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the host that the request names: `host [":" port]`; `None` only in HTTP/1.0.
    ///
    /// An absolute target's authority outranks the Host field (RFC 9112 §3.2.2).
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.map(|part| self.text(part))
    }

    /// Finds the first field of this name, in any case; returns its value without the spaces around
    /// it.
    ///
    /// The value is bytes, since it may hold more than ASCII (RFC 9110 §5.5).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields_named(name).next()
    }

    /// Finds the first field of this name as text; `None` also if the value isn't UTF-8.
    #[must_use]
    pub fn field_text(&self, name: &str) -> Option<&str> {
        self.bytes.text(self.fields_at(name).next()?.value)
    }

    /// Lists all fields of this name, in any case, in the order of their lines.
    pub fn fields_named(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields_at(name).map(|at| self.slice(at.value))
    }

    fn fields_at(&self, name: &str) -> impl Iterator<Item = &FieldAt> {
        self.fields
            .iter()
            // The length decides about most of them, before anything is compared.
            .filter(move |at| at.name.size() == name.len())
            .filter(move |at| self.slice(at.name).eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Lists the names of all fields, in the order of their lines, as the client wrote them.
    pub fn field_names(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().map(|at| self.slice(at.name))
    }

    /// Lists all fields, in the order of their lines.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|at| (self.text(at.name), self.slice(at.value)))
    }

    /// Returns the framing of the body after the head (RFC 9112 §6.3).
    ///
    /// # Errors
    ///
    /// 400 for a length that two parsers could read differently: more than one, no plain row of
    /// digits, beside Transfer-Encoding; 501 for a Transfer-Encoding other than exactly `chunked`.
    pub fn framing(&self) -> Result<Framing, HttpError> {
        let mut lengths = self.fields_named("content-length");
        let length = lengths.next();
        let mut encodings = self.fields_named("transfer-encoding");
        let Some(encoding) = encodings.next() else {
            return match (length, lengths.next()) {
                (_, Some(_)) => Err(HttpError::ContentLengthTwice),
                (Some(digits), None) => length_of(digits).map(Framing::Length),
                (None, None) => Ok(Framing::None),
            };
        };
        if length.is_some() {
            return Err(HttpError::LengthAndEncoding);
        }
        if self.version == Version::Http10 {
            return Err(HttpError::EncodingInHttp10);
        }
        if !encoding.eq_ignore_ascii_case(b"chunked") || encodings.next().is_some() {
            return Err(HttpError::Encoding);
        }
        Ok(Framing::Chunked)
    }

    /// Whether the client wants the connection to go on after the answer (RFC 9112 §9.3).
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        let goes_on = match self.version {
            Version::Http11 => true,
            Version::Http10 => self.lists("connection", "keep-alive"),
        };
        goes_on && !self.lists("connection", "close")
    }

    /// Whether the client waits for [`CONTINUE`](super::CONTINUE) before it sends its body.
    ///
    /// False in HTTP/1.0, and if no body follows (RFC 9110 §10.1.1).
    ///
    /// # Errors
    ///
    /// 417 for any other expectation; those of [`Head::framing`].
    pub fn expects_continue(&self) -> Result<bool, HttpError> {
        if self.version == Version::Http10 {
            return Ok(false);
        }
        let mut expected = false;
        for expectation in self.fields_named("expect") {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(HttpError::Expectation);
            }
            expected = true;
        }
        Ok(expected && !matches!(self.framing()?, Framing::None | Framing::Length(0)))
    }

    /// Whether this is a WebSocket handshake, right or wrong: Upgrade lists `websocket`.
    ///
    /// False in HTTP/1.0, where Upgrade means nothing (RFC 9110 §7.8). A wrong handshake is refused
    /// by [`accept`](crate::proto::websocket::handshake::accept), which says what is wrong.
    #[must_use]
    pub fn asks_for_websocket(&self) -> bool {
        self.version == Version::Http11 && self.lists("upgrade", "websocket")
    }

    /// Returns the facts about this request that the encoder of its answer needs.
    #[must_use]
    pub fn answer_to(&self) -> AnswerTo {
        AnswerTo {
            head_only: self.slice(self.method) == b"HEAD",
            keep_alive: self.keep_alive(),
            version: self.version,
        }
    }

    /// Whether the comma-separated list in all fields of this name holds the token, in any case.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.fields_named(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|entry| trim(entry).eq_ignore_ascii_case(token.as_bytes()))
    }

    fn slice(&self, part: Span) -> &[u8] {
        &self.bytes.all()[part.start as usize..part.end as usize]
    }

    fn text(&self, part: Span) -> &str {
        let text = self.bytes.text(part);
        text.expect("parse lets only UTF-8 into these parts")
    }
}

/// Shows method, path and version; fields and query may hold secrets and stay out of logs.
impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Reads a length: one or more digits (RFC 9110 §8.6); `u64::from_str` alone would take `+5`.
fn length_of(digits: &[u8]) -> Result<u64, HttpError> {
    if digits.is_empty() {
        return Err(HttpError::ContentLength);
    }
    digits
        .iter()
        .try_fold(0_u64, |length, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        })
        .ok_or(HttpError::ContentLength)
}

/// Removes the optional whitespace of RFC 9110 §5.6.3, which is space and tab only.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::{HttpLimits, parse};
    use super::*;

    fn head(fields: &str) -> Head {
        request("POST", "HTTP/1.1", fields)
    }

    fn request(method: &str, version: &str, fields: &str) -> Head {
        let bytes = format!("{method} /a?b {version}\r\nHost: a\r\n{fields}\r\n");
        parse(bytes.as_bytes(), &mut 0, &HttpLimits::default())
            .unwrap()
            .unwrap()
            .0
    }

    #[test]
    fn a_length_is_one_row_of_digits_and_nothing_else() {
        for (value, length) in [("0", 0), ("5", 5), ("  5\t", 5), ("007", 7)] {
            let framing = head(&format!("Content-Length:{value}\r\n")).framing();
            assert_eq!(framing, Ok(Framing::Length(length)), "{value:?}");
        }
        let max = u64::MAX.to_string();
        assert_eq!(
            head(&format!("Content-Length: {max}\r\n")).framing(),
            Ok(Framing::Length(u64::MAX))
        );
        for value in [
            "",
            "+5",
            "-5",
            "0x5",
            "5 5",
            "5,5",
            "5, 5",
            "5;",
            "5.0",
            "5e1",
            "five",
            "\u{665}",
            "18446744073709551616",
            "99999999999999999999",
        ] {
            let framing = head(&format!("Content-Length: {value}\r\n")).framing();
            assert_eq!(framing, Err(HttpError::ContentLength), "{value:?}");
        }
    }

    #[test]
    fn two_lengths_are_refused_even_where_they_agree() {
        for second in ["5", "6", ""] {
            let fields = format!("Content-Length: 5\r\nX: y\r\ncontent-length: {second}\r\n");
            assert_eq!(
                head(&fields).framing(),
                Err(HttpError::ContentLengthTwice),
                "{second:?}"
            );
        }
    }

    #[test]
    fn an_encoding_is_chunked_or_refused() {
        for value in ["chunked", "Chunked", " CHUNKED\t"] {
            let framing = head(&format!("Transfer-Encoding:{value}\r\n")).framing();
            assert_eq!(framing, Ok(Framing::Chunked), "{value:?}");
        }
        for value in [
            "",
            "gzip",
            "gzip, chunked",
            "chunked, gzip",
            "chunked, chunked",
            "chunked,",
            "xchunked",
            "chunked;q=1",
            "identity",
            "\"chunked\"",
        ] {
            let framing = head(&format!("Transfer-Encoding: {value}\r\n")).framing();
            assert_eq!(framing, Err(HttpError::Encoding), "{value:?}");
        }
        let twice = head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n");
        assert_eq!(twice.framing(), Err(HttpError::Encoding));
    }

    #[test]
    fn length_beside_encoding_is_refused_in_either_order() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: gzip\r\nContent-Length: x\r\n",
        ] {
            assert_eq!(
                head(fields).framing(),
                Err(HttpError::LengthAndEncoding),
                "{fields:?}"
            );
        }
    }

    #[test]
    fn an_encoding_in_http_1_0_is_refused() {
        let head = request("POST", "HTTP/1.0", "Transfer-Encoding: chunked\r\n");
        assert_eq!(head.framing(), Err(HttpError::EncodingInHttp10));
    }

    #[test]
    fn without_length_and_encoding_there_is_no_body() {
        assert_eq!(head("X-Content-Length: 5\r\n").framing(), Ok(Framing::None));
    }

    #[test]
    fn http_1_1_goes_on_unless_told_and_http_1_0_ends_unless_told() {
        for (version, fields, goes_on) in [
            ("HTTP/1.1", "", true),
            ("HTTP/1.1", "Connection: upgrade\r\n", true),
            ("HTTP/1.1", "Connection: close\r\n", false),
            ("HTTP/1.1", "Connection: x ,\tCLOSE\r\n", false),
            ("HTTP/1.1", "Connection: x\r\nConnection: close\r\n", false),
            ("HTTP/1.1", "Connection: keep-alive, close\r\n", false),
            ("HTTP/1.0", "", false),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
            ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            assert_eq!(
                request("GET", version, fields).keep_alive(),
                goes_on,
                "{version} {fields:?}"
            );
        }
    }

    #[test]
    fn only_a_client_of_http_1_1_with_a_body_waits_for_100() {
        let length = "Content-Length: 5\r\n";
        for (version, fields, answer) in [
            (
                "HTTP/1.1",
                format!("Expect: 100-Continue\r\n{length}"),
                Ok(true),
            ),
            (
                "HTTP/1.1",
                "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n".into(),
                Ok(true),
            ),
            ("HTTP/1.1", length.into(), Ok(false)),
            ("HTTP/1.1", "Expect: 100-continue\r\n".into(), Ok(false)),
            (
                "HTTP/1.1",
                "Expect: 100-continue\r\nContent-Length: 0\r\n".into(),
                Ok(false),
            ),
            (
                "HTTP/1.1",
                "Expect: 100-continue, x\r\n".into(),
                Err(HttpError::Expectation),
            ),
            (
                "HTTP/1.1",
                "Expect: 200-ok\r\n".into(),
                Err(HttpError::Expectation),
            ),
            (
                "HTTP/1.1",
                "Expect:\r\n".into(),
                Err(HttpError::Expectation),
            ),
            (
                "HTTP/1.0",
                format!("Expect: 100-continue\r\n{length}"),
                Ok(false),
            ),
            ("HTTP/1.0", "Expect: 200-ok\r\n".into(), Ok(false)),
        ] {
            assert_eq!(
                request("POST", version, &fields).expects_continue(),
                answer,
                "{fields:?}"
            );
        }
    }

    #[test]
    fn fields_are_found_in_any_case_and_in_order() {
        let head = head("X-A: 1\r\nx-b:\r\nx-A:  two words \r\nX-C: \u{e9}\r\nX-D: a\tb\r\n");
        assert_eq!(head.field("x-a"), Some(&b"1"[..]));
        assert_eq!(
            head.fields_named("X-a").collect::<Vec<_>>(),
            [&b"1"[..], b"two words"]
        );
        assert_eq!(
            (head.field("X-B"), head.field("x-")),
            (Some(&b""[..]), None)
        );
        assert_eq!(head.field_text("x-c"), Some("\u{e9}"));
        let names: Vec<&str> = head.fields().map(|(name, _)| name).collect();
        assert_eq!(names, ["Host", "X-A", "x-b", "x-A", "X-C", "X-D"]);
    }

    #[test]
    fn the_answer_knows_what_it_must_of_the_request() {
        let to = request("HEAD", "HTTP/1.0", "").answer_to();
        assert_eq!(
            to,
            AnswerTo {
                head_only: true,
                keep_alive: false,
                version: Version::Http10
            }
        );
    }

    #[test]
    fn a_head_in_a_log_shows_no_secrets() {
        let shown = format!("{:?}", head("Authorization: Bearer secret\r\n"));
        assert_eq!(
            shown,
            "Head { method: \"POST\", path: \"/a\", version: Http11, .. }"
        );
    }
}
