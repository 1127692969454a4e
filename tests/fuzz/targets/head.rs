//! A request head: the same whether it comes whole or in parts, and within its bounds.

use tidings::proto::http::{Head, HttpError, HttpLimits, parse};

use super::cuts;

/// Bounds that a short input can pass.
const LIMITS: HttpLimits = HttpLimits {
    target_size_max: 40,
    head_size_max: 200,
    head_fields_max: 6,
    body_size_max: 30,
    chunk_extensions_size_max: 8,
    trailers_size_max: 16,
};

/// What a head turned out to be.
type Parsed = Result<Option<(Seen, usize)>, HttpError>;

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    target: String,
    host: Option<String>,
    fields: Vec<(String, Vec<u8>)>,
}

/// Reads a head from bytes of which each part came before the next.
pub fn head(data: &[u8]) {
    let whole = parsed(data, &mut 0);
    for cut in cuts(data.len()) {
        let mut searched = 0;
        let first = parsed(&data[..cut], &mut searched);
        assert!(searched <= cut, "{searched} bytes of {cut} were searched");
        let cut_in_two = match first {
            Ok(None) => parsed(data, &mut searched),
            first => first,
        };
        assert_eq!(cut_in_two, whole, "cut at {cut}");
    }
    let mut searched = 0;
    let byte_by_byte = (0..=data.len())
        .map(|size| parsed(&data[..size], &mut searched))
        .find(|parsed| *parsed != Ok(None));
    assert_eq!(byte_by_byte.unwrap_or(Ok(None)), whole, "byte by byte");
}

fn parsed(bytes: &[u8], searched: &mut usize) -> Parsed {
    let Some((head, size)) = parse(bytes, searched, &LIMITS)? else {
        assert!(bytes.len() <= LIMITS.head_size_max + 2, "no bound strikes");
        return Ok(None);
    };
    assert_eq!(*searched, 0, "the next head begins at its beginning");
    check(&head, &bytes[..size]);
    let fields = head.fields();
    let seen = Seen {
        target: head.target().to_owned(),
        host: head.host().map(str::to_owned),
        fields: fields
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect(),
    };
    Ok(Some((seen, size)))
}

fn check(head: &Head, bytes: &[u8]) {
    let lead = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    assert!(bytes.len() - lead <= LIMITS.head_size_max);
    assert!(bytes.ends_with(b"\r\n\r\n"));
    assert!(head.target().len() <= LIMITS.target_size_max);
    assert!(head.fields().count() <= LIMITS.head_fields_max);
    assert!(head.path().starts_with('/') || head.path() == "*");
    for part in [Some(head.path()), head.query()].into_iter().flatten() {
        assert!(!part.contains(|c: char| c == ' ' || c.is_ascii_control()));
    }
    for (name, value) in head.fields() {
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)));
    }
    // Each line is one field: nothing was folded, skipped or read twice.
    let lines = bytes[lead..].split(|byte| *byte == b'\n').count() - 3;
    assert_eq!(head.fields().count(), lines, "a line is a field");
    // A refusal is an answer; nothing that can be asked of a head may panic.
    let framing = head.framing();
    let expects = head.expects_continue();
    if let Err(error) = framing {
        assert!((400..=599).contains(&error.response().status()));
        assert!(expects != Ok(true), "it waits for a body that is refused");
    }
    let _ = (head.answer_to(), head.asks_for_websocket());
}
