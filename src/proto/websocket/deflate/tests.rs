//! Claims about compressed messages, with flate2's own streams as the judge of what we make.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress};
use proptest::prelude::*;

use super::*;
use crate::proto::websocket::FrameError;

const SIZE_MAX: usize = 4_096;

/// The example of RFC 7692 §7.2.3.1: "Hello" in one block with fixed codes.
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

/// What a receiver with a window of 4 KiB makes of a payload.
fn judged(payload: &[u8]) -> Vec<u8> {
    let mut stream = Decompress::new_with_window_bits(false, 12);
    let bytes = [payload, &TAIL].concat();
    let mut out = Vec::with_capacity(1 << 20);
    stream
        .decompress_vec(&bytes, &mut out, FlushDecompress::Sync)
        .unwrap();
    assert_eq!(stream.total_in(), bytes.len() as u64, "all of it was read");
    out
}

fn json(size: usize) -> Vec<u8> {
    let mut text = String::new();
    for number in 0.. {
        text += &format!(
            r#"{{"n":{number},"who":"ann","text":"said {}"}},"#,
            number * 7_919
        );
        if text.len() >= size {
            break;
        }
    }
    text.truncate(size);
    text.into_bytes()
}

fn inflated(payload: &[u8]) -> Result<Vec<u8>, FrameError> {
    Inflater::new()
        .inflate(payload, SIZE_MAX)
        .map(<[u8]>::to_vec)
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    assert_eq!(inflated(HELLO).as_deref(), Ok(&b"Hello"[..]));
    let stored = b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
    assert_eq!(inflated(stored).as_deref(), Ok(&b"Hello"[..]));
    let last_block = b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    assert_eq!(inflated(last_block).as_deref(), Ok(&b"Hello"[..]));
    let two_blocks = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    assert_eq!(inflated(two_blocks).as_deref(), Ok(&b"Hello"[..]));
    assert_eq!(inflated(b"\x00").as_deref(), Ok(&b""[..]));
}

#[test]
fn last_blocks_may_stand_anywhere() {
    let last = b"\xf3\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!(
        inflated(last).as_deref(),
        Ok(&b"Hello"[..]),
        "nothing behind"
    );
    let twice = [&last[..], HELLO].concat();
    assert_eq!(inflated(&twice).as_deref(), Ok(&b"HelloHello"[..]));
}

#[test]
fn one_message_leaves_nothing_behind_for_the_next() {
    let mut inflater = Inflater::new();
    for _ in 0..3 {
        assert_eq!(inflater.inflate(HELLO, 9), Ok(&b"Hello"[..]));
        // The same with a reference to the "Hello" before, which is gone (RFC 7692 §7.2.3.2).
        let error = Err(FrameError::DeflateStream);
        assert_eq!(inflater.inflate(b"\xf2\x00\x11\x00\x00", 9), error);
    }
}

#[test]
fn a_message_that_is_cut_or_broken_is_refused() {
    let whole = Deflater::new().message(&json(600)).unwrap();
    assert_eq!(inflated(&whole), Ok(json(600)));
    for cut in 0..whole.len() {
        let cut_short = inflated(&whole[..cut]);
        assert_eq!(cut_short, Err(FrameError::DeflateStream), "cut at {cut}");
    }
    assert_eq!(inflated(b"\x07"), Err(FrameError::DeflateStream));
}

#[test]
fn no_message_inflates_beyond_the_largest_message() {
    for size in [SIZE_MAX, SIZE_MAX + 1, 16 << 20] {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; size]).unwrap();
        let bomb = encoder.finish().unwrap();
        let mut inflater = Inflater::new();
        let inflated = inflater.inflate(&bomb, SIZE_MAX).map(<[u8]>::len);
        let expected = match size {
            SIZE_MAX => Ok(SIZE_MAX),
            _ => Err(FrameError::MessageTooLarge(SIZE_MAX)),
        };
        assert_eq!(inflated, expected, "{size} bytes");
        assert!(inflater.buffer_size() <= SIZE_MAX + 1);
    }
}

#[test]
fn what_a_peer_may_send_compressed_is_what_zlib_makes_of_the_largest_message() {
    let mut random = vec![0; 65_536];
    let mut state = 1_u64;
    for byte in &mut random {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    for level in 0..=9 {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(&random).unwrap();
        let bytes = encoder.finish().unwrap();
        assert!(
            bytes.len() <= deflated_size_max(random.len()),
            "level {level}"
        );
        let inflated = Inflater::new()
            .inflate(&bytes, random.len())
            .map(<[u8]>::len);
        assert_eq!(inflated, Ok(random.len()), "level {level}");
    }
}

#[test]
fn only_what_gets_smaller_is_compressed() {
    let mut deflater = Deflater::new();
    assert_eq!(deflater.message(b""), None);
    assert_eq!(deflater.message(b"hello"), None);
    let chat = json(1_000);
    let deflated = deflater.message(&chat).unwrap();
    assert!(deflated.len() < 500, "{}", deflated.len());
    assert_eq!(judged(&deflated), chat);
    assert_eq!(
        deflater.message(&chat).unwrap(),
        deflated,
        "no window is kept"
    );
}

#[test]
fn stored_heads_and_compressed_blocks_follow_one_another() {
    let (head, data, end) = (json(70_000), json(3_000), b"}".to_vec());
    let blocks = Deflater::new().blocks(&data).unwrap();
    let payload = composed(&head, &blocks, &end);
    let whole = [head, data, end].concat();
    assert_eq!(judged(&payload), whole);
    let inflated = Inflater::new()
        .inflate(&payload, 1 << 20)
        .map(<[u8]>::to_vec);
    assert_eq!(inflated, Ok(whole));
}

proptest! {
    #[test]
    fn what_is_compressed_is_inflated_to_the_same(
        words in prop::collection::vec("[a-e]{1,4}", 0..400),
        raw in prop::collection::vec(any::<u8>(), 0..400),
        size_max in 0..3_000_usize,
    ) {
        let message = [words.concat().into_bytes(), raw].concat();
        if let Some(payload) = Deflater::new().message(&message) {
            prop_assert!(payload.len() < message.len());
            prop_assert_eq!(&judged(&payload), &message);
            let mut inflater = Inflater::new();
            let inflated = inflater.inflate(&payload, size_max).map(<[u8]>::to_vec);
            let expected = match message.len() <= size_max {
                true => Ok(message),
                false => Err(FrameError::MessageTooLarge(size_max)),
            };
            prop_assert_eq!(inflated, expected);
        }
    }

    #[test]
    fn whatever_comes_the_buffer_stays_within_its_bound(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        start in 0..4_usize,
        size_max in 0..600_usize,
    ) {
        let starts: [&[u8]; 4] = [b"", HELLO, b"\x03\x00", b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f"];
        let payload = [starts[start], &bytes].concat();
        let mut inflater = Inflater::new();
        let inflated = inflater.inflate(&payload, size_max).map(<[u8]>::len);
        prop_assert!(inflated.is_err() || inflated.is_ok_and(|size| size <= size_max));
        prop_assert!(inflater.buffer_size() <= size_max + 1);
    }
}
