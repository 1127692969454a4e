//! An answer to a request, as data and as bytes on the wire.

mod handover;

use std::borrow::Cow;

use bytes::Bytes;

use super::token::is_token;
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

/// The facts about the server that the encoder of an answer needs.
#[derive(Debug, Clone, Copy)]
pub struct AnswerContext<'a> {
    /// The present moment as in RFC 9110 §5.6.7.
    pub date: &'a str,
    /// Silence after which a connection that is kept is closed, in whole seconds: told in `Keep-Alive`,
    /// so that a balancer which heeds it never meets the close with a request.
    pub idle_s: u64,
}

/// Fields that all answers to one request get, whoever makes them: the handler, or the connection
/// itself when the rest of the request breaks a bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerFields {
    /// Field lines as they go onto the wire, each with its CRLF.
    lines: Box<str>,
}

impl AnswerFields {
    /// Makes a list of fields, by the rules of [`Response::field`].
    #[must_use]
    pub fn new<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let all = fields
            .into_iter()
            .fold(Response::new(200), |all, field| all.field(field.0, field.1));
        Self {
            lines: all.lines.into(),
        }
    }

    /// Lists the fields in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        fields_of(&self.lines)
    }
}

/// An answer to one request: status, fields, body.
///
/// Pure data, made anywhere and encoded where the request is known. Only the encoder writes
/// Content-Length, Transfer-Encoding, Connection, Keep-Alive and Date: they can't be set. It also has
/// every answer say `X-Content-Type-Options: nosniff`, so that no browser takes an answer for a script
/// or a page that it doesn't claim to be.
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
        if !is_token(name) || is_encoders_own(name) {
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

    /// Adds the fields that all answers to the request get.
    #[must_use]
    pub fn with_fields(mut self, fields: &AnswerFields) -> Self {
        self.lines.to_mut().push_str(&fields.lines);
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
        fields_of(&self.lines)
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

    /// Encodes the answer for the wire.
    #[must_use]
    pub fn encode(&self, to: AnswerTo, context: AnswerContext<'_>) -> Vec<u8> {
        let has_content = !matches!(self.status, 204 | 205 | 304);
        let body: &[u8] = if has_content && !to.head_only {
            &self.body
        } else {
            &[]
        };
        let (mut status, mut length) = ([0; DIGITS_MAX], [0; DIGITS_MAX]);
        let mut idle = [0; DIGITS_MAX];
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
            200 => (
                4,
                b"HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\nDate: ",
            ),
            _ => (0, b"\r\nX-Content-Type-Options: nosniff\r\nDate: "),
        };
        let idle: &[u8] = match to.keep_alive {
            true => decimal(&mut idle, context.idle_s),
            false => b"",
        };
        let parts: [&[u8]; 15] = [
            b"HTTP/1.1 ",
            decimal(&mut status, u64::from(self.status)),
            b" ",
            reason(self.status).as_bytes(),
            before_date,
            context.date.as_bytes(),
            b"\r\n",
            self.lines.as_bytes(),
            length_name,
            length,
            length_end,
            self.connection_line(to),
            idle,
            b"\r\n\r\n",
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

    /// Returns the last lines before the blank one, without their end. On a connection that goes on
    /// they say for how long (RFC 2068 §19.7.1.1); the number comes behind them. A field that is meant
    /// for the next hop has to stand in Connection (RFC 9110 §7.6.1).
    fn connection_line(&self, to: AnswerTo) -> &'static [u8] {
        match (to.keep_alive, self.offers_upgrade) {
            (false, false) => b"Connection: close",
            (false, true) => b"Connection: close, upgrade",
            (true, false) => b"Connection: keep-alive\r\nKeep-Alive: timeout=",
            (true, true) => b"Connection: keep-alive, upgrade\r\nKeep-Alive: timeout=",
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

/// The fields that only the encoder writes.
const ENCODERS_OWN: [&str; 6] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "date",
    "x-content-type-options",
];

/// Takes field lines apart.
fn fields_of(lines: &str) -> impl Iterator<Item = (&str, &str)> {
    lines
        .split_terminator("\r\n")
        .filter_map(|line| line.split_once(": "))
}

fn is_encoders_own(name: &str) -> bool {
    ENCODERS_OWN
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
    const NOW: AnswerContext<'_> = AnswerContext {
        date: DATE,
        idle_s: 75,
    };
    const KEPT: &str = "Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n";
    const GET: AnswerTo = AnswerTo {
        head_only: false,
        keep_alive: true,
        version: Version::Http11,
    };

    fn encoded(response: &Response, to: AnswerTo) -> String {
        String::from_utf8(response.encode(to, NOW)).unwrap()
    }

    #[test]
    fn an_answer_has_date_and_length() {
        let expected = "HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\
             Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n\r\nhello";
        assert_eq!(encoded(&"hello".into(), GET), expected);
        let expected = "HTTP/1.1 404 Not Found\r\nX-Content-Type-Options: nosniff\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\
             Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n\r\n";
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
        assert!(
            text.ends_with(&format!("Content-Length: 5\r\n{KEPT}\r\n")),
            "{text}"
        );
    }

    #[test]
    fn statuses_without_a_body_send_none() {
        for (status, length) in [(204, ""), (205, "Content-Length: 0\r\n"), (304, "")] {
            let text = encoded(&Response::new(status).body("hello"), GET);
            assert!(
                text.ends_with(&format!("{DATE}\r\n{length}{KEPT}\r\n")),
                "{text}"
            );
        }
    }

    #[test]
    fn an_answer_says_for_how_long_the_connection_is_kept_or_that_it_closes() {
        let http10 = AnswerTo {
            version: Version::Http10,
            ..GET
        };
        for (to, line) in [
            (GET, KEPT),
            (GET.closing(), "Connection: close\r\n"),
            (http10, KEPT),
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
            "Keep-Alive",
            "x-content-type-options",
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
    fn fields_of_a_request_stand_in_whatever_answers_it() {
        let fields = AnswerFields::new([("Vary", "Origin"), ("X", "a\r\nb: c"), ("Date", "x")]);
        let response = Response::text("a").with_fields(&fields);
        let all: Vec<_> = response.fields().skip(1).collect();
        assert_eq!(all, [("Vary", "Origin"), ("X", "a  b: c")]);
    }

    #[test]
    fn a_status_that_is_not_final_becomes_500() {
        for status in [0, 100, 101, 199, 600, u16::MAX] {
            assert_eq!(Response::new(status).status(), 500, "{status}");
        }
        assert!(encoded(&Response::new(599), GET).starts_with("HTTP/1.1 599 \r\n"));
    }
}
