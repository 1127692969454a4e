//! The server's side of the opening handshake (RFC 6455 §4.2).

use tungstenite::handshake::derive_accept_key;

use super::extension::DeflateAnswer;
use super::subprotocol;
use crate::proto::http::{Framing, Head, HttpError, Version};

/// Checks a handshake and returns the bytes of the 101 that answers it.
///
/// Of the subprotocols that a client offers the first is chosen (RFC 6455 §4.2.2). `deflate` is what the
/// server answers to an offer of permessage-deflate; with `None` no extension is chosen, whatever the
/// client offers.
///
/// # Errors
///
/// 405 for another method than GET, 426 for another version than 13, and 400 for a broken rule of
/// RFC 6455 §4.2.1: HTTP/1.1, Upgrade, Connection, one key of 16 bytes. A body is refused too,
/// since its bytes would be read as frames.
pub fn accept(head: &Head, deflate: Option<DeflateAnswer>) -> Result<Vec<u8>, HttpError> {
    if head.method() != "GET" {
        return Err(HttpError::HandshakeMethod);
    }
    if head.version() != Version::Http11 {
        return Err(HttpError::HandshakeHttp10);
    }
    if !head.lists("upgrade", "websocket") || !head.lists("connection", "upgrade") {
        return Err(HttpError::HandshakeUpgrade);
    }
    if once(head, "sec-websocket-version") != Some(b"13") {
        return Err(HttpError::HandshakeVersion);
    }
    if !matches!(head.framing()?, Framing::None | Framing::Length(0)) {
        return Err(HttpError::HandshakeBody);
    }
    let key = once(head, "sec-websocket-key").filter(|key| is_key(key));
    let accept = derive_accept_key(key.ok_or(HttpError::HandshakeKey)?);
    let start = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let (name, protocol) = match subprotocol::chosen(head) {
        Some(protocol) => ("\r\nSec-WebSocket-Protocol: ", protocol),
        None => ("", ""),
    };
    let (field, value) = match deflate {
        None => ("", ""),
        Some(answer) => ("\r\nSec-WebSocket-Extensions: ", answer.field_value()),
    };
    let accept = ["Sec-WebSocket-Accept: ", &accept].concat();
    Ok([start, &accept, name, protocol, field, value, "\r\n\r\n"]
        .concat()
        .into_bytes())
}

