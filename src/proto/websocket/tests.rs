//! Claims about whole streams of frames, in every fragmentation.

use std::borrow::Cow;

use super::*;

const MESSAGE_SIZE_MAX: usize = 100_000;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as a client sends it; `first` is FIN, reserved bits and opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        size @ 0..=125 => frame.push(0x80 | size as u8),
        size @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((size as u16).to_be_bytes());
        }
        size => {
            frame.push(0x80 | 127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

fn text(payload: &str) -> Item<'static> {
    message(MessageKind::Text, payload.as_bytes())
}

fn binary(payload: &[u8]) -> Item<'static> {
    message(MessageKind::Binary, payload)
}

fn message(kind: MessageKind, payload: &[u8]) -> Item<'static> {
    Item::Message {
        kind,
        payload: Cow::Owned(payload.to_vec()),
    }
}

fn deflated(kind: MessageKind, payload: &[u8]) -> Item<'static> {
    Item::Deflated {
        kind,
        payload: Cow::Owned(payload.to_vec()),
    }
}

fn ping(payload: &[u8]) -> Item<'static> {
    Item::Ping(Cow::Owned(payload.to_vec()))
}

fn close(code: Option<u16>, reason: &str) -> Item<'static> {
    Item::Close {
        code,
        reason: Cow::Owned(reason.to_owned()),
    }
}

