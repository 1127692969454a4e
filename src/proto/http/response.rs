//! An answer to a request, as data and as bytes on the wire.

mod handover;

use std::borrow::Cow;

use bytes::Bytes;

use super::token::is_token_byte;
use super::version::Version;

/// The facts about a request that the encoder of its answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTo {
    /// The request was HEAD: the answer has the length of its body, but not the body.
    pub head_only: bool,
    /// The connection goes on after the answer.
    pub keep_alive: bool,
    /// The version of the request.
    pub version: Version,
}

/// An answer to one request: status, fields, body.
///
/// Pure data, made anywhere and encoded where the request is known. Only the encoder writes
/// Content-Length, Transfer-Encoding, Connection and Date: they can't be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    /// Field lines as they go onto the wire, each with its CRLF.
    lines: Cow<'static, str>,
    /// Whether there is an Upgrade field, which Connection must list (RFC 9110 §7.8).
    offers_upgrade: bool,
    body: Bytes,
}

impl AnswerTo {
    /// The facts for a request that could not be read: the answer has a body, and the connection
    /// closes.
    pub const REFUSED: Self = Self {
        head_only: false,
        keep_alive: false,
        version: Version::Http11,
    };

    /// Returns the same facts, except that the connection closes after the answer.
    #[must_use]
    pub const fn closing(self) -> Self {
        Self {
            keep_alive: false,
            ..self
        }
    }
}

impl Response {
    /// Makes an empty answer of a final status, 200 to 599; any other number becomes 500.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status: final_status(status),
            lines: Cow::Borrowed(""),
            offers_upgrade: false,
            body: Bytes::new(),
        }
    }

    /// Makes a 200 with plain text.
    #[must_use]
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self::of_type("Content-Type: text/plain; charset=utf-8\r\n").body(text)
    }

    /// Makes a 200 with a JSON document, already encoded.
    #[must_use]
    pub fn json(document: impl Into<Bytes>) -> Self {
        Self::of_type("Content-Type: application/json\r\n").body(document)
    }

    /// Makes an empty 200 with one whole field line.
    fn of_type(line: &'static str) -> Self {
        Self {
            lines: Cow::Borrowed(line),
            ..Self::new(200)
        }
    }

    /// Sets another status, as in [`Response::new`].
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = final_status(status);
        self
    }

    /// Adds a field; Content-Type, of which there can be only one, replaces an earlier one.
    ///
    /// A value can't break out of its line: its control characters (CR, LF and NUL among them)
    /// become spaces, as RFC 9110 §5.5 demands. A field whose name is no token is left out, and so
    /// are the fields that only the encoder writes.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        if name.is_empty() || !name.bytes().all(is_token_byte) || is_encoders_own(name) {
            return self;
        }
        if name.eq_ignore_ascii_case("content-type") {
            self.remove(name);
        }
        self.offers_upgrade |= name.eq_ignore_ascii_case("upgrade");
        let value = value.trim_matches(|c: char| c == ' ' || c.is_ascii_control());
        let breaks_out = |c: char| c.is_ascii_control() && c != '\t';
        let lines = self.lines.to_mut();
        for part in [name, ": "] {
            lines.push_str(part);
        }
        match value.contains(breaks_out) {
            true => lines.extend(value.chars().map(|c| if breaks_out(c) { ' ' } else { c })),
            false => lines.push_str(value),
        }
        lines.push_str("\r\n");
        self
    }

    /// Sets the body; the encoder adds its length.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Lists the fields that were set, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines
            .split_terminator("\r\n")
            .filter_map(|line| line.split_once(": "))
    }

    /// Counts the bytes of the answer's fields and body.
    #[must_use]
    pub fn size(&self) -> usize {
        self.lines.len() + self.body.len()
    }

    /// Returns the body.
    #[must_use]
    pub fn content(&self) -> &Bytes {
        &self.body
    }

    /// Encodes the answer for the wire; `date` is the present moment as in RFC 9110 §5.6.7.
    #[must_use]
    pub fn encode(&self, to: AnswerTo, date: &str) -> Vec<u8> {
        let has_content = !matches!(self.status, 204 | 205 | 304);
        let body: &[u8] = if has_content && !to.head_only {
            &self.body
        } else {
            &[]
        };
        let (mut status, mut length) = ([0; DIGITS_MAX], [0; DIGITS_MAX]);
        let length_line: [&[u8]; 3] = match self.status {
            // RFC 9110 §8.6 forbids a length in 204; that of a 304 would be the one of the 200.
            204 | 304 => [b"", b"", b""],
            // §15.3.6: a 205 has no content, and says so.
            205 => [b"Content-Length: ", b"0", b"\r\n"],
            _ => [
                b"Content-Length: ",
                decimal(&mut length, self.body.len() as u64),
                b"\r\n",
            ],
        };
        let [length_name, length, length_end] = length_line;
        // By far the most answers are a 200, whose first line needs no parts.
        let (first, before_date): (usize, &[u8]) = match self.status {
            200 => (4, b"HTTP/1.1 200 OK\r\nDate: "),
            _ => (0, b"\r\nDate: "),
        };
        let parts: [&[u8]; 13] = [
            b"HTTP/1.1 ",
            decimal(&mut status, u64::from(self.status)),
            b" ",
            reason(self.status).as_bytes(),
            before_date,
            date.as_bytes(),
            b"\r\n",
            self.lines.as_bytes(),
            length_name,
            length,
            length_end,
            self.last_lines(to).as_bytes(),
            body,
        ];
        let parts = &parts[first..];
        // To the byte: what is left over would have to be kept beside the bytes, on the heap too.
        let size: usize = parts.iter().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(size);
        for part in parts {
            out.extend_from_slice(part);
        }
        out
    }

    /// Returns the blank line, behind a Connection line unless the version's default says the same
    /// (RFC 9112 §9.3).
    fn last_lines(&self, to: AnswerTo) -> &'static str {
        match (to.keep_alive, to.version, self.offers_upgrade) {
            (false, _, false) => "Connection: close\r\n\r\n",
            (false, _, true) => "Connection: close, upgrade\r\n\r\n",
            (true, Version::Http11, false) => "\r\n",
            (true, Version::Http11, true) => "Connection: upgrade\r\n\r\n",
            (true, Version::Http10, false) => "Connection: keep-alive\r\n\r\n",
            (true, Version::Http10, true) => "Connection: keep-alive, upgrade\r\n\r\n",
        }
    }

    fn remove(&mut self, name: &str) {
        let is_other = |line: &&str| {
            let found = line.split_once(':').map(|(found, _)| found);
            !found.is_some_and(|found| found.eq_ignore_ascii_case(name))
        };
        self.lines = self
            .lines
            .split_inclusive("\r\n")
            .filter(is_other)
            .collect::<String>()
            .into();
    }
}

