//! The frames on the pipe between the server and a process, decoded and encoded.
//!
//! A stream glues writes together and cuts them anywhere, so each frame carries its length:
//! `u32` little endian (of the payload alone), one byte of kind, `u64` little endian id, payload.
//! Nothing here opens a file or a socket.
//!
//! Invariant: however the bytes are cut, [`PipeDecoder`] returns the frames that were encoded, in
//! order; after an error it returns no further frame.

use std::fmt;

use bytes::Bytes;

/// The version of these frames, and of what [`PIPE_VAR`](super::child::PIPE_VAR) says. A program that a
/// newer one has taken the place of may have started a process whose frames are others.
pub(super) const PIPE_VERSION: u16 = 1;

/// Bytes before each payload: length, kind, id.
pub(super) const HEADER_SIZE: usize = 13;

/// Capacity that a decoder keeps once it is empty, in bytes: that of one read.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipeKind {
    /// A message, in either direction; the id is unused.
    Message = 1,
    /// A task for the process.
    Task = 2,
    /// The result of the task with this id, for the server.
    Finish = 3,
    /// The failure of the task with this id; the payload is the reason, in UTF-8.
    Failed = 4,
    /// The end, for the process: it finishes its tasks and ends.
    Stop = 5,
}

impl PipeKind {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Message),
            2 => Some(Self::Task),
            3 => Some(Self::Finish),
            4 => Some(Self::Failed),
            5 => Some(Self::Stop),
            _ => None,
        }
    }
}

/// One frame as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PipeFrame {
    pub kind: PipeKind,
    pub id: u64,
    pub payload: Bytes,
}

/// The way in which bytes on the pipe were no frame; the pipe can't be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PipeError {
    /// No frame is of this kind.
    Kind(u8),
    /// A frame announced a payload of this many bytes.
    TooLarge(usize),
    /// A frame of this kind goes the other way.
    Direction(PipeKind),
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(byte) => write!(f, "frame of unknown kind {byte} on the pipe"),
            Self::TooLarge(size) => write!(f, "frame of {size} bytes on the pipe is too large"),
            Self::Direction(kind) => write!(f, "frame {kind:?} came from the wrong side"),
        }
    }
}

impl std::error::Error for PipeError {}

