//! What a connection makes of a stream never depends on how reads cut it.

use super::peer::*;

const CHUNKED: &str = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n";

fn all_in(parts: &[&[u8]], prepare: fn(&mut Peer)) -> Vec<Seen> {
    let mut peer = Peer::new();
    prepare(&mut peer);
    for part in parts {
        peer.receive(part);
    }
    peer.seen()
}

/// The same, where another image goes on between two parts.
fn all_in_images(parts: &[&[u8]], prepare: fn(&mut Peer)) -> Vec<Seen> {
    let mut peer = Peer::new();
    prepare(&mut peer);
    for part in parts {
        peer.receive(part);
        peer.hand_over();
    }
    peer.seen()
}

/// Every cut in two, every byte alone, and threes, give what the whole gives, `expected`; also if another
/// image goes on at each cut.
fn every_fragmentation_gives(stream: &[u8], prepare: fn(&mut Peer), expected: &[Seen]) {
    assert_eq!(all_in(&[stream], prepare), expected, "in one piece");
    for cut in 0..=stream.len() {
        let (a, b) = stream.split_at(cut);
        assert_eq!(all_in(&[a, b], prepare), expected, "cut at {cut}");
        let handed_over = all_in_images(&[a, b], prepare);
        assert_eq!(handed_over, expected, "handed over at {cut}");
    }
    for size in [1, 2, 3, 7] {
        let parts: Vec<&[u8]> = stream.chunks(size).collect();
        assert_eq!(all_in(&parts, prepare), expected, "pieces of {size}");
        let handed_over = all_in_images(&parts, prepare);
        assert_eq!(handed_over, expected, "pieces of {size}, handed over");
    }
}

#[test]
fn pipelined_requests() {
    let stream = [
        get("/1"),
        "\r\n".into(),
        post("/2", "", "two"),
        CHUNKED.into(),
        get("/3"),
        get("/4"),
    ]
    .concat();
    let expected = [
        request("/1", ""),
        request("/2", "two"),
        request("/c", "hello world"),
        request("/3", ""),
        request("/4", ""),
    ];
    every_fragmentation_gives(stream.as_bytes(), |_| {}, &expected);
    let answered: Vec<Seen> = ["/1", "/2", "/c", "/3", "/4"]
        .iter()
        .zip(expected)
        .flat_map(|(target, request)| [request, answered(target)])
        .collect();
    every_fragmentation_gives(
        stream.as_bytes(),
        |peer| peer.answers_at_once = true,
        &answered,
    );
}

#[test]
fn requests_beyond_the_bound_of_pipelining() {
    let stream = [get("/1"), post("/2", "", "two"), CHUNKED.into(), get("/3")].concat();
    let blocked = |peer: &mut Peer| peer.limits.pipeline_requests_max = 2;
    every_fragmentation_gives(
        stream.as_bytes(),
        blocked,
        &[request("/1", ""), request("/2", "two")],
    );
}

#[test]
fn an_upgrade_with_frames_behind_it() {
    let stream = [
        UPGRADE.as_bytes(),
        &text("a"),
        &frame(0x01, b"frag"),
        &ping("p"),
        &frame(0x80, b"mented"),
        &frame(0x82, &[7; 300]),
        &pong(),
        &close(4_321),
        &text("never seen"),
    ]
    .concat();
    let expected = [
        Seen::Switching,
        Seen::Opened("/ws".into()),
        Seen::Text("a".into()),
        Seen::PongSent(b"p".into()),
        Seen::Text("fragmented".into()),
        Seen::Binary(vec![7; 300]),
        Seen::CloseSent(Some(4_321)),
        Seen::Closed(tidings::proto::connection::CloseReason::Peer {
            code: Some(4_321),
            reason: "".into(),
        }),
    ];
    every_fragmentation_gives(&stream, |_| {}, &expected);
}

#[test]
fn an_upgrade_behind_answered_requests() {
    let stream = [
        get("/1").as_bytes(),
        post("/2", "", "two").as_bytes(),
        UPGRADE.as_bytes(),
        &text("a"),
        &text("b"),
    ]
    .concat();
    let expected = [
        request("/1", ""),
        answered("/1"),
        request("/2", "two"),
        answered("/2"),
        Seen::Switching,
        Seen::Opened("/ws".into()),
        Seen::Text("a".into()),
        Seen::Text("b".into()),
    ];
    every_fragmentation_gives(&stream, |peer| peer.answers_at_once = true, &expected);
}