fn owned(item: Item<'_>) -> Item<'static> {
    match item {
        Item::Message { kind, payload } => message(kind, &payload),
        Item::Deflated { kind, payload } => deflated(kind, &payload),
        Item::Ping(payload) => ping(&payload),
        Item::Pong(payload) => Item::Pong(Cow::Owned(payload.into_owned())),
        Item::Close { code, reason } => close(code, &reason),
    }
}

/// Feeds one read after the other; the items so far and the error that ended them.
fn feed(decoder: &mut MessageDecoder, reads: &[&[u8]]) -> (Vec<Item<'static>>, Option<FrameError>) {
    let mut items = Vec::new();
    for read in reads {
        let mut bytes = read.to_vec();
        let mut start = 0;
        while start < bytes.len() {
            let rest_size = bytes.len() - start;
            match decoder.decode(&mut bytes[start..], MESSAGE_SIZE_MAX) {
                Ok((taken, item)) => {
                    assert!(item.is_some() || taken == rest_size, "bytes were left over");
                    items.extend(item.map(owned));
                    start += taken;
                }
                Err(error) => return (items, Some(error)),
            }
        }
    }
    (items, None)
}

fn feed_new(reads: &[&[u8]]) -> (Vec<Item<'static>>, Option<FrameError>) {
    feed(&mut MessageDecoder::new(), reads)
}

/// The error that ends a stream, which must be the same in one piece and byte by byte.
fn error_of(stream: &[u8]) -> Option<FrameError> {
    let whole = feed_new(&[stream]);
    assert_eq!(feed_new(&stream.chunks(1).collect::<Vec<_>>()), whole);
    whole.1
}

/// The stream fails with this error, and would not have without its last byte.
fn fails_at_last_byte(stream: &[u8], error: FrameError) {
    assert_eq!(error_of(&stream[..stream.len() - 1]), None, "{stream:02x?}");
    assert_eq!(error_of(stream), Some(error), "{stream:02x?}");
}

fn streams() -> Vec<(Vec<u8>, Vec<Item<'static>>)> {
    let long_text = "añ€😀".repeat(13);
    let streams: [(&[Vec<u8>], &[Item<'static>]); 5] = [
        (
            &[
                frame(0x81, b"Hello"),
                frame(0x82, &[0, 255]),
                frame(0x81, b""),
                frame(0x89, b""),
            ],
            &[text("Hello"), binary(&[0, 255]), text(""), ping(b"")],
        ),
        (
            // Characters cut by fragments, control frames between the fragments.
            &[
                frame(0x01, &long_text.as_bytes()[..3]),
                frame(0x89, b"how are you"),
                frame(0x00, &long_text.as_bytes()[3..8]),
                frame(0x00, b""),
                frame(0x8a, b"fine"),
                frame(0x89, b""),
                frame(0x80, &long_text.as_bytes()[8..]),
                frame(0x81, b"next"),
            ],
            &[
                ping(b"how are you"),
                Item::Pong(Cow::Borrowed(b"fine")),
                ping(b""),
                text(&long_text),
                text("next"),
            ],
        ),
        (
            &[
                frame(0x02, b""),
                frame(0x00, b""),
                frame(0x80, b""),
                frame(0x02, b"x"),
                frame(0x80, b""),
            ],
            &[binary(b""), binary(b"x")],
        ),
        (
            // Every form of length at its edges.
            &[
                frame(0x82, &[1; 125]),
                frame(0x82, &[2; 126]),
                frame(0x8a, &[3; 125]),
            ],
            &[
                binary(&[1; 125]),
                binary(&[2; 126]),
                Item::Pong(Cow::Borrowed(&[3; 125])),
            ],
        ),
        (
            &[
                frame(0x81, b"bye"),
                frame(0x88, b"\x03\xe8see you \xe2\x82\xac"),
            ],
            &[text("bye"), close(Some(1000), "see you €")],
        ),
    ];
    streams
        .map(|(frames, items)| (frames.concat(), items.to_vec()))
        .to_vec()
}

#[test]
fn every_fragmentation_of_the_same_bytes_gives_the_same_items() {
    for (stream, items) in streams() {
        assert_eq!(feed_new(&[&stream]), (items.clone(), None));
        for first in 0..=stream.len() {
            let (head, tail) = stream.split_at(first);
            assert_eq!(
                feed_new(&[head, tail]),
                (items.clone(), None),
                "cut at {first}"
            );
            let middle = tail.len() / 2;
            let reads = [head, &tail[..middle], &tail[middle..]];
            assert_eq!(
                feed_new(&reads),
                (items.clone(), None),
                "cut at {first}, then {middle}"
            );
        }
        for size in 1..40 {
            let reads: Vec<_> = stream.chunks(size).collect();
            assert_eq!(feed_new(&reads), (items.clone(), None), "reads of {size}");
        }
    }
}

#[test]
fn compressed_messages_are_joined_and_given_on_as_they_came_at_every_cut() {
    let bad_text = b"\xff\xfe";
    let stream = [
        frame(0xc1, b"not"),
        frame(0x41, b"utf"),
        frame(0x00, bad_text),
        frame(0x89, b"p"),
        frame(0x80, b""),
        frame(0x81, "\u{20ac}".as_bytes()),
        frame(0xc2, b""),
    ]
    .concat();
    let joined = [&b"utf"[..], bad_text].concat();
    let expected = vec![
        deflated(MessageKind::Text, b"not"),
        ping(b"p"),
        deflated(MessageKind::Text, &joined),
        text("\u{20ac}"),
        deflated(MessageKind::Binary, b""),
    ];
    for cut in 0..=stream.len() {
        let reads = [&stream[..cut], &stream[cut..]];
        let fed = feed(&mut MessageDecoder::deflating(), &reads);
        assert_eq!(fed, (expected.clone(), None), "cut at {cut}");
    }
    assert_eq!(feed_new(&[&stream]).1, Some(FrameError::ReservedBits));
}

#[test]
fn large_messages_survive_every_cut_near_their_edges() {
    let payload: Vec<u8> = (0..65_537u32).map(|n| (n % 251) as u8).collect();
    for size in [65_535, 65_536, 65_537] {
        let stream = frame(0x82, &payload[..size]);
        for cut in (0..40).chain(stream.len() - 20..=stream.len()) {
            let (items, error) = feed_new(&[&stream[..cut], &stream[cut..]]);
            assert_eq!(error, None);
            assert!(
                items == [binary(&payload[..size])],
                "size {size}, cut at {cut}"
            );
        }
    }
}

#[test]
fn a_frame_in_one_piece_is_borrowed_and_leaves_no_heap() {
    let mut decoder = MessageDecoder::new();
    let mut input = frame(0x81, b"Hello");
    let size = input.len();
    let (taken, item) = decoder.decode(&mut input, MESSAGE_SIZE_MAX).unwrap();
    assert_eq!(taken, size);
    let Some(Item::Message {
        payload: Cow::Borrowed(payload),
        ..
    }) = item
    else {
        panic!("{item:?} is not borrowed");
    };
    assert_eq!(payload, b"Hello");
    assert!(decoder.is_between_messages());
    assert_eq!(decoder.buffered_bytes(), 0);
}

#[test]
fn a_cut_message_holds_heap_until_it_is_whole_and_only_then_is_it_between_messages() {
    let stream = [
        frame(0x01, b"Hel"),
        frame(0x89, b"ping"),
        frame(0x80, b"lo"),
    ]
    .concat();
    let mut decoder = MessageDecoder::new();
    for (index, byte) in stream.iter().enumerate() {
        assert_eq!(
            decoder.is_between_messages(),
            index == 0,
            "before byte {index}"
        );
        feed(&mut decoder, &[&[*byte]]);
    }
    assert!(decoder.is_between_messages());
    assert_eq!(decoder.buffered_bytes(), 0);
}

#[test]
fn an_announced_length_allocates_next_to_nothing_before_its_bytes_come() {
    let stream = frame(0x82, &[7; 90_000]);
    let mut decoder = MessageDecoder::new();
    feed(&mut decoder, &[&stream[..14]]);
    assert_eq!(decoder.buffered_bytes(), 0);
    feed(&mut decoder, &[&stream[14..15]]);
    assert!(decoder.buffered_bytes() <= 512);
    feed(&mut decoder, &[&stream[15..50_000]]);
    assert!(decoder.buffered_bytes() <= 90_000);
}

#[test]
fn a_message_in_many_fragments_grows_twofold_and_within_its_bound() {
    let mut decoder = MessageDecoder::new();
    feed(&mut decoder, &[&frame(0x02, b"")]);
    let (fragment, half_a_ping) = (frame(0x00, &[7; 125]), &frame(0x89, &[8; 125])[..100]);
    let mut sizes = vec![0];
    for _ in 0..MESSAGE_SIZE_MAX / 125 {
        feed(
            &mut decoder,
            &[&fragment, half_a_ping, &frame(0x89, &[8; 125])[100..]],
        );
        sizes.push(decoder.buffered_bytes());
    }
    sizes.dedup();
    assert!(sizes.len() <= 10, "{sizes:?}");
    assert!(
        sizes.iter().all(|&size| size <= MESSAGE_SIZE_MAX + 125),
        "{sizes:?}"
    );
}

#[test]
fn text_fails_at_its_first_bad_byte_wherever_it_is_cut() {
    let bad: [(&[u8], usize); 9] = [
        (b"ab\xff", 3),
        (b"\x80", 1),
        (b"\xc0\x80", 1),
        (b"\xe0\x80\x80", 2),
        (b"\xed\xa0\x80", 2),
        (b"\xf0\x80\x80\x80", 2),
        (b"\xf4\x90\x80\x80", 2),
        (b"\xf5", 1),
        (b"\xe2\x82a", 3),
    ];
    for (payload, bad_at) in bad {
        let mut whole = payload.to_vec();
        whole.extend(b"never read");
        let header_size = 6;
        fails_at_last_byte(
            &frame(0x81, &whole)[..header_size + bad_at],
            FrameError::TextNotUtf8,
        );
        for cut in 0..bad_at {
            let stream = [frame(0x01, &whole[..cut]), frame(0x80, &whole[cut..])].concat();
            let end = 2 * header_size + bad_at;
            fails_at_last_byte(&stream[..end], FrameError::TextNotUtf8);
        }
    }
}

#[test]
fn incremental_utf8_agrees_with_std_at_every_cut() {
    let alphabet = [
        0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xe0, 0xe1, 0xed, 0xf0, 0xf4,
    ];
    for number in 0..alphabet.len().pow(4) {
        let bytes =
            [0, 1, 2, 3].map(|digit| alphabet[number / alphabet.len().pow(digit) % alphabet.len()]);
        let expected = std::str::from_utf8(&bytes)
            .err()
            .map(|_| FrameError::TextNotUtf8);
        for cut in 0..=4 {
            let stream = [frame(0x01, &bytes[..cut]), frame(0x80, &bytes[cut..])].concat();
            assert_eq!(
                feed_new(&[&stream]).1,
                expected,
                "{bytes:02x?} cut at {cut}"
            );
        }
        let stream = frame(0x81, &bytes);
        assert_eq!(feed_new(&[&stream]).1, expected, "{bytes:02x?}");
        assert_eq!(
            feed_new(&[&stream[..8], &stream[8..]]).1,
            expected,
            "{bytes:02x?}"
        );
    }
}

#[test]
fn a_text_that_ends_within_a_character_is_refused() {
    fails_at_last_byte(&frame(0x81, b"\xe2\x82"), FrameError::TextNotUtf8);
    let stream = [frame(0x01, b"\xe2\x82"), frame(0x89, b""), frame(0x80, b"")].concat();
    fails_at_last_byte(&stream, FrameError::TextNotUtf8);
}

#[test]
fn binary_messages_and_pings_may_carry_any_bytes() {
    let stream = [
        frame(0x82, b"\xff\xc0"),
        frame(0x02, b"\xff"),
        frame(0x89, b"\xff"),
        frame(0x80, b"\xc0"),
    ];
    let items = vec![binary(b"\xff\xc0"), ping(b"\xff"), binary(b"\xff\xc0")];
    assert_eq!(feed_new(&[&stream.concat()]), (items, None));
}

#[test]
fn a_message_too_large_over_its_fragments_is_refused_by_the_header_of_the_last() {
    let first = frame(0x02, &vec![0; MESSAGE_SIZE_MAX - 10]);
    let fits = [first.clone(), frame(0x80, &[0; 10])].concat();
    assert_eq!(error_of(&fits), None);
    let stream = [first, frame(0x80, &[0; 11])[..2].to_vec()].concat();
    fails_at_last_byte(&stream, FrameError::MessageTooLarge(MESSAGE_SIZE_MAX));
}

#[test]
fn a_close_without_a_code_is_empty() {
    assert_eq!(
        feed_new(&[&frame(0x88, b"")]),
        (vec![close(None, "")], None)
    );
}

#[test]
fn a_close_of_one_byte_is_refused() {
    fails_at_last_byte(&frame(0x88, &[3]), FrameError::CloseTooShort);
}

#[test]
fn close_codes_that_may_not_be_sent_are_refused() {
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535u16,
    ] {
        fails_at_last_byte(
            &frame(0x88, &code.to_be_bytes()),
            FrameError::CloseCode(code),
        );
    }
    for code in [
        1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999u16,
    ] {
        let stream = frame(0x88, &code.to_be_bytes());
        assert_eq!(feed_new(&[&stream]), (vec![close(Some(code), "")], None));
    }
}

#[test]
fn a_close_reason_that_is_not_utf8_is_refused() {
    fails_at_last_byte(
        &frame(0x88, b"\x03\xe8a\xff"),
        FrameError::CloseReasonNotUtf8,
    );
    fails_at_last_byte(
        &frame(0x88, b"\x03\xe8\xe2\x82"),
        FrameError::CloseReasonNotUtf8,
    );
}

#[test]
fn a_control_frame_in_the_midst_of_a_cut_character_leaves_the_text_alone() {
    let stream = [
        frame(0x01, b"\xe2"),
        frame(0x89, b"\xff\xff"),
        frame(0x80, b"\x82\xac"),
    ]
    .concat();
    for cut in 0..=stream.len() {
        let items = vec![ping(b"\xff\xff"), text("€")];
        assert_eq!(
            feed_new(&[&stream[..cut], &stream[cut..]]),
            (items, None),
            "cut at {cut}"
        );
    }
}

#[test]
fn after_an_error_every_call_gives_it_again_and_no_heap_is_held() {
    let mut decoder = MessageDecoder::new();
    let stream = [frame(0x01, b"begun"), frame(0x81, b"again")].concat();
    let refused = (vec![], Some(FrameError::StartWithinMessage));
    assert_eq!(feed(&mut decoder, &[&stream]), refused);
    assert_eq!(decoder.buffered_bytes(), 0);
    assert_eq!(feed(&mut decoder, &[&frame(0x81, b"good")]), refused);
}

#[test]
fn no_bytes_change_nothing() {
    let mut decoder = MessageDecoder::new();
    assert_eq!(decoder.decode(&mut [], MESSAGE_SIZE_MAX), Ok((0, None)));
    assert!(decoder.is_between_messages());
}

#[test]
fn a_decoder_takes_at_most_80_bytes() {
    assert!(
        size_of::<MessageDecoder>() <= 80,
        "{}",
        size_of::<MessageDecoder>()
    );
}
