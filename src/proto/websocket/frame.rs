//! Frames as the server sends them: whole messages, never masked (RFC 6455 §5.1).

use bytes::BufMut;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// Largest header of a server's frame, in bytes: two, and a 64-bit length.
pub const HEADER_SIZE_MAX: usize = 10;

/// The first byte of a text in one frame, which isn't compressed.
const TEXT: u8 = 0x81;

/// The kind of a message's data (RFC 6455 §5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// The data is UTF-8, which is checked when it comes from a client.
    Text,
    /// The data may be any bytes.
    Binary,
}

impl MessageKind {
    fn opcode(self) -> OpCode {
        OpCode::Data(match self {
            Self::Text => Data::Text,
            Self::Binary => Data::Binary,
        })
    }
}

/// Appends one message to `out` as one frame, with the shortest possible header.
///
/// `out` is a buffer that grows, such as a `Vec` or a `BytesMut`. The payload of a text message has
/// to be UTF-8 (RFC 6455 §5.6); this function doesn't check it.
#[inline]
pub fn encode_message(out: &mut impl BufMut, kind: MessageKind, payload: &[u8]) {
    encode(out, kind, payload, false);
}

/// Appends one compressed message to `out` as one frame (RFC 7692 §6.1), for a peer that has agreed on
/// compression.
pub fn encode_deflated(out: &mut impl BufMut, kind: MessageKind, payload: &[u8]) {
    encode(out, kind, payload, true);
}

#[inline]
fn encode(out: &mut impl BufMut, kind: MessageKind, payload: &[u8], rsv1: bool) {
    // tungstenite's default header is that of a close frame: take only its other reserved bits, which
    // are false.
    let header = FrameHeader {
        is_final: true,
        opcode: kind.opcode(),
        mask: None,
        rsv1,
        ..FrameHeader::default()
    };
    header
        .format(payload.len() as u64, &mut (&mut *out).writer())
        .expect("a growing buffer takes every byte");
    out.put_slice(payload);
}

/// Returns the size of the header of a server's frame with a payload of this size: 2, 4 or 10.
#[must_use]
pub const fn header_size(payload_size: usize) -> usize {
    match payload_size {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => HEADER_SIZE_MAX,
    }
}

/// Returns the end of the frame that contains `position`; between two frames, `position` itself.
///
/// `frames` is a run of whole frames as the server sends them. For a run that ends within a frame,
/// or a position behind its end, the answer is the end of the run. The time grows with the number
/// of frames, not of bytes.
#[must_use]
pub fn frame_boundary_at_or_after(frames: &[u8], position: usize) -> usize {
    let mut boundary = 0;
    while boundary < position {
        let Some(frame_size) = first_frame_size(&frames[boundary..]) else {
            return frames.len();
        };
        boundary = boundary.saturating_add(frame_size);
        if boundary > frames.len() {
            return frames.len();
        }
    }
    boundary
}

/// Lists the texts among whole frames as the server sends them; others, and compressed ones, are passed
/// over.
pub fn texts(frames: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = frames;
    let each = std::iter::from_fn(move || {
        let size = first_frame_size(rest)?;
        let (frame, behind) = rest.split_at_checked(size)?;
        rest = behind;
        Some(frame)
    });
    each.filter(|frame| frame[0] == TEXT).filter_map(|frame| {
        let header_size = match frame[1] {
            126 => 4,
            127 => HEADER_SIZE_MAX,
            _ => 2,
        };
        std::str::from_utf8(&frame[header_size..]).ok()
    })
}