/// Returns the field's value if the field stands exactly once.
fn once<'h>(head: &'h Head, name: &str) -> Option<&'h [u8]> {
    let mut values = head.fields_named(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Whether the key is base64 of 16 bytes: 22 digits and two pads.
///
/// The last digit's four surplus bits aren't checked: the key is hashed as it is, never decoded.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22 && digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::{HttpLimits, parse};
    use crate::proto::websocket::extension;

    /// The example of RFC 6455 §1.3.
    const FIELDS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

    fn answer(line: &str, fields: &str) -> Result<String, HttpError> {
        answer_of(line, fields, false)
    }

    fn answer_of(line: &str, fields: &str, deflate: bool) -> Result<String, HttpError> {
        let bytes = format!("{line}\r\nHost: a\r\n{fields}\r\n");
        let (head, _) = parse(bytes.as_bytes(), &mut 0, &HttpLimits::default())
            .unwrap()
            .unwrap();
        accept(&head, extension::choose(&head).filter(|_| deflate))
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn with(from: &str, to: &str) -> Result<String, HttpError> {
        assert!(FIELDS.contains(from));
        answer("GET /ws HTTP/1.1", &FIELDS.replace(from, to))
    }

    #[test]
    fn the_handshake_of_the_rfc_is_accepted_as_the_rfc_says() {
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(answer("GET /ws HTTP/1.1", FIELDS).as_deref(), Ok(expected));
    }

    #[test]
    fn upgrade_and_connection_are_lists_in_any_case() {
        assert!(with("Upgrade: websocket", "upgrade: h2c, WebSocket").is_ok());
        assert!(with("Connection: Upgrade", "connection: keep-alive, UPGRADE").is_ok());
        assert!(
            with(
                "Connection: Upgrade",
                "Connection: x\r\nConnection: upgrade"
            )
            .is_ok()
        );
        for (from, to) in [
            ("Upgrade: websocket\r\n", ""),
            ("Upgrade: websocket", "Upgrade: websockets"),
            ("Connection: Upgrade\r\n", ""),
            ("Connection: Upgrade", "Connection: keep-alive"),
        ] {
            assert_eq!(with(from, to), Err(HttpError::HandshakeUpgrade), "{to:?}");
        }
    }

    #[test]
    fn only_get_in_http_1_1_shakes_hands() {
        for method in ["POST", "HEAD", "OPTIONS", "get"] {
            let refused = answer(&format!("{method} / HTTP/1.1"), FIELDS);
            assert_eq!(refused, Err(HttpError::HandshakeMethod), "{method}");
        }
        assert_eq!(
            answer("GET / HTTP/1.0", FIELDS),
            Err(HttpError::HandshakeHttp10)
        );
    }

    #[test]
    fn the_version_is_13_and_stands_once() {
        let line = "Sec-WebSocket-Version: 13";
        let twice = [line, line].join("\r\n");
        for other in [
            "X: y",
            "Sec-WebSocket-Version: 8",
            "Sec-WebSocket-Version: 13, 8",
            &twice,
        ] {
            let refused = with(line, other);
            assert_eq!(refused, Err(HttpError::HandshakeVersion), "{other:?}");
        }
    }

    #[test]
    fn the_key_is_16_bytes_in_base64_and_stands_once() {
        let line = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let twice = [line, line].join("\r\n");
        for other in [
            "X: y",
            "Sec-WebSocket-Key:",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEh",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ===",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j_Q==",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSBub25jZQ==",
            &twice,
        ] {
            assert_eq!(with(line, other), Err(HttpError::HandshakeKey), "{other:?}");
        }
    }

    #[test]
    fn a_handshake_has_no_body() {
        let line = "Upgrade: websocket";
        assert!(with(line, "Upgrade: websocket\r\nContent-Length: 0").is_ok());
        for other in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let refused = with(line, &[line, other].join("\r\n"));
            assert_eq!(refused, Err(HttpError::HandshakeBody), "{other}");
        }
    }

    #[test]
    fn offers_of_extensions_are_passed_over() {
        let line = "Upgrade: websocket";
        let offer = "Sec-WebSocket-Extensions: permessage-deflate";
        let answer = with(line, &[line, offer].join("\r\n")).unwrap();
        assert!(!answer.contains("Extensions:"), "{answer}");
    }

    #[test]
    fn the_first_subprotocol_that_is_offered_is_chosen_and_none_unasked() {
        let line = "Upgrade: websocket";
        for (offers, chosen) in [
            ("X: y", None),
            ("Sec-WebSocket-Protocol: a", Some("a")),
            (
                "Sec-WebSocket-Protocol: bearer.abc, json",
                Some("bearer.abc"),
            ),
            ("sec-websocket-protocol: ,\t b ,a", Some("b")),
            ("Sec-WebSocket-Protocol: a b, \u{e9}, c", Some("c")),
            (
                "Sec-WebSocket-Protocol:\r\nSec-WebSocket-Protocol: d",
                Some("d"),
            ),
            ("Sec-WebSocket-Protocol: ,", None),
        ] {
            let answer = with(line, &[line, offers].join("\r\n")).unwrap();
            let told = answer
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
            assert_eq!(told, chosen, "{offers:?}");
        }
    }

    #[test]
    fn an_offer_of_compression_is_answered_where_it_is_on() {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let fields = [FIELDS, offer].concat();
        let answer = answer_of("GET /ws HTTP/1.1", &fields, true).unwrap();
        assert_eq!(
            answer
                .split_once("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                .unwrap()
                .1,
            "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
             client_no_context_takeover\r\n\r\n"
        );
        let plain = answer_of("GET /ws HTTP/1.1", FIELDS, true).unwrap();
        assert!(
            !plain.contains("Extensions"),
            "nothing was offered: {plain}"
        );
    }
}
