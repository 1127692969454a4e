//! Which frames are light enough for a reactor's thread: short ones with a command that looks into
//! memory alone, and waits for nothing but locks that are held for a moment.
//!
//! Judged by the first bytes, or else by the last: a command whose `type` comes neither first nor last
//! counts as heavy. What isn't JSON, or has two of them, is refused before anything is done.

/// Bytes of a light frame at the most: the JSON of that many is read in some 5 µs.
const LIGHT_BYTES_MAX: usize = 4 * 1024;

/// Whether a text frame is light.
pub(in crate::endpoint) fn is_light(text: &[u8]) -> bool {
    if text.len() > LIGHT_BYTES_MAX {
        return false;
    }
    let text = text.trim_ascii();
    match text.strip_prefix(b"{") {
        Some(fields) => begins_light(fields) || ends_light(fields).unwrap_or(false),
        None => text == b"PING",
    }
}

/// Whether the first field is a `type` of a light command.
fn begins_light(fields: &[u8]) -> bool {
    let kind = after(fields, b"\"type\"").and_then(|fields| after(fields, b":"));
    let Some((kind, rest)) = kind.and_then(|kind| kind.trim_ascii_start().split_at_checked(KIND))
    else {
        return false;
    };
    is_light_kind(kind) && matches!(rest.trim_ascii_start().first(), Some(b',' | b'}'))
}

/// Whether the last field is one. In JSON this can't be the end of a text or of an inner object.
fn ends_light(fields: &[u8]) -> Option<bool> {
    let fields = before(fields, b"}")?.trim_ascii_end();
    let (rest, kind) = fields.split_at_checked(fields.len().checked_sub(KIND)?)?;
    if !is_light_kind(kind) {
        return None;
    }
    let rest = before(before(rest, b":")?, b"\"type\"")?;
    Some(matches!(rest.trim_ascii_end().last(), Some(b',') | None))
}

fn after<'a>(text: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
    text.trim_ascii_start().strip_prefix(token)
}

fn before<'a>(text: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
    text.trim_ascii_end().strip_suffix(token)
}

/// Bytes of a light `type` with its quotes.
const KIND: usize = b"\"say\"".len();

fn is_light_kind(kind: &[u8]) -> bool {
    matches!(kind, b"\"say\"" | b"\"ack\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_frames_that_say_or_acknowledge_something_are_light() {
        for text in [
            "PING",
            "PING\n",
            r#"{"type":"say","to":{"room":"tea"},"data":1}"#,
            " { \"type\" : \"say\" ,\n\"data\":1}",
            r#"{"type":"ack","channel":"tea","offset":1}"#,
            r#"{"type":"say"}"#,
            r#"{"data":1,"to":{"room":"tea"},"type":"say"}"#,
            "{\"data\":1 , \"type\" : \"ack\" }\n",
        ] {
            assert!(is_light(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn whatever_may_wait_or_ask_for_much_is_not() {
        for text in [
            "",
            "{",
            "PINGPONG",
            r#"{"type":"say"#,
            r#"{"type":"says","data":1}"#,
            r#"{"type":"history","channel":"tea"}"#,
            r#"{"type":"join","room":"tea"}"#,
            r#"{"type":"login","uid":"ann"}"#,
            r#"{"seq":1,"type":"say","data":1}"#,
            r#"{"data":{"type":"say"},"type":"history"}"#,
            r#"[{"type":"say","data":1}]"#,
            r#"{"type":["say"]}"#,
            r#"{"type":"who","data":{"type":"say"}}"#,
            r#"{"type":"who","data":"\"type\":\"say\""}"#,
            r#"{"type":"who","a\"type":"say"}"#,
            r#"{"type":"who","my type":"say"}"#,
            r#""type":"say"}"#,
        ] {
            assert!(!is_light(text.as_bytes()), "{text}");
        }
        let long = format!(
            r#"{{"type":"say","data":"{}"}}"#,
            "x".repeat(LIGHT_BYTES_MAX)
        );
        assert!(!is_light(long.as_bytes()));
    }
}
