//! A server's HTTP answers as a pure state machine: bytes in, finished answers out.
//!
//! The head of the last answer is remembered: servers repeat themselves, so most heads are
//! recognized by comparing and never parsed.

use crate::measure::failure::Failure;

/// The longest head, or line of a chunked body, in bytes.
const HELD_SIZE_MAX: usize = 64 << 10;

/// The body that is kept of an answer, about, in bytes.
const BODY_SIZE_MAX: usize = 4 << 20;

/// What a head says about the answer (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    body: Body,
    closing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Sized(u64),
    Chunked,
    UntilEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// At the beginning of an answer, or within its head.
    Head,
    /// So many bytes of the body are missing.
    Sized(u64),
    /// At the line that says how long the next chunk is.
    ChunkSize,
    /// So many bytes of the chunk and its line end are missing.
    Chunk(u64),
    /// In the lines behind the last chunk.
    Trailer,
    /// The end of the stream ends the body.
    UntilEnd,
}

/// Joins the bytes of one connection, in any fragmentation, to answers.
#[derive(Debug)]
pub(crate) struct ResponseParser {
    reading: Reading,
    head: Head,
    /// A head or line that isn't complete.
    held: Vec<u8>,
    /// The last head, as it was on the wire.
    known: Vec<u8>,
    bodiless: bool,
    /// The body of the answer so far, when bodies are kept.
    body: Option<Vec<u8>>,
    /// The server said that it would close behind the last answer.
    closing: bool,
}

impl ResponseParser {
    /// Begins before the first answer; `bodiless` for the answers to HEAD.
    pub(crate) fn new(bodiless: bool) -> Self {
        let head = Head {
            status: 0,
            body: Body::Sized(0),
            closing: false,
        };
        Self {
            reading: Reading::Head,
            head,
            held: Vec::new(),
            known: Vec::new(),
            bodiless,
            body: None,
            closing: false,
        }
    }

    /// Begins before the first answer; bodies are handed over with their answers.
    pub(crate) fn with_bodies() -> Self {
        Self {
            body: Some(Vec::new()),
            ..Self::new(false)
        }
    }

    /// Takes bytes; calls `answered` with the status of each answer that they complete, and its
    /// body, which is empty unless bodies are kept.
    ///
    /// # Errors
    ///
    /// This isn't HTTP/1.1.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        mut answered: impl FnMut(u16, &[u8]),
    ) -> Result<(), Failure> {
        if self.held.is_empty() {
            let taken = self.take(bytes, &mut answered)?;
            self.held.extend_from_slice(&bytes[taken..]);
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let taken = self.take(&held, &mut answered)?;
            held.drain(..taken);
            self.held = held;
        }
        match self.held.len() <= HELD_SIZE_MAX {
            true => Ok(()),
            false => Err(Failure::Violation("an endless head")),
        }
    }

    /// Takes the end of the stream; gives the status of an answer that ends with it.
    ///
    /// # Errors
    ///
    /// [`Failure::Ended`] when an answer was expected, or was not complete.
    pub(crate) fn end(&mut self) -> Result<Option<u16>, Failure> {
        match self.reading {
            Reading::UntilEnd => Ok(Some(self.head.status)),
            Reading::Head if self.closing && self.held.is_empty() => Ok(None),
            _ => Err(Failure::Ended),
        }
    }

    /// Whether the server closes the connection behind the last complete answer.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    fn take(
        &mut self,
        bytes: &[u8],
        answered: &mut impl FnMut(u16, &[u8]),
    ) -> Result<usize, Failure> {
        let mut taken = 0;
        while taken < bytes.len() {
            let Some(count) = self.step(&bytes[taken..])? else {
                break;
            };
            taken += count;
            let done = matches!(self.reading, Reading::Sized(0));
            if done {
                self.reading = Reading::Head;
            }
            if done && self.head.status >= 200 {
                self.closing = self.head.closing;
                answered(self.head.status, self.body.as_deref().unwrap_or_default());
            }
            if done && let Some(body) = &mut self.body {
                body.clear();
            }
        }
        Ok(taken)
    }

    /// Goes one state on; gives the bytes that it took, or `None` when it needs more.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let skip = |missing: u64| (bytes.len() as u64).min(missing);
        let (taken, next) = match self.reading {
            Reading::Head => return self.step_head(bytes),
            Reading::UntilEnd => (bytes.len() as u64, Reading::UntilEnd),
            Reading::Sized(missing) => (skip(missing), Reading::Sized(missing - skip(missing))),
            Reading::Chunk(missing) if skip(missing) == missing => (missing, Reading::ChunkSize),
            Reading::Chunk(missing) => (skip(missing), Reading::Chunk(missing - skip(missing))),
            Reading::ChunkSize | Reading::Trailer => {
                let Some(end) = memchr::memchr(b'\n', bytes) else {
                    return Ok(None);
                };
                let line = bytes[..end].trim_ascii();
                let next = match self.reading {
                    Reading::Trailer if line.is_empty() => Reading::Sized(0),
                    Reading::Trailer => Reading::Trailer,
                    _ => behind_chunk_size(line)?,
                };
                (end as u64 + 1, next)
            }
        };
        let within = match self.reading {
            // The line end behind a chunk is no part of the body.
            Reading::Chunk(missing) => taken.min(missing.saturating_sub(2)),
            Reading::Sized(_) | Reading::UntilEnd => taken,
            _ => 0,
        };
        if let Some(body) = &mut self.body
            && body.len() < BODY_SIZE_MAX
        {
            body.extend_from_slice(&bytes[..within as usize]);
        }
        self.reading = next;
        Ok(Some(taken as usize))
    }

    fn step_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Failure> {
        let size = if !self.known.is_empty() && bytes.starts_with(&self.known) {
            self.known.len()
        } else {
            let Some((head, size)) = parse_head(bytes)? else {
                return Ok(None);
            };
            self.head = head;
            self.known = bytes[..size].into();
            size
        };
        let bodiless =
            self.bodiless || self.head.status < 200 || [204, 304].contains(&self.head.status);
        self.reading = match self.head.body {
            _ if bodiless => Reading::Sized(0),
            Body::Sized(size) => Reading::Sized(size),
            Body::Chunked => Reading::ChunkSize,
            Body::UntilEnd => Reading::UntilEnd,
        };
        Ok(Some(size))
    }
}

