//! What silence leads to, and that only the peer's silence counts.

use tidings::proto::connection::CloseReason;

use super::peer::*;

const LOST: Seen = Seen::Closed(CloseReason::Lost);

#[test]
fn a_fresh_connection_that_says_nothing_is_closed_without_an_answer() {
    let mut peer = Peer::new();
    assert_eq!(peer.waits_ms(), Some(10_000));
    peer.wait_for_deadline();
    assert_eq!(peer.seen(), [LOST]);
    assert_eq!(peer.waits_ms(), None);
}

#[test]
fn a_head_has_its_time_from_its_first_byte_on() {
    let mut peer = Peer::new();
    peer.wait(9_000);
    for (at, byte) in get("/")[..20].bytes().enumerate() {
        peer.receive([byte]);
        assert_eq!(peer.waits_ms(), Some(10_000 - 400 * at as u64));
        peer.wait(400);
    }
    peer.wait_for_deadline();
    let seen = peer.seen();
    assert_eq!(refused(&seen[0]), Some(408));
    assert_eq!(seen[1..], [LOST]);
}

#[test]
fn a_body_has_one_deadline_that_no_byte_of_it_moves() {
    let mut peer = Peer::new();
    peer.wait(9_000);
    peer.receive("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    for at in 0..8 {
        assert_eq!(peer.waits_ms(), Some(30_000 - 3_000 * at));
        peer.wait(3_000);
        peer.expire();
        peer.receive("x");
    }
    peer.wait_for_deadline();
    assert_eq!(refused(&peer.seen()[0]), Some(408));
    assert!(peer.is_closed());
}

#[test]
fn time_in_which_the_server_did_not_read_is_none_of_a_bodys() {
    let mut peer = Peer::new();
    peer.receive("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx");
    peer.wait(29_000);
    peer.connection.unread(peer.now);
    assert_eq!(peer.waits_ms(), Some(30_000));
}

#[test]
fn a_late_request_is_refused_after_the_answers_before_it() {
    for late in [
        "GET /la",
        "POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
    ] {
        let mut peer = Peer::new();
        peer.receive([&get("/0"), late].concat());
        peer.seen();
        peer.wait_for_deadline();
        assert_eq!((peer.seen(), peer.waits_ms()), (vec![], None));
        peer.answer(0, "0".into());
        let seen = peer.seen();
        assert_eq!(seen[0], answered("0"));
        assert_eq!(refused(&seen[1]), Some(408));
        assert_eq!(seen[2..], [LOST]);
    }
}

#[test]
fn a_kept_connection_is_closed_when_it_was_idle_since_its_last_answer() {
    let mut peer = Peer::new();
    peer.receive(get("/0"));
    assert_eq!(
        peer.waits_ms(),
        None,
        "the handler has all the time it wants"
    );
    peer.wait(3_600_000);
    peer.expire();
    peer.answer(0, "0".into());
    assert_eq!(peer.waits_ms(), Some(75_000));
    assert_eq!(peer.seen(), [request("/0", ""), answered("0")]);
    peer.wait_for_deadline();
    assert_eq!(peer.seen(), [LOST]);
}

#[test]
fn what_waits_behind_a_full_pipeline_is_not_late() {
    let mut peer = Peer::new();
    peer.limits.pipeline_requests_max = 1;
    peer.receive([get("/0"), get("/1"), "GET /2".into()].concat());
    assert_eq!(peer.waits_ms(), None);
    peer.wait(3_600_000);
    peer.answer(0, "0".into());
    peer.wait(3_600_000);
    assert_eq!(peer.waits_ms(), None);
    peer.answer(1, "1".into());
    assert_eq!(peer.waits_ms(), Some(10_000), "now its bytes are looked at");
    peer.receive(&get("/2")[6..]);
    let expected = [
        request("/0", ""),
        answered("0"),
        request("/1", ""),
        answered("1"),
        request("/2", ""),
    ];
    assert_eq!(peer.seen(), expected);
}