/// Returns the size of the first frame in `frames`, header and payload; `None` if its header is
/// cut.
fn first_frame_size(frames: &[u8]) -> Option<usize> {
    let (payload_size, header_size) = match *frames.get(1)? {
        126 => (
            u64::from(u16::from_be_bytes(*frames.get(2..)?.first_chunk()?)),
            4,
        ),
        127 => (
            u64::from_be_bytes(*frames.get(2..)?.first_chunk()?),
            HEADER_SIZE_MAX,
        ),
        payload_size => (u64::from(payload_size), 2),
    };
    Some(
        usize::try_from(payload_size)
            .ok()?
            .saturating_add(header_size),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(kind: MessageKind, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_message(&mut out, kind, payload);
        out
    }

    #[test]
    fn a_short_text_is_the_example_of_rfc_6455_section_5_7() {
        let frame = encoded(MessageKind::Text, b"Hello");
        assert_eq!(frame, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }

    #[test]
    fn every_length_takes_the_shortest_form() {
        let headers: [(usize, &[u8]); 6] = [
            (0, &[0x82, 0]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (127, &[0x82, 126, 0, 127]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ];
        for (size, header) in headers {
            let frame = encoded(MessageKind::Binary, &vec![7; size]);
            assert_eq!(&frame[..header.len()], header, "payload of {size}");
            assert_eq!(header_size(size), header.len(), "payload of {size}");
            assert_eq!(frame.len(), header.len() + size);
        }
    }

    #[test]
    fn a_message_is_appended_to_what_is_there() {
        let mut out = b"before".to_vec();
        encode_message(&mut out, MessageKind::Binary, &[1]);
        assert_eq!(out, b"before\x82\x01\x01");
    }

    #[test]
    fn a_compressed_frame_says_so_and_has_the_same_boundaries() {
        let (mut plain, mut deflated) = (Vec::new(), Vec::new());
        for size in [0, 5, 126, 65_536] {
            encode_message(&mut plain, MessageKind::Text, &vec![1; size]);
            encode_deflated(&mut deflated, MessageKind::Text, &vec![1; size]);
        }
        assert_eq!((plain[0], deflated[0]), (0x81, 0xc1));
        for position in 0..plain.len() {
            let of_plain = frame_boundary_at_or_after(&plain, position);
            assert_eq!(frame_boundary_at_or_after(&deflated, position), of_plain);
        }
    }

    #[test]
    fn the_texts_of_a_run_are_listed() {
        let mut run = Vec::new();
        encode_message(&mut run, MessageKind::Text, b"short");
        encode_message(&mut run, MessageKind::Binary, b"bytes");
        encode_deflated(&mut run, MessageKind::Text, b"\x00");
        run.extend_from_slice(&[0x89, 1, b'p']);
        let long = "x".repeat(70_000);
        encode_message(&mut run, MessageKind::Text, long.as_bytes());
        encode_message(&mut run, MessageKind::Text, &long.as_bytes()[..300]);
        encode_message(&mut run, MessageKind::Text, b"");
        let expected = ["short", &long, &long[..300], ""];
        assert!(texts(&run).eq(expected));
        assert!(texts(&run[..run.len() - 3]).eq(expected[..2].iter().copied()));
    }

    #[test]
    fn every_position_is_moved_to_the_end_of_its_frame() {
        let mut run = Vec::new();
        let mut boundaries = vec![0];
        for size in [0, 5, 125, 126, 200, 65_535, 65_536, 1] {
            encode_message(&mut run, MessageKind::Binary, &vec![0xff; size]);
            boundaries.push(run.len());
        }
        let positions = (0..1_000)
            .chain((1_000..run.len()).step_by(97))
            .chain([run.len()]);
        for position in positions {
            let expected = boundaries.iter().find(|&&end| end >= position).unwrap();
            assert_eq!(
                frame_boundary_at_or_after(&run, position),
                *expected,
                "at {position}"
            );
        }
    }

    #[test]
    fn a_run_that_is_cut_or_overrun_ends_where_it_ends() {
        let run = encoded(MessageKind::Text, &[b'a'; 300]);
        for cut in 1..run.len() {
            assert_eq!(frame_boundary_at_or_after(&run[..cut], 1), cut);
        }
        assert_eq!(frame_boundary_at_or_after(&run, run.len() + 1), run.len());
        assert_eq!(
            frame_boundary_at_or_after(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255], 3),
            10
        );
    }
}