fn behind_chunk_size(line: &[u8]) -> Result<Reading, Failure> {
    let digits = line
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let size = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u64::from_str_radix(digits, 16).ok());
    match size {
        Some(0) => Ok(Reading::Trailer),
        Some(size) if size < u64::MAX - 2 => Ok(Reading::Chunk(size + 2)),
        _ => Err(Failure::Violation("a chunk without a size")),
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut answer = httparse::Response::new(&mut fields);
    let size = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Failure::Violation("an answer that isn't HTTP")),
    };
    let http_1_0 = answer.version == Some(0);
    let mut head = Head {
        status: answer.code.unwrap_or(0),
        body: Body::UntilEnd,
        closing: http_1_0,
    };
    for field in answer.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("content-length") && head.body != Body::Chunked {
            let size = std::str::from_utf8(value)
                .ok()
                .and_then(|size| size.parse().ok());
            head.body =
                Body::Sized(size.ok_or(Failure::Violation("a Content-Length without a number"))?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            head.body = Body::Chunked;
        } else if field.name.eq_ignore_ascii_case("connection") {
            let said = |word: &str| {
                value
                    .split(|&byte| byte == b',')
                    .any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
            };
            head.closing = said("close") || (http_1_0 && !said("keep-alive"));
        }
    }
    Ok(Some((head, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
        HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nworld\
        HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n\
        HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n\
        HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn every_fragmentation_of_the_same_bytes_gives_the_same_answers() {
        for cut in 0..ANSWERS.len() {
            let mut parser = ResponseParser::new(false);
            let mut statuses = Vec::new();
            for part in [&ANSWERS[..cut], &ANSWERS[cut..]] {
                parser
                    .receive(part, |status, _| statuses.push(status))
                    .unwrap();
            }
            assert_eq!(statuses, [200, 200, 201, 304, 404], "cut at {cut}");
            assert!(parser.is_closing() && parser.end().unwrap().is_none());
        }
    }

    #[test]
    fn bodies_are_handed_over_however_they_are_cut() {
        for cut in 0..ANSWERS.len() {
            let mut parser = ResponseParser::with_bodies();
            let mut bodies = Vec::new();
            for part in [&ANSWERS[..cut], &ANSWERS[cut..]] {
                parser
                    .receive(part, |_, body| bodies.push(body.to_vec()))
                    .unwrap();
            }
            let expected: [&[u8]; 5] = [b"hello", b"world", b"hello0123456789", b"", b""];
            assert_eq!(bodies, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_stream() {
        let mut parser = ResponseParser::new(false);
        parser
            .receive(b"HTTP/1.0 200 OK\r\n\r\nhello", |_, _| {
                panic!("not complete")
            })
            .unwrap();
        assert_eq!(parser.end().unwrap(), Some(200));
    }

    #[test]
    fn an_end_within_an_answer_is_a_failure() {
        let mut parser = ResponseParser::new(false);
        assert!(parser.end().is_err());
        parser.receive(&ANSWERS[..60], |_, _| ()).unwrap();
        assert!(parser.end().is_err());
        assert!(
            ResponseParser::new(false)
                .receive(b"SSH-2.0\r\n", |_, _| ())
                .is_err()
        );
    }

    #[test]
    fn answers_to_head_have_no_body() {
        let mut parser = ResponseParser::new(true);
        let mut count = 0;
        let answers = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".repeat(2);
        parser.receive(&answers, |_, _| count += 1).unwrap();
        assert_eq!(count, 2);
    }
}