#[test]
fn who_waits_for_a_hundred_continue_is_not_late() {
    let mut peer = Peer::new();
    let expecting =
        "POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    peer.receive([&get("/0"), expecting].concat());
    assert_eq!(peer.waits_ms(), None);
    peer.wait(3_600_000);
    peer.answer(0, "0".into());
    assert_eq!(peer.waits_ms(), Some(30_000));
    assert_eq!(
        peer.seen(),
        [request("/0", ""), answered("0"), Seen::Continue]
    );
}

#[test]
fn while_stopping_an_idle_connection_may_bring_what_crossed_for_a_second() {
    let mut peer = Peer::new();
    peer.answers_at_once = true;
    peer.receive(get("/0"));
    peer.seen();
    peer.wait(5_000);
    peer.drain = Some(peer.now);
    assert_eq!(peer.waits_ms(), Some(1_000));
    peer.wait_for_deadline();
    assert_eq!(peer.seen(), [LOST]);
}

#[test]
fn the_first_silence_is_answered_at_a_random_point_and_later_ones_in_full() {
    for (seed, first_ms) in [(0, 25_000), (10_000, 15_000), (24_999, 1), (25_000, 25_000)] {
        for says_something in [false, true] {
            let mut peer = Peer::with_seed(seed);
            peer.receive(UPGRADE);
            if says_something {
                peer.wait(1);
                peer.receive(text("login"));
            }
            peer.seen();
            assert_eq!(peer.waits_ms(), Some(first_ms), "seed {seed}");
            peer.wait_for_deadline();
            assert_eq!(peer.seen(), [Seen::PingSent]);
            peer.wait(10);
            peer.receive(pong());
            assert_eq!(peer.waits_ms(), Some(25_000), "seed {seed}");
            peer.wait_for_deadline();
            assert_eq!(peer.seen(), [Seen::PingSent]);
        }
    }
}

#[test]
fn every_sign_of_life_answers_a_ping_also_in_the_same_millisecond() {
    let unfinished = text("unfinished")[..1].to_vec();
    for (sign, after_ms) in [
        (pong(), 0),
        (ping(""), 0),
        (text("x"), 7_999),
        (unfinished, 0),
        (unsolicited(), 8_000),
    ] {
        let mut peer = Peer::open();
        peer.wait_for_deadline();
        assert_eq!(peer.seen(), [Seen::PingSent]);
        assert_eq!(peer.waits_ms(), Some(8_000));
        peer.wait(after_ms);
        peer.receive(&sign);
        assert_eq!(peer.waits_ms(), Some(25_000), "{sign:?}");
        peer.expire();
        assert!(!peer.seen().contains(&Seen::PingSent));
    }
}

fn unsolicited() -> Vec<u8> {
    frame(0x8a, b"not what was asked")
}

#[test]
fn who_answers_no_ping_is_closed_with_4010() {
    let mut peer = Peer::open();
    peer.wait_for_deadline();
    assert_eq!(peer.seen(), [Seen::PingSent]);
    assert_eq!(peer.waits_ms(), Some(8_000));
    peer.wait_for_deadline();
    let expected = [
        Seen::CloseSent(Some(4_010)),
        Seen::Closed(CloseReason::PingTimeout),
    ];
    assert_eq!(peer.seen(), expected);
}

#[test]
fn who_talks_is_never_pinged() {
    let mut peer = Peer::open();
    for _ in 0..100 {
        peer.wait(24_999);
        peer.expire();
        peer.receive(text("x"));
    }
    assert!(!peer.seen().contains(&Seen::PingSent));
}

#[test]
fn heartbeats_can_be_turned_off() {
    let mut peer = Peer::with_seed(7);
    peer.limits.ping_ms = 0;
    peer.receive(UPGRADE);
    assert_eq!(peer.waits_ms(), None);
}

#[test]
fn who_does_not_answer_our_close_is_not_waited_for_long() {
    let mut peer = Peer::open();
    peer.close(4_004);
    peer.wait(1_000);
    peer.receive(text("x"));
    assert_eq!(peer.waits_ms(), Some(4_000), "talk doesn't prolong it");
    assert_eq!(peer.seen(), [Seen::CloseSent(Some(4_004))]);
    peer.wait_for_deadline();
    assert_eq!(peer.seen(), [Seen::Closed(CloseReason::Server(4_004))]);
}