/// Makes a 200 with plain text.
impl From<&str> for Response {
    fn from(text: &str) -> Self {
        Self::text(text.to_owned())
    }
}

/// Makes a 200 with plain text.
impl From<String> for Response {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// Returns `status` if it is final, else 500: a client that gets 100 or 101 would wait for more.
fn final_status(status: u16) -> u16 {
    if (200..=599).contains(&status) {
        status
    } else {
        500
    }
}

fn is_encoders_own(name: &str) -> bool {
    ["content-length", "transfer-encoding", "connection", "date"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

fn decimal(digits: &mut [u8; DIGITS_MAX], mut number: u64) -> &[u8] {
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    &digits[start..]
}

/// Returns the reason phrase; a status without a name of its own has an empty one (RFC 9112 §4).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const GET: AnswerTo = AnswerTo {
        head_only: false,
        keep_alive: true,
        version: Version::Http11,
    };

    fn encoded(response: &Response, to: AnswerTo) -> String {
        String::from_utf8(response.encode(to, DATE)).unwrap()
    }

    #[test]
    fn an_answer_has_date_and_length() {
        let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(encoded(&"hello".into(), GET), expected);
        let expected = "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Length: 0\r\n\r\n";
        assert_eq!(encoded(&Response::new(404), GET), expected);
    }

    #[test]
    fn an_answer_to_head_has_the_length_of_its_body_but_not_the_body() {
        let text = encoded(
            &"hello".into(),
            AnswerTo {
                head_only: true,
                ..GET
            },
        );
        assert!(text.ends_with("Content-Length: 5\r\n\r\n"), "{text}");
    }

    #[test]
    fn statuses_without_a_body_send_none() {
        for (status, length) in [(204, ""), (205, "Content-Length: 0\r\n"), (304, "")] {
            let text = encoded(&Response::new(status).body("hello"), GET);
            assert!(text.ends_with(&format!("{DATE}\r\n{length}\r\n")), "{text}");
        }
    }

    #[test]
    fn the_connection_is_told_where_the_version_means_something_else() {
        let http10 = AnswerTo {
            version: Version::Http10,
            ..GET
        };
        for (to, line) in [
            (GET, ""),
            (GET.closing(), "Connection: close\r\n"),
            (http10, "Connection: keep-alive\r\n"),
            (http10.closing(), "Connection: close\r\n"),
        ] {
            let text = encoded(&Response::new(200), to);
            assert!(
                text.ends_with(&format!("Content-Length: 0\r\n{line}\r\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_value_cannot_break_out_of_its_line() {
        let response = Response::new(200).field("X", " a\r\nSet-Cookie: b\0c\td\u{e9}\r\n");
        let fields: Vec<_> = response.fields().collect();
        assert_eq!(fields, [("X", "a  Set-Cookie: b c\td\u{e9}")]);
    }

    #[test]
    fn names_that_are_none_and_those_of_the_encoder_are_left_out() {
        let mut response = Response::new(200);
        for name in [
            "",
            "a b",
            "a:",
            "a\r\nb",
            "\u{e9}",
            "content-length",
            "Connection",
            "DATE",
            "Transfer-Encoding",
        ] {
            response = response.field(name, "1");
        }
        assert_eq!(response, Response::new(200));
    }

    #[test]
    fn a_content_type_replaces_the_earlier_one_and_other_fields_add_up() {
        let response = Response::text("<p>")
            .field("Set-Cookie", "a")
            .field("content-type", "text/html")
            .field("Set-Cookie", "b");
        let fields: Vec<_> = response.fields().collect();
        assert_eq!(
            fields,
            [
                ("Set-Cookie", "a"),
                ("content-type", "text/html"),
                ("Set-Cookie", "b")
            ]
        );
    }

    #[test]
    fn a_status_that_is_not_final_becomes_500() {
        for status in [0, 100, 101, 199, 600, u16::MAX] {
            assert_eq!(Response::new(status).status(), 500, "{status}");
        }
        assert!(encoded(&Response::new(599), GET).starts_with("HTTP/1.1 599 \r\n"));
    }
}