#[test]
fn an_upgrade_behind_unanswered_requests_waits_with_its_frames() {
    let stream = [
        get("/1").as_bytes(),
        get("/2").as_bytes(),
        UPGRADE.as_bytes(),
        &text("a"),
        &ping("p"),
        &frame(0x01, b"b"),
    ]
    .concat();
    for cut in 0..=stream.len() {
        let mut peer = Peer::new();
        peer.receive(&stream[..cut]);
        peer.receive(&stream[cut..]);
        assert_eq!(peer.seen(), [request("/1", ""), request("/2", "")]);
        assert!(peer.connection.is_blocked(&peer.limits));
        assert_eq!(peer.waits_ms(), None, "it waits for the handler");
        peer.answer(1, "2".into());
        assert_eq!(peer.seen(), []);
        peer.answer(0, "1".into());
        let expected = [
            answered("1"),
            answered("2"),
            Seen::Switching,
            Seen::Opened("/ws".into()),
            Seen::Text("a".into()),
            Seen::PongSent(b"p".into()),
        ];
        assert_eq!(peer.seen(), expected, "cut at {cut}");
        assert!(!peer.connection.is_blocked(&peer.limits));
        peer.receive(frame(0x80, b"ye"));
        assert_eq!(peer.seen(), [Seen::Text("bye".into())]);
    }
}

#[test]
fn input_that_comes_with_the_answer_stands_behind_what_was_kept() {
    let mut peer = Peer::new();
    peer.receive([get("/1").as_bytes(), UPGRADE.as_bytes(), &text("a")].concat());
    peer.seen();
    // The answer isn't pumped for itself: the next bytes bring it to light.
    peer.connection.answer(peer.serials[0], "1".into());
    peer.receive(text("b"));
    let expected = [
        answered("1"),
        Seen::Switching,
        Seen::Opened("/ws".into()),
        Seen::Text("a".into()),
        Seen::Text("b".into()),
    ];
    assert_eq!(peer.seen(), expected);
}

#[test]
fn a_request_that_is_refused() {
    for (bad, status) in [
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
            413,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            400,
        ),
    ] {
        let stream = [get("/1"), bad.into(), get("/2")].concat();
        let whole = all_in(&[stream.as_bytes()], |peer| peer.answers_at_once = true);
        assert_eq!(whole[..2], [request("/1", ""), answered("/1")]);
        assert_eq!(refused(&whole[2]), Some(status), "{bad:?}");
        assert_eq!(
            whole[3..],
            [Seen::Closed(tidings::proto::connection::CloseReason::Lost)]
        );
        every_fragmentation_gives(
            stream.as_bytes(),
            |peer| peer.answers_at_once = true,
            &whole,
        );
    }
}

#[test]
fn frames_that_break_the_rules() {
    for (bad, code) in [
        (vec![0x81, 0x01, b'x'], 1_002),
        (frame(0xc1, b"x"), 1_002),
        (frame(0x83, b"x"), 1_002),
        (frame(0x80, b"x"), 1_002),
        (frame(0x81, b"\xff"), 1_007),
        (frame(0x88, b"x"), 1_002),
        (close(1_005), 1_002),
        (frame(0x88, b"\x03\xe8\xff"), 1_007),
        (frame(0x82, &[0; 70_000]), 1_009),
    ] {
        // Cuts inside a megabyte of zeros show nothing new.
        let bad = &bad[..bad.len().min(20)];
        let stream = [UPGRADE.as_bytes(), &text("a"), bad, &text("never seen")].concat();
        let whole = all_in(&[&stream], |_| {});
        assert_eq!(whole[2], Seen::Text("a".into()));
        assert_eq!(whole[3], Seen::CloseSent(Some(code)), "{bad:?}");
        assert!(matches!(&whole[4..], [Seen::Closed(reason)] if reason.code() == code));
        every_fragmentation_gives(&stream, |_| {}, &whole);
    }
}

#[test]
fn a_message_in_pieces_is_whole_and_one_over_the_bound_is_refused() {
    for size in [65_536, 65_537] {
        let message = frame(0x82, &vec![9; size]);
        for piece in [1_000, 4_096, 65_536] {
            let mut peer = Peer::open();
            for part in message.chunks(piece) {
                peer.receive(part);
            }
            let seen = peer.seen();
            if size == 65_536 {
                assert_eq!(seen, [Seen::Binary(vec![9; size])]);
            } else {
                assert_eq!(seen[0], Seen::CloseSent(Some(1_009)));
                assert!(peer.is_closed());
            }
        }
    }
}
