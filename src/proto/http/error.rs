//! The ways in which a client can break HTTP, each with the answer that tells the client.

use std::fmt;

use super::response::Response;

/// A violation of HTTP/1.1 or of a bound by the client; never our own bug.
///
/// After any of them the end of the request is unknown: answer with [`HttpError::response`] and
/// close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// The request did not arrive in time.
    Timeout,
    /// The request line is not `method SP target SP version` (RFC 9112 §3).
    RequestLine,
    /// A line of the head ends in a bare LF, or holds a bare CR (RFC 9112 §2.2).
    LineEnd,
    /// A field line has a space before its colon, is folded, or has a forbidden byte (RFC 9112 §5).
    Field,
    /// The target has none of the forms that its method may use (RFC 9112 §3.2).
    Target,
    /// The target is longer than this many bytes.
    TargetTooLong(usize),
    /// The method is longer than any that exists; the number is the bound in bytes.
    MethodTooLong(usize),
    /// CONNECT: this is not a proxy.
    Connect,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The head did not end within this many bytes.
    HeadTooLarge(usize),
    /// The head has more than this many field lines.
    TooManyFields(usize),
    /// HTTP/1.1 without Host (RFC 9112 §3.2).
    HostMissing,
    /// Host more than once (RFC 9112 §3.2).
    HostTwice,
    /// Host, or the authority of an absolute target, is not `host [":" port]`.
    HostInvalid,
    /// Content-Length is not one row of digits that fits (RFC 9112 §6.3).
    ContentLength,
    /// Content-Length more than once (RFC 9112 §6.3).
    ContentLengthTwice,
    /// Content-Length beside Transfer-Encoding (RFC 9112 §6.3).
    LengthAndEncoding,
    /// Transfer-Encoding in HTTP/1.0, which has none (RFC 9112 §6.1).
    EncodingInHttp10,
    /// Transfer-Encoding other than exactly `chunked`.
    Encoding,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    Expectation,
    /// The body is longer than this many bytes.
    BodyTooLarge(usize),
    /// A chunk's size line is not hexadecimal digits, extensions, CRLF (RFC 9112 §7.1).
    ChunkSize,
    /// A chunk's data is not followed by CRLF (RFC 9112 §7.1).
    ChunkEnd,
    /// The chunk extensions of one body are longer than this many bytes together.
    ChunkExtensionsTooLarge(usize),
    /// A trailer line is not a field line (RFC 9112 §7.1.2).
    Trailer,
    /// The trailer section is longer than this many bytes.
    TrailersTooLarge(usize),
    /// A WebSocket handshake with another method than GET (RFC 6455 §4.2.1).
    HandshakeMethod,
    /// A WebSocket handshake in HTTP/1.0 (RFC 6455 §4.2.1).
    HandshakeHttp10,
    /// A WebSocket handshake without `Upgrade: websocket` or without `Connection: Upgrade`.
    HandshakeUpgrade,
    /// A WebSocket handshake whose Sec-WebSocket-Version is not 13 (RFC 6455 §4.4).
    HandshakeVersion,
    /// A WebSocket handshake without exactly one key of 16 bytes in base64 (RFC 6455 §4.2.1).
    HandshakeKey,
    /// A WebSocket handshake that announces a body: its bytes would be read as frames.
    HandshakeBody,
}

