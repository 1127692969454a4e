//! The offers of permessage-deflate in a handshake, and the answer to them (RFC 7692 §5, §7.1).

use crate::proto::http::Head;

/// The field in which extensions are offered and answered (RFC 6455 §11.3.2).
const FIELD: &str = "sec-websocket-extensions";

/// The one extension that the server knows.
const NAME: &[u8] = b"permessage-deflate";

/// The window of every message that the server compresses, as the exponent of 2: 4 KiB. One stream has
/// to suit all who accepted, and at the sizes of chat messages a larger window gains next to nothing.
pub const WINDOW_BITS: u8 = 12;

/// What the server answers to an offer that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeflateAnswer {
    /// No window of the server's was asked for.
    AnyWindow,
    /// The client asked for a window of [`WINDOW_BITS`] or more, and is told that one.
    OwnWindow,
}

impl DeflateAnswer {
    /// The value of `Sec-WebSocket-Extensions` in the 101.
    ///
    /// Neither side keeps its window from one message to the next: both parameters may be answered
    /// without having been offered (RFC 7692 §7.1.1.1, §7.1.1.2).
    #[must_use]
    pub const fn field_value(self) -> &'static str {
        match self {
            Self::AnyWindow => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
            }
            Self::OwnWindow => {
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=12"
            }
        }
    }
}

/// Chooses the first offer of a handshake that the server can take; `None` if there is none, which
/// makes a plain WebSocket and is never an error.
///
/// Offers are alternatives in the order of the client's preference (RFC 7692 §5.1). One is declined for
/// an unknown or doubled parameter, a value that is missing or out of bounds, or a window of the server's
/// below [`WINDOW_BITS`].
#[must_use]
pub fn choose(head: &Head) -> Option<DeflateAnswer> {
    head.fields_named(FIELD)
        .flat_map(|value| Pieces::new(value, b','))
        .find_map(judge)
}

/// Judges one offer: a name and its parameters.
fn judge(offer: &[u8]) -> Option<DeflateAnswer> {
    let mut pieces = Pieces::new(offer, b';');
    if !pieces.next()?.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let mut seen = [false; 4];
    let mut answer = DeflateAnswer::AnyWindow;
    for parameter in pieces {
        let (name, value) = split_parameter(parameter);
        let (place, is_right) = if name.eq_ignore_ascii_case(b"server_no_context_takeover") {
            (0, value.is_none())
        } else if name.eq_ignore_ascii_case(b"client_no_context_takeover") {
            (1, value.is_none())
        } else if name.eq_ignore_ascii_case(b"server_max_window_bits") {
            answer = DeflateAnswer::OwnWindow;
            let bits = value.and_then(window_bits);
            (2, bits.is_some_and(|bits| bits >= WINDOW_BITS))
        } else if name.eq_ignore_ascii_case(b"client_max_window_bits") {
            (3, value.is_none_or(|value| window_bits(value).is_some()))
        } else {
            return None;
        };
        if !is_right || std::mem::replace(&mut seen[place], true) {
            return None;
        }
    }
    Some(answer)
}

/// Splits `name=value` and takes the quotes off: after them the value must be as without (RFC 6455
/// §9.1).
fn split_parameter(parameter: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(at) = memchr::memchr(b'=', parameter) else {
        return (parameter, None);
    };
    let value = parameter[at + 1..].trim_ascii();
    let bare = match value {
        [b'"', bare @ .., b'"'] => bare,
        _ => value,
    };
    (parameter[..at].trim_ascii(), Some(bare))
}

/// Reads the size of a window: 8 to 15, without a leading zero (RFC 7692 §7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The pieces of a value between separators that stand outside of quotes, without the blanks around.
struct Pieces<'v> {
    rest: Option<&'v [u8]>,
    separator: u8,
}

impl<'v> Pieces<'v> {
    fn new(value: &'v [u8], separator: u8) -> Self {
        Self {
            rest: Some(value),
            separator,
        }
    }
}

impl<'v> Iterator for Pieces<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let rest = self.rest.take()?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        for (at, &byte) in rest.iter().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                _ if byte == self.separator && !is_quoted => {
                    self.rest = Some(&rest[at + 1..]);
                    return Some(rest[..at].trim_ascii());
                }
                _ => {}
            }
        }
        Some(rest.trim_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::{HttpLimits, parse};

    fn answer(fields: &[&str]) -> Option<&'static str> {
        let fields: String = fields
            .iter()
            .map(|value| format!("Sec-WebSocket-Extensions: {value}\r\n"))
            .collect();
        let bytes = format!("GET /ws HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let parsed = parse(bytes.as_bytes(), &mut 0, &HttpLimits::default());
        let (head, _) = parsed.unwrap().unwrap();
        choose(&head).map(DeflateAnswer::field_value)
    }

    const PLAIN: Option<&str> = None;
    const TAKEN: Option<&str> =
        Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    const OWN_WINDOW: Option<&str> = Some(
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         server_max_window_bits=12",
    );

    #[test]
    fn what_browsers_offer_is_taken() {
        for offer in [
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate",
            "Permessage-Deflate ;  Client_Max_Window_Bits = 15",
            "permessage-deflate; client_max_window_bits=\"8\"",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ] {
            assert_eq!(answer(&[offer]), TAKEN, "{offer}");
        }
    }

    #[test]
    fn a_window_is_answered_with_ours_or_the_offer_is_declined() {
        for bits in 0..=17 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            let expected = if (12..=15).contains(&bits) {
                OWN_WINDOW
            } else {
                PLAIN
            };
            assert_eq!(answer(&[&offer]), expected, "{offer}");
            let offer = format!("permessage-deflate; client_max_window_bits={bits}");
            let expected = if (8..=15).contains(&bits) {
                TAKEN
            } else {
                PLAIN
            };
            assert_eq!(answer(&[&offer]), expected, "{offer}");
        }
    }

    #[test]
    fn an_offer_that_breaks_a_rule_is_declined() {
        for parameter in [
            "x",
            "server_no_context_takeover=1",
            "client_no_context_takeover=",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=012",
            "server_max_window_bits=12; server_max_window_bits=12",
            "server_max_window_bits=1 2",
            "client_max_window_bits=08",
            "client_max_window_bits=+9",
            "client_max_window_bits; client_max_window_bits=9",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits=\"12",
            "",
        ] {
            let offer = format!("permessage-deflate; {parameter}");
            assert_eq!(answer(&[&offer]), PLAIN, "{offer}");
        }
        for other in [
            "",
            ",",
            "permessage-deflate2",
            "x-webkit-deflate-frame",
            "\"",
        ] {
            assert_eq!(answer(&[other]), PLAIN, "{other:?}");
        }
    }

    #[test]
    fn the_first_offer_that_can_be_taken_counts_wherever_it_stands() {
        let small = "permessage-deflate; server_max_window_bits=8";
        let own = "permessage-deflate; server_max_window_bits=14";
        let quoted = "other; a=\"permessage-deflate, permessage-deflate; b\\\"\"";
        let one_line = [small, quoted, own, "permessage-deflate"].join(" , ");
        assert_eq!(answer(&[&one_line]), OWN_WINDOW);
        assert_eq!(
            answer(&[small, quoted, own, "permessage-deflate"]),
            OWN_WINDOW
        );
        assert_eq!(answer(&[small, "permessage-deflate", own]), TAKEN);
        assert_eq!(answer(&[small, quoted]), PLAIN);
        assert_eq!(answer(&[]), PLAIN);
    }
}
