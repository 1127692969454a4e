//! A body: the first byte says its framing, the rest is what follows the head.
//!
//! A small letter (`c`) stands for chunks; another byte for a length of so many bytes.

use tidings::proto::http::{BodyDecoder, Framing, HttpError, HttpLimits};

use super::cuts;

/// Bounds that a short input can pass.
const LIMITS: HttpLimits = HttpLimits {
    target_size_max: 40,
    head_size_max: 200,
    head_fields_max: 6,
    body_size_max: 64,
    chunk_extensions_size_max: 8,
    trailers_size_max: 16,
};

/// What came of it: bytes taken, and the body where it is complete.
type Decoded = Result<(usize, Option<Vec<u8>>), HttpError>;

/// Collects a body from its bytes.
pub fn body(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let framing = match first {
        b'a'..=b'z' => Framing::Chunked,
        length => Framing::Length(u64::from(*length)),
    };
    let whole = decoded(framing, [bytes]);
    assert_eq!(decoded(framing, bytes.chunks(1)), whole, "byte by byte");
    for cut in cuts(bytes.len()) {
        let (before, behind) = bytes.split_at(cut);
        assert_eq!(decoded(framing, [before, behind]), whole, "cut at {cut}");
    }
    if let (Ok((taken, Some(body))), Framing::Chunked) = (&whole, framing) {
        let plainly = chunks(&bytes[..*taken]);
        assert_eq!(plainly.as_deref(), Some(&body[..]), "read plainly");
    }
}

fn decoded<'a>(framing: Framing, parts: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = BodyDecoder::new(framing, &LIMITS)?;
    let mut all = 0;
    for part in parts {
        let (taken, is_complete) = decoder.decode(part)?;
        assert_eq!(is_complete, decoder.is_complete());
        assert!(
            is_complete || taken == part.len(),
            "it leaves its own bytes"
        );
        all += taken;
        if is_complete {
            break;
        }
    }
    if !decoder.is_complete() {
        return Ok((all, None));
    }
    let body = decoder.into_body();
    assert!(body.len() <= LIMITS.body_size_max);
    if let Framing::Length(length) = framing {
        assert_eq!((body.len() as u64, all as u64), (length, length));
    }
    Ok((all, Some(body.to_vec())))
}

/// Chunks that are all there, read line by line (RFC 9112 §7.1); a second opinion, so nothing in it
/// is shared with the decoder.
fn chunks(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let digits = line(&mut bytes)?.split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size..)?;
        line_end(&mut bytes)?;
    }
    while !line(&mut bytes)?.is_empty() {}
    bytes.is_empty().then_some(body)
}

fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = &bytes[..size];
    *bytes = &bytes[size + 2..];
    Some(line)
}

fn line_end(bytes: &mut &[u8]) -> Option<()> {
    *bytes = bytes.strip_prefix(b"\r\n")?;
    Some(())
}