impl HttpError {
    /// Returns the status that the client is told.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Timeout => 408,
            Self::RequestLine
            | Self::LineEnd
            | Self::Field
            | Self::Target
            | Self::HostMissing
            | Self::HostTwice
            | Self::HostInvalid
            | Self::ContentLength
            | Self::ContentLengthTwice
            | Self::LengthAndEncoding
            | Self::EncodingInHttp10
            | Self::ChunkSize
            | Self::ChunkEnd
            | Self::Trailer
            | Self::HandshakeHttp10
            | Self::HandshakeUpgrade
            | Self::HandshakeKey
            | Self::HandshakeBody => 400,
            Self::HandshakeMethod => 405,
            Self::BodyTooLarge(_) | Self::ChunkExtensionsTooLarge(_) => 413,
            Self::TargetTooLong(_) => 414,
            Self::Expectation => 417,
            Self::HandshakeVersion => 426,
            Self::HeadTooLarge(_) | Self::TooManyFields(_) | Self::TrailersTooLarge(_) => 431,
            Self::MethodTooLong(_) | Self::Connect | Self::Encoding => 501,
            Self::Version => 505,
        }
    }

    /// Returns the `code` of the JSON body, which programs read: one of those that handlers use,
    /// too.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.status() {
            413 | 414 | 431 => "too_large",
            _ => "bad_request",
        }
    }

    /// Makes the answer: the status, the fields that the status demands, and
    /// `{"error":{"code","message"}}`.
    #[must_use]
    pub fn response(&self) -> Response {
        let error = serde_json::json!({
            "error": { "code": self.code(), "message": self.to_string() },
        });
        let response = Response::json(error.to_string()).with_status(self.status());
        match self {
            Self::HandshakeMethod => response.field("Allow", "GET"),
            // RFC 9110 §15.5.22 demands Upgrade, RFC 6455 §4.4 the version.
            Self::HandshakeVersion => response
                .field("Upgrade", "websocket")
                .field("Sec-WebSocket-Version", "13"),
            _ => response,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Timeout => "the request did not arrive in time",
            Self::RequestLine => "the request line must be method, target, version",
            Self::LineEnd => "lines of the head must end in CRLF",
            Self::Field => "a field line is malformed",
            Self::Target => "the target has no form that the method may use",
            Self::TargetTooLong(max) => {
                return write!(f, "the target is longer than {max} bytes");
            }
            Self::MethodTooLong(max) => {
                return write!(f, "the method is longer than {max} bytes");
            }
            Self::Connect => "this is not a proxy: CONNECT is not implemented",
            Self::Version => "the version must be HTTP/1.1 or HTTP/1.0",
            Self::HeadTooLarge(max) => return write!(f, "the head is longer than {max} bytes"),
            Self::TooManyFields(max) => {
                return write!(f, "the head has more than {max} fields");
            }
            Self::HostMissing => "host is missing",
            Self::HostTwice => "host stands more than once",
            Self::HostInvalid => "host must be a name or an address, and a port if need be",
            Self::ContentLength => "content-length must be decimal digits that fit",
            Self::ContentLengthTwice => "content-length stands more than once",
            Self::LengthAndEncoding => "content-length and transfer-encoding exclude each other",
            Self::EncodingInHttp10 => "HTTP/1.0 has no transfer-encoding",
            Self::Encoding => "transfer-encoding must be chunked and nothing else",
            Self::Expectation => "expect must be 100-continue",
            Self::BodyTooLarge(max) => return write!(f, "the body is longer than {max} bytes"),
            Self::ChunkSize => "a chunk size must be hexadecimal digits and CRLF",
            Self::ChunkEnd => "chunk data must be followed by CRLF",
            Self::ChunkExtensionsTooLarge(max) => {
                return write!(f, "the chunk extensions are longer than {max} bytes");
            }
            Self::Trailer => "a trailer line is malformed",
            Self::TrailersTooLarge(max) => {
                return write!(f, "the trailers are longer than {max} bytes");
            }
            Self::HandshakeMethod => "a WebSocket handshake must be GET",
            Self::HandshakeHttp10 => "a WebSocket handshake must be HTTP/1.1",
            Self::HandshakeUpgrade => {
                "a WebSocket handshake needs upgrade: websocket and connection: upgrade"
            }
            Self::HandshakeVersion => "sec-websocket-version must be 13",
            Self::HandshakeKey => "sec-websocket-key must be 16 bytes in base64, once",
            Self::HandshakeBody => "a WebSocket handshake has no body",
        };
        f.write_str(text)
    }
}

impl std::error::Error for HttpError {}

#[cfg(test)]
mod tests {
    use super::super::{AnswerContext, AnswerTo};
    use super::*;

    #[test]
    fn an_error_is_told_as_json_with_its_code_and_message() {
        let response = HttpError::BodyTooLarge(7).response();
        let body: serde_json::Value = serde_json::from_slice(response.content()).unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(body["error"]["code"], "too_large");
        assert_eq!(body["error"]["message"], "the body is longer than 7 bytes");
    }

    #[test]
    fn a_wrong_websocket_version_is_told_the_right_one() {
        let now = AnswerContext {
            date: "now",
            idle_s: 75,
        };
        let bytes = HttpError::HandshakeVersion
            .response()
            .encode(AnswerTo::REFUSED, now);
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{text}");
        assert!(text.contains("\r\nUpgrade: websocket\r\n"), "{text}");
        assert!(
            text.contains("\r\nConnection: close, upgrade\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_wrong_method_is_told_the_right_one() {
        let response = HttpError::HandshakeMethod.response();
        assert!(response.fields().any(|field| field == ("Allow", "GET")));
        assert_eq!(
            (response.status(), HttpError::HandshakeMethod.code()),
            (405, "bad_request")
        );
    }
}
