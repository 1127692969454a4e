//! The body of one request, collected from any fragmentation of its bytes.

mod handover;

use bytes::Bytes;

use super::error::HttpError;
use super::limits::HttpLimits;
use super::token::is_token_byte;

/// The way in which a head tells where the body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body follows the head.
    None,
    /// A body of this many bytes follows.
    Length(u64),
    /// Chunks follow; an empty one is the last.
    Chunked,
}

/// Digits of a chunk's size; sixteen hold every `u64`.
const CHUNK_DIGITS_MAX: u8 = 16;

/// Bytes allocated for an announced body before its bytes have come.
///
/// A client that announces a large body and sends little must not cost much memory. A round number:
/// one page, which holds most bodies whole.
const ROOM_IN_ADVANCE: usize = 4 * 1024;

/// The body of one request while it arrives.
///
/// Chunk framing, chunk extensions and trailers are checked and dropped: only the data is kept.
#[derive(Debug)]
pub struct BodyDecoder {
    body: Vec<u8>,
    reading: BodyStage,
    body_size_max: usize,
    extensions: Allowance,
    trailers: Allowance,
}

/// The part of the body that is expected next. Its sizes are checked against the body's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyStage {
    /// The rest of a body whose length was announced, in bytes.
    Length(usize),
    ChunkSize {
        size: usize,
        digits: u8,
    },
    ChunkExtension {
        size: usize,
    },
    ChunkSizeLf {
        size: usize,
    },
    ChunkData(usize),
    ChunkDataCr,
    ChunkDataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Complete,
}

/// The bytes that a part without use, such as chunk extensions, may still have.
#[derive(Debug)]
struct Allowance {
    left: usize,
    max: usize,
}

impl BodyDecoder {
    /// Makes a decoder for the body that follows a head of this framing.
    ///
    /// # Errors
    ///
    /// 413 if the announced length is above the bound: no byte of the body need be read, and a
    /// client that waits for 100 need not send it.
    pub fn new(framing: Framing, limits: &HttpLimits) -> Result<Self, HttpError> {
        let too_large = HttpError::BodyTooLarge(limits.body_size_max);
        let reading = match framing {
            Framing::None | Framing::Length(0) => BodyStage::Complete,
            Framing::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= limits.body_size_max => BodyStage::Length(length),
                _ => return Err(too_large),
            },
            Framing::Chunked => BodyStage::ChunkSize { size: 0, digits: 0 },
        };
        Ok(Self {
            body: Vec::new(),
            reading,
            body_size_max: limits.body_size_max,
            extensions: Allowance::new(limits.chunk_extensions_size_max),
            trailers: Allowance::new(limits.trailers_size_max),
        })
    }

    /// Takes bytes of the body; returns the number of bytes taken, and whether the body is
    /// complete.
    ///
    /// The decoder takes all bytes unless the body ends before their end: the rest is the next
    /// request's.
    ///
    /// # Errors
    ///
    /// The chunk framing is broken or a bound is passed. The decoder mustn't be used any more.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, bool), HttpError> {
        let mut taken = 0;
        while taken < input.len() && !self.is_complete() {
            let rest = &input[taken..];
            taken += match self.reading {
                BodyStage::Length(left) | BodyStage::ChunkData(left) => self.take_data(left, rest),
                reading => {
                    self.reading = self.step(reading, rest[0])?;
                    1
                }
            };
        }
        Ok((taken, self.is_complete()))
    }

    /// Whether the whole body has arrived; true from the start if no body follows the head.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.reading == BodyStage::Complete
    }

    /// Returns the data that has arrived, without a copy.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        self.body.into()
    }

    /// Counts the bytes of memory that the body takes so far.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.body.capacity()
    }

    fn take_data(&mut self, left: usize, input: &[u8]) -> usize {
        let size = left.min(input.len());
        if self.body.capacity() == 0 {
            self.body
                .reserve_exact(left.min(input.len().max(ROOM_IN_ADVANCE)));
        }
        self.body.extend_from_slice(&input[..size]);
        let left = left - size;
        self.reading = match (self.reading, left) {
            (BodyStage::Length(_), 0) => BodyStage::Complete,
            (BodyStage::Length(_), left) => BodyStage::Length(left),
            (_, 0) => BodyStage::ChunkDataCr,
            (_, left) => BodyStage::ChunkData(left),
        };
        size
    }

    /// Takes one byte of chunk framing or trailers (RFC 9112 §7.1).
    fn step(&mut self, reading: BodyStage, byte: u8) -> Result<BodyStage, HttpError> {
        match (reading, byte) {
            (BodyStage::ChunkSize { size, digits }, _) => self.step_size(size, digits, byte),
            (BodyStage::ChunkExtension { size }, b'\r') => Ok(BodyStage::ChunkSizeLf { size }),
            (BodyStage::ChunkExtension { .. }, _) if is_value_byte(byte) => {
                self.extensions
                    .take()
                    .map_err(HttpError::ChunkExtensionsTooLarge)?;
                Ok(reading)
            }
            (BodyStage::ChunkExtension { .. }, _) => Err(HttpError::ChunkSize),
            (BodyStage::ChunkSizeLf { size: 0 }, b'\n') => Ok(BodyStage::TrailerStart),
            (BodyStage::ChunkSizeLf { size }, b'\n') => Ok(BodyStage::ChunkData(size)),
            (BodyStage::ChunkSizeLf { .. }, _) => Err(HttpError::ChunkSize),
            (BodyStage::ChunkDataCr, b'\r') => Ok(BodyStage::ChunkDataLf),
            (BodyStage::ChunkDataLf, b'\n') => Ok(BodyStage::ChunkSize { size: 0, digits: 0 }),
            (BodyStage::ChunkDataCr | BodyStage::ChunkDataLf, _) => Err(HttpError::ChunkEnd),
            (BodyStage::TrailerStart, b'\r') => Ok(BodyStage::LastLf),
            (BodyStage::LastLf, b'\n') => Ok(BodyStage::Complete),
            (reading, _) => self.step_trailer(reading, byte),
        }
    }

    /// Takes one byte of a chunk's size: digits only, though some parsers accept `+5` or `0x5`.
    fn step_size(&self, size: usize, digits: u8, byte: u8) -> Result<BodyStage, HttpError> {
        match (byte, char::from(byte).to_digit(16)) {
            (_, Some(digit)) if digits < CHUNK_DIGITS_MAX => {
                let room = self.body_size_max - self.body.len();
                let size = size
                    .checked_mul(16)
                    .and_then(|size| size.checked_add(digit as usize));
                match size {
                    Some(size) if size <= room => Ok(BodyStage::ChunkSize {
                        size,
                        digits: digits + 1,
                    }),
                    _ => Err(HttpError::BodyTooLarge(self.body_size_max)),
                }
            }
            (b'\r', None) if digits > 0 => Ok(BodyStage::ChunkSizeLf { size }),
            (b';', None) if digits > 0 => Ok(BodyStage::ChunkExtension { size }),
            _ => Err(HttpError::ChunkSize),
        }
    }

    /// Takes one byte of the trailers. They are dropped, but must be field lines: a parser that
    /// skipped malformed lines could take the next request for a trailer.
    fn step_trailer(&mut self, reading: BodyStage, byte: u8) -> Result<BodyStage, HttpError> {
        self.trailers.take().map_err(HttpError::TrailersTooLarge)?;
        match (reading, byte) {
            (BodyStage::TrailerStart | BodyStage::TrailerName, _) if is_token_byte(byte) => {
                Ok(BodyStage::TrailerName)
            }
            (BodyStage::TrailerName, b':') => Ok(BodyStage::TrailerValue),
            (BodyStage::TrailerValue, b'\r') => Ok(BodyStage::TrailerLf),
            (BodyStage::TrailerValue, _) if is_value_byte(byte) => Ok(BodyStage::TrailerValue),
            (BodyStage::TrailerLf, b'\n') => Ok(BodyStage::TrailerStart),
            _ => Err(HttpError::Trailer),
        }
    }
}

