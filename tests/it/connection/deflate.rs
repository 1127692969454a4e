//! Messages that come compressed mean what they mean plain, and are bounded by what they inflate to.

use tidings::proto::connection::CloseReason;
use tidings::proto::websocket::{Deflater, FrameError};

use super::peer::*;

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// A peer that has agreed on compression.
fn open() -> Peer {
    let mut peer = Peer::new();
    peer.limits.deflate = true;
    peer.limits.message_size_max = 2_000;
    peer.receive(offering());
    assert_eq!(peer.seen(), [Seen::Switching, Seen::Opened("/ws".into())]);
    assert!(peer.connection.deflates());
    peer
}

fn offering() -> String {
    [UPGRADE.trim_end_matches("\r\n"), "\r\n", OFFER].concat()
}

fn deflated(message: &[u8]) -> Vec<u8> {
    let payload = Deflater::new().message(message);
    payload.expect("it gets smaller")
}

#[test]
fn compression_is_agreed_on_where_it_is_on_and_offered() {
    let mut off = Peer::new();
    off.receive(offering());
    assert!(off.connection.is_open() && !off.connection.deflates());
    let mut unasked = Peer::new();
    unasked.limits.deflate = true;
    unasked.receive(UPGRADE);
    assert!(unasked.connection.is_open() && !unasked.connection.deflates());
    for mut peer in [off, unasked] {
        peer.seen();
        peer.receive(frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"));
        let violation = CloseReason::Violation(FrameError::ReservedBits);
        let end = [Seen::CloseSent(Some(1_002)), Seen::Closed(violation)];
        assert_eq!(peer.seen(), end);
    }
}

#[test]
fn a_compressed_message_is_taken_as_if_it_had_come_plain_at_every_cut() {
    let (text, bytes) = ("said again and again, ".repeat(20), vec![7; 500]);
    let compressed = deflated(text.as_bytes());
    let (first, rest) = compressed.split_at(compressed.len() / 2);
    let stream = [
        offering().into_bytes(),
        frame(0xc1, &compressed),
        frame(0x41, first),
        frame(0x89, b"p"),
        frame(0x80, rest),
        frame(0x81, b"plain"),
        frame(0xc2, &deflated(&bytes)),
    ]
    .concat();
    let expected = [
        Seen::Switching,
        Seen::Opened("/ws".into()),
        Seen::Text(text.clone()),
        Seen::PongSent(b"p".to_vec()),
        Seen::Text(text),
        Seen::Text("plain".into()),
        Seen::Binary(bytes),
    ];
    for cut in 0..=stream.len() {
        let mut peer = Peer::new();
        peer.limits.deflate = true;
        peer.receive(&stream[..cut]);
        peer.hand_over();
        peer.receive(&stream[cut..]);
        assert_eq!(peer.seen(), expected, "handed over at {cut}");
        assert!(!peer.connection.is_unfinished());
    }
}

#[test]
fn a_message_that_is_too_large_broken_or_no_text_ends_the_connection_with_its_code() {
    let bomb = deflated(&vec![0; 1 << 20]);
    assert!(bomb.len() < 2_000, "it comes within the bound");
    let not_text = deflated(&[0xff; 900]);
    for (payload, error, code) in [
        (bomb, FrameError::MessageTooLarge(2_000), 1_009),
        (not_text, FrameError::TextNotUtf8, 1_007),
        (b"\x07".to_vec(), FrameError::DeflateStream, 1_007),
    ] {
        for frames in [
            frame(0xc1, &payload),
            [frame(0x41, b""), frame(0x80, &payload)].concat(),
        ] {
            let mut peer = open();
            peer.receive(frames);
            let violation = CloseReason::Violation(error);
            let end = [Seen::CloseSent(Some(code)), Seen::Closed(violation)];
            assert_eq!(peer.seen(), end, "{error}");
        }
    }
}

#[test]
fn what_comes_behind_our_close_is_not_inflated() {
    let mut peer = open();
    peer.close(4_000);
    peer.receive(frame(0xc1, b"\x07"));
    assert_eq!(peer.seen(), [Seen::CloseSent(Some(4_000))]);
}

#[test]
fn bytes_that_no_compression_makes_are_refused_before_they_are_kept() {
    let mut peer = open();
    let header = [0x42, 0xfe, 0x40, 0x00, 1, 2, 3, 4];
    peer.receive(header);
    let violation = CloseReason::Violation(FrameError::MessageTooLarge(2_000));
    let end = [Seen::CloseSent(Some(1_009)), Seen::Closed(violation)];
    assert_eq!(peer.seen(), end);
}
