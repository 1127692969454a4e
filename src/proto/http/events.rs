//! Streams of events, as browsers read them: `text/event-stream` (HTML, §9.2 "Server-sent events").

/// What keeps a stream from looking dead to those between: a comment, which no reader is shown.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// The fields of every stream. It ends with its connection, since its length isn't known; nobody between
/// may keep or gather it.
const STREAM_FIELDS: &str = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n\
    X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n";

/// Makes the head that begins a stream; `fields` are further lines, each with its end.
#[must_use]
pub fn stream_head(fields: &str, date: &str) -> Vec<u8> {
    let start = "HTTP/1.1 200 OK\r\nDate: ";
    [start, date, "\r\n", STREAM_FIELDS, fields, "\r\n"]
        .concat()
        .into_bytes()
}

/// Appends one event. A reader that comes back shows the `id` of the last one that had any.
///
/// The text may have lines of its own, each of which is a field; an id that can't stand in a line is left
/// out.
pub fn put_event(out: &mut Vec<u8>, id: Option<&str>, text: &str) {
    if let Some(id) = id
        && !id.contains(['\r', '\n', '\0'])
    {
        put_field(out, "id", id);
    }
    put_lines(out, text);
    out.push(b'\n');
}

/// Makes the last event of a stream: the close code and the reason that a WebSocket would be told.
#[must_use]
pub fn close_event(code: u16, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_field(&mut out, "event", "close");
    put_lines(&mut out, &format!("{code} {reason}"));
    out.push(b'\n');
    out
}

fn put_lines(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    loop {
        let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
        put_field(out, "data", &rest[..end]);
        let behind = &rest[end..];
        rest = match (behind.strip_prefix("\r\n"), behind.get(1..)) {
            (Some(rest), _) | (None, Some(rest)) => rest,
            (None, None) => return,
        };
    }
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, text: &str) -> String {
        let mut out = Vec::new();
        put_event(&mut out, id, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_has_a_line_for_each_line_of_its_text() {
        assert_eq!(event(None, "a"), "data: a\n\n");
        assert_eq!(event(Some("7"), "a"), "id: 7\ndata: a\n\n");
        let lines = "data: a\ndata: \ndata: b\ndata: c\ndata: \n\n";
        assert_eq!(event(None, "a\n\nb\r\nc\r"), lines);
        assert_eq!(event(None, ""), "data: \n\n");
    }

    #[test]
    fn no_id_makes_a_line_of_its_own() {
        for id in ["1\n", "1\rdata: x", "\0"] {
            assert_eq!(event(Some(id), "a"), "data: a\n\n", "{id:?}");
        }
    }

    #[test]
    fn the_last_event_says_what_a_close_says() {
        let close = String::from_utf8(close_event(4_005, "by\nkick")).unwrap();
        assert_eq!(close, "event: close\ndata: 4005 by\ndata: kick\n\n");
    }
}