impl Allowance {
    fn new(max: usize) -> Self {
        Self { left: max, max }
    }

    fn take(&mut self) -> Result<(), usize> {
        self.left = self.left.checked_sub(1).ok_or(self.max)?;
        Ok(())
    }
}

/// Whether a field value may hold `byte`: a tab or no control character (RFC 9110 §5.5).
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> HttpLimits {
        HttpLimits {
            body_size_max: 100,
            chunk_extensions_size_max: 10,
            trailers_size_max: 20,
            ..HttpLimits::default()
        }
    }

    /// Body and the bytes taken, `None` while it isn't complete; the same byte by byte and whole.
    fn decoded(framing: Framing, input: &[u8]) -> Result<Option<(Bytes, usize)>, HttpError> {
        let whole = fed(framing, input.chunks(input.len().max(1)));
        assert_eq!(whole, fed(framing, input.chunks(1)), "cut or not");
        whole
    }

    fn fed<'a>(
        framing: Framing,
        parts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<(Bytes, usize)>, HttpError> {
        let mut decoder = BodyDecoder::new(framing, &limits())?;
        let mut taken = 0;
        for part in parts {
            taken += decoder.decode(part)?.0;
        }
        Ok(decoder.is_complete().then(|| (decoder.into_body(), taken)))
    }

    fn chunked(input: &[u8]) -> Result<Option<(Bytes, usize)>, HttpError> {
        decoded(Framing::Chunked, input)
    }

    #[test]
    fn no_body_is_complete_at_once_and_takes_nothing() {
        for framing in [Framing::None, Framing::Length(0)] {
            assert_eq!(decoded(framing, b"GET"), Ok(Some((Bytes::new(), 0))));
        }
    }

    #[test]
    fn an_announced_body_takes_its_length_and_no_more() {
        assert_eq!(
            decoded(Framing::Length(5), b"helloGET"),
            Ok(Some(("hello".into(), 5)))
        );
        assert_eq!(decoded(Framing::Length(5), b"hell"), Ok(None));
    }

    #[test]
    fn an_announced_body_over_the_bound_is_refused_before_it_comes() {
        assert!(BodyDecoder::new(Framing::Length(100), &limits()).is_ok());
        for length in [101, u64::MAX] {
            let refused = BodyDecoder::new(Framing::Length(length), &limits()).err();
            assert_eq!(refused, Some(HttpError::BodyTooLarge(100)));
        }
    }

    #[test]
    fn an_announced_length_sets_little_memory_aside() {
        let mut decoder =
            BodyDecoder::new(Framing::Length(1 << 20), &HttpLimits::default()).unwrap();
        decoder.decode(b"x").unwrap();
        assert!(
            decoder.body.capacity() <= ROOM_IN_ADVANCE,
            "{}",
            decoder.body.capacity()
        );
    }

    #[test]
    fn chunks_are_joined_and_their_framing_is_dropped() {
        for input in [
            "5\r\nhello\r\n0\r\n\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "0000000000000005;a=b;c\r\nhello\r\n000\r\n\r\n",
            "5;\r\nhello\r\n0;x=\"y z\"\r\n\r\n",
            "5\r\nhello\r\n0\r\nX: y\r\nZ:\r\n\r\n",
        ] {
            let expected = Ok(Some(("hello".into(), input.len())));
            assert_eq!(
                chunked([input, "GET"].concat().as_bytes()),
                expected,
                "{input:?}"
            );
        }
        assert_eq!(
            chunked(b"A\r\n0123456789\r\n0\r\n\r\n").unwrap().unwrap().0,
            "0123456789"
        );
        assert_eq!(chunked(b"0\r\n\r\n").unwrap().unwrap().0, "");
    }

    #[test]
    fn chunk_sizes_are_digits_and_nothing_else() {
        for line in [
            "",
            "+5",
            "-5",
            " 5",
            "5 ",
            "5\t",
            "0x5",
            "5 ;a",
            ";a",
            "g",
            "5,",
            "\u{665}",
            "5\n",
            "5\r5",
            "5;a\n",
            "5;a\r5",
            "5;\0",
            "00000000000000005",
        ] {
            let input = format!("{line}\r\nhello\r\n0\r\n\r\n");
            assert_eq!(
                chunked(input.as_bytes()),
                Err(HttpError::ChunkSize),
                "{line:?}"
            );
        }
    }

    #[test]
    fn chunks_over_the_bound_are_refused_at_their_size() {
        assert_eq!(chunked(b"64\r\n"), Ok(None));
        for line in ["65", "fff", "FFFFFFFFFFFFFFFF", "8000000000000000"] {
            assert_eq!(
                chunked(line.as_bytes()),
                Err(HttpError::BodyTooLarge(100)),
                "{line}"
            );
        }
        let input = [b"63\r\n", &[b'x'; 99][..], b"\r\n2"].concat();
        assert_eq!(chunked(&input), Err(HttpError::BodyTooLarge(100)));
    }

    #[test]
    fn chunk_sizes_that_overflow_are_refused_without_a_bound_too() {
        let limits = HttpLimits {
            body_size_max: usize::MAX,
            ..HttpLimits::default()
        };
        let mut decoder = BodyDecoder::new(Framing::Chunked, &limits).unwrap();
        assert_eq!(
            decoder.decode(b"FFFFFFFFFFFFFFFFF"),
            Err(HttpError::ChunkSize)
        );
    }

    #[test]
    fn chunk_data_must_be_followed_by_crlf() {
        for end in ["x\r\n", "\n", "\rx", "\r\r\n", "0\r\n"] {
            let input = format!("5\r\nhello{end}");
            assert_eq!(
                chunked(input.as_bytes()),
                Err(HttpError::ChunkEnd),
                "{end:?}"
            );
        }
    }

    #[test]
    fn the_extensions_of_all_chunks_share_one_bound() {
        let chunk = "1;aaaa\r\nx\r\n";
        assert_eq!(chunked(chunk.repeat(2).as_bytes()), Ok(None));
        let refused = Err(HttpError::ChunkExtensionsTooLarge(10));
        assert_eq!(chunked(chunk.repeat(3).as_bytes()), refused);
    }

    #[test]
    fn trailers_are_field_lines_within_their_bound() {
        for line in [
            "X",
            "X y: z",
            ": y",
            " X: y",
            "X : y",
            "X: y\n",
            "X: \0",
            "X: y\rz",
            "GET / HTTP/1.1",
        ] {
            let input = format!("0\r\n{line}\r\n\r\n");
            assert_eq!(
                chunked(input.as_bytes()),
                Err(HttpError::Trailer),
                "{line:?}"
            );
        }
        for end in ["\n", "\rx"] {
            assert_eq!(
                chunked(format!("0\r\n{end}").as_bytes()),
                Err(HttpError::Trailer),
                "{end:?}"
            );
        }
        let endless = format!("0\r\nX:{}", "y".repeat(19));
        assert_eq!(
            chunked(endless.as_bytes()),
            Err(HttpError::TrailersTooLarge(20))
        );
    }
}
