//! A connection that another image of the program goes on with is the same connection.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tidings::handover::{HandoverError, Section, SectionWriter};
use tidings::proto::connection::{CloseReason, Connection, Verdict};
use tidings::proto::http::{AnswerFields, Head, Response};

use super::any_order::{config, gate, step, stream, take};
use super::peer::*;

/// A stream of all that can be half done: pipelined requests, bodies of both kinds, an upgrade with
/// frames behind it, fragments, a ping among them.
fn long_stream() -> Vec<u8> {
    [
        get("/1").as_bytes(),
        post("/2", "Expect: 100-continue\r\n", "two").as_bytes(),
        b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
            5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
        "GET /4 HTTP/1.1\r\nHost: a\r\nX: \u{fc}\r\n\r\n".as_bytes(),
        b"GET /5 HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n",
        UPGRADE.as_bytes(),
        &text("a"),
        &frame(0x01, "fr\u{20ac}".as_bytes()),
        &ping("p"),
        &frame(0x80, b"mented"),
        &frame(0x82, &[7; 300]),
        &pong(),
        &close(4_321),
    ]
    .concat()
}

/// Adds a field to the answers of some requests, whoever makes them.
fn adding_gate(head: &Head) -> Verdict {
    match head.path() {
        "/1" | "/3" | "/5" => {
            let fields = AnswerFields::new([("X-For", head.path())]);
            Verdict::PassAdding(Arc::new(fields))
        }
        _ => Verdict::Pass,
    }
}

/// Sends the first bytes, has another image go on if `hands_over`, and the rest; then answers.
fn played(cut: usize, hands_over: bool) -> (Vec<Seen>, Option<u64>) {
    let stream = long_stream();
    let mut peer = Peer::with_seed(4_711);
    peer.gate = adding_gate;
    peer.receive(&stream[..cut]);
    peer.wait(10);
    // The second answer waits for the first.
    for request in (1..peer.serials.len()).rev() {
        let response = Response::json("{}").with_status(201).field("X", "y, z");
        peer.answer(request, response);
    }
    if hands_over {
        peer.hand_over();
    }
    let mut seen = peer.seen();
    peer.receive(&stream[cut..]);
    for request in 0..peer.serials.len() {
        peer.answer(request, "late".into());
    }
    seen.extend(peer.seen());
    (seen, peer.waits_ms())
}

#[test]
fn handed_over_at_any_byte_a_connection_goes_on_as_if_nothing_had_happened() {
    for cut in 0..=long_stream().len() {
        let (stayed, went) = (played(cut, false), played(cut, true));
        assert_eq!(went, stayed, "handed over at {cut}");
        let added = |n: u32| {
            let end = format!(" for /{n}");
            let mut seen = stayed.0.iter();
            seen.any(|seen| matches!(seen, Seen::Answer(_, body, _) if body.ends_with(&end)))
        };
        assert_eq!([1, 2, 3, 4, 5].map(added), [true, false, true, false, true]);
        let ended = matches!(&stayed.0[..], [.., Seen::CloseSent(_), Seen::Closed(_)]);
        assert!(ended, "{:?}", stayed.0);
    }
}

#[test]
fn a_close_that_waits_for_the_peers_is_handed_over_with_its_deadline() {
    let mut peer = Peer::open();
    peer.close(4_005);
    assert_eq!(peer.seen(), [Seen::CloseSent(Some(4_005))]);
    peer.wait(1_000);
    peer.hand_over();
    peer.receive([text("crossed"), ping("p")].concat());
    peer.hand_over();
    assert_eq!((peer.seen(), peer.waits_ms()), (vec![], Some(4_000)));
    peer.wait_for_deadline();
    assert_eq!(peer.seen(), [Seen::Closed(CloseReason::Server(4_005))]);
    peer.hand_over();
    assert!(peer.is_closed() && peer.waits_ms().is_none());
}

#[test]
fn a_ping_that_waits_for_its_pong_is_handed_over() {
    let mut peer = Peer::open();
    peer.wait_for_deadline();
    assert_eq!(peer.seen(), [Seen::PingSent]);
    peer.hand_over();
    assert_eq!(peer.waits_ms(), Some(8_000));
    let mut silent = Peer::open();
    silent.now = peer.now;
    silent.take_over(&peer.written()).expect("the same");
    peer.receive(pong());
    assert_eq!(peer.waits_ms(), Some(25_000), "no first ping once more");
    silent.wait_for_deadline();
    let seen = silent.seen();
    assert_eq!(seen[0], Seen::CloseSent(Some(4_010)));
    assert_eq!(seen[1], Seen::Closed(CloseReason::PingTimeout));
}