impl From<PipeError> for std::io::Error {
    fn from(error: PipeError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Encodes the header of a payload of `size` bytes.
///
/// # Panics
///
/// `size` is above `u32::MAX`; callers refuse payloads above `frame_size_max`.
pub(super) fn header(kind: PipeKind, id: u64, size: usize) -> [u8; HEADER_SIZE] {
    let size = u32::try_from(size).expect("frame_size_max is a u32");
    let mut header = [0; HEADER_SIZE];
    header[..4].copy_from_slice(&size.to_le_bytes());
    header[4] = kind as u8;
    header[5..].copy_from_slice(&id.to_le_bytes());
    header
}

/// The decoder of the pipe's frames.
#[derive(Debug)]
pub(super) struct PipeDecoder {
    /// Received bytes; those before `taken` have been returned as frames.
    bytes: Vec<u8>,
    taken: usize,
    frame_size_max: u32,
}

impl PipeDecoder {
    /// Makes a decoder that refuses a payload above `frame_size_max` as soon as its length is read.
    pub(super) fn new(frame_size_max: u32) -> Self {
        Self {
            bytes: Vec::new(),
            taken: 0,
            frame_size_max,
        }
    }

    /// Takes bytes in any fragmentation.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        if self.bytes.is_empty() {
            self.bytes.shrink_to(KEPT_BYTES_MAX);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the bytes that aren't returned as frames yet.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Returns the next whole frame; take all before the next [`PipeDecoder::receive`].
    ///
    /// # Errors
    ///
    /// The bytes are not frames. The same error comes again at every further call.
    pub(super) fn next_frame(&mut self) -> Result<Option<PipeFrame>, PipeError> {
        let Some((head, rest)) = self.bytes[self.taken..].split_first_chunk::<HEADER_SIZE>() else {
            return Ok(None);
        };
        let [s0, s1, s2, s3, kind, id @ ..] = *head;
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        let kind = PipeKind::from_byte(kind).ok_or(PipeError::Kind(kind))?;
        if size > self.frame_size_max {
            return Err(PipeError::TooLarge(size as usize));
        }
        let Some(payload) = rest.get(..size as usize) else {
            return Ok(None);
        };
        // Copied, since a slice would keep all bytes of the read alive for as long as it lives.
        let payload = Bytes::copy_from_slice(payload);
        self.taken += HEADER_SIZE + payload.len();
        Ok(Some(PipeFrame {
            kind,
            id: u64::from_le_bytes(id),
            payload,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: PipeKind, id: u64, payload: &[u8]) -> PipeFrame {
        PipeFrame {
            kind,
            id,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    fn sample() -> (Vec<PipeFrame>, Vec<u8>) {
        let frames = vec![
            frame(PipeKind::Task, 1, b"first"),
            frame(PipeKind::Message, 0, b""),
            frame(PipeKind::Finish, u64::MAX - 1, &[7; 300]),
            frame(PipeKind::Failed, 0x0102_0304_0506_0708, b"why"),
            frame(PipeKind::Stop, 0, b""),
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            bytes.extend_from_slice(&header(frame.kind, frame.id, frame.payload.len()));
            bytes.extend_from_slice(&frame.payload);
        }
        (frames, bytes)
    }

    fn drain(decoder: &mut PipeDecoder, frames: &mut Vec<PipeFrame>) {
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame);
        }
    }

    #[test]
    fn every_fragmentation_of_the_same_bytes_gives_the_same_frames() {
        let (sent, bytes) = sample();
        for cut in 0..=bytes.len() {
            let mut decoder = PipeDecoder::new(300);
            let mut received = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.receive(part);
                drain(&mut decoder, &mut received);
            }
            assert_eq!(received, sent, "cut at {cut}");
        }
    }

    #[test]
    fn a_byte_at_a_time_gives_the_same_frames() {
        let (sent, bytes) = sample();
        let mut decoder = PipeDecoder::new(300);
        let mut received = Vec::new();
        for byte in bytes {
            decoder.receive(&[byte]);
            drain(&mut decoder, &mut received);
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn the_bytes_on_the_pipe_are_those_that_the_module_doc_says() {
        assert_eq!(
            header(PipeKind::Finish, 0x0807_0605_0403_0201, 0x0102),
            [2, 1, 0, 0, 3, 1, 2, 3, 4, 5, 6, 7, 8]
        );
    }

    #[test]
    fn a_payload_over_the_bound_is_refused_by_its_length_alone() {
        let mut decoder = PipeDecoder::new(10);
        decoder.receive(&header(PipeKind::Task, 1, 11));
        assert_eq!(decoder.next_frame(), Err(PipeError::TooLarge(11)));
        assert_eq!(decoder.next_frame(), Err(PipeError::TooLarge(11)));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        for kind in [0, 6, 255] {
            let mut decoder = PipeDecoder::new(10);
            let mut bytes = header(PipeKind::Task, 1, 0);
            bytes[4] = kind;
            decoder.receive(&bytes);
            assert_eq!(decoder.next_frame(), Err(PipeError::Kind(kind)));
        }
    }

    #[test]
    fn a_large_frame_leaves_no_large_buffer_behind() {
        let mut decoder = PipeDecoder::new(1 << 20);
        decoder.receive(&header(PipeKind::Task, 1, 1 << 20));
        decoder.receive(&vec![0; 1 << 20]);
        assert_eq!(
            decoder.next_frame().unwrap().unwrap().payload.len(),
            1 << 20
        );
        decoder.receive(b"x");
        assert!(
            decoder.bytes.capacity() <= KEPT_BYTES_MAX,
            "{}",
            decoder.bytes.capacity()
        );
    }
}