#[test]
fn the_last_event_of_a_websocket_is_handed_over_whatever_the_reason() {
    for (bad, code) in [(close(1_001), 1_001), (frame(0xc1, b"x"), 1_002)] {
        let mut peer = Peer::open();
        // The Close goes out, and the end isn't told yet.
        let mut bytes = bad;
        let mut inflater = tidings::proto::websocket::Inflater::new();
        let mut input = tidings::proto::connection::Input::new(&mut bytes, &mut inflater);
        let limits = peer.limits.clone();
        let rules = tidings::proto::connection::Rules {
            now: peer.now,
            limits: &limits,
            gate: &gate,
            date: "",
            drain: None,
            room: Some(usize::MAX),
            is_secure: false,
        };
        assert!(peer.connection.next_event(&rules, &mut input).is_some());
        assert!(!peer.connection.is_open());
        peer.hand_over();
        peer.receive("");
        let seen = peer.seen();
        assert!(matches!(&seen[..], [Seen::Closed(reason)] if reason.code() == code));
    }
}

#[test]
fn an_idle_websocket_takes_few_bytes() {
    let mut peer = Peer::with_seed(u32::MAX);
    peer.receive(UPGRADE);
    peer.wait(40 * 86_400_000);
    peer.receive(ping("p"));
    let size = peer.written().size();
    assert!(size <= 30, "{size}");
}

/// The connection as `bytes` tell it, without the checksum that would refuse most of them.
fn told(bytes: &[u8]) -> Result<Connection, HandoverError> {
    let mut section = SectionWriter::new();
    section.record(|record| record.bytes(bytes));
    let mut record = Section::of("connection", 1, section.as_bytes())
        .records()
        .needed()?;
    Connection::take_over(&mut record)
}

#[test]
fn whatever_is_told_of_a_connection_is_refused_or_one_that_goes_on() {
    let stream = long_stream();
    let (mut taken, mut refused) = (0, 0);
    for cut in 0..=stream.len() {
        let mut peer = Peer::with_seed(4_711);
        peer.receive(&stream[..cut]);
        for request in (1..peer.serials.len()).rev() {
            peer.answer(request, "2".into());
        }
        // Its size stands in front.
        let written = peer.written();
        let mut record = Section::of("connection", 1, written.as_bytes())
            .records()
            .needed()
            .unwrap();
        let bytes = record.bytes().unwrap().to_vec();
        assert!(told(&bytes).is_ok());
        for at in (cut % 5..bytes.len()).step_by(5) {
            for wrong in [bytes[at] ^ 1, bytes[at] ^ 0x80, bytes[at].wrapping_add(7)] {
                let mut bytes = bytes.clone();
                bytes[at] = wrong;
                let Ok(connection) = told(&bytes) else {
                    refused += 1;
                    continue;
                };
                taken += 1;
                let mut peer = Peer::new();
                peer.connection = connection;
                peer.serials = vec![0, 1, 2];
                peer.receive(&stream[cut..]);
                (0..3).for_each(|request| peer.answer(request, "x".into()));
                if peer.waits_ms().is_some() {
                    peer.wait(peer.waits_ms().unwrap());
                    peer.expire();
                }
                peer.half_close();
            }
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} and {refused}");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_one_that_is_handed_over_at_each_step_does_as_one_that_stays(
        stream in stream(),
        steps in vec(step(), 0..60),
        pipeline_requests_max in 1..4_usize,
        rooms in vec(any::<bool>(), 60),
        seed: u32,
    ) {
        let mut peers = [Peer::with_seed(seed), Peer::with_seed(seed)];
        let (mut rests, mut ended) = ([&stream[..], &stream[..]], [false, false]);
        for peer in &mut peers {
            peer.limits.pipeline_requests_max = pipeline_requests_max;
            peer.gate = gate;
        }
        for (step, has_room) in steps.iter().zip(rooms) {
            for (at, peer) in peers.iter_mut().enumerate() {
                peer.room = has_room.then_some(10_000);
                take(step, peer, &mut rests[at], &mut ended[at]);
            }
            peers[1].hand_over();
            let [stays, goes] = &mut peers;
            prop_assert_eq!(goes.seen(), stays.seen());
            prop_assert_eq!(goes.waits_ms(), stays.waits_ms());
            prop_assert_eq!(&goes.serials, &stays.serials);
            let (stays, goes) = (&stays.connection, &goes.connection);
            prop_assert_eq!(goes.unanswered(), stays.unanswered());
            prop_assert_eq!(goes.waiting_bytes(), stays.waiting_bytes());
            prop_assert_eq!(goes.awaits_room(), stays.awaits_room());
            prop_assert_eq!(goes.is_open(), stays.is_open());
        }
    }
}
