//! Requests, answers and the gate.

use tidings::proto::connection::{CloseReason, Verdict};
use tidings::proto::http::Response;

use super::peer::*;

const LOST: Seen = Seen::Closed(CloseReason::Lost);

#[test]
fn answers_given_in_any_order_leave_in_the_order_of_their_requests() {
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let mut peer = Peer::new();
        peer.receive([get("/0"), get("/1"), get("/2")].concat());
        peer.seen();
        assert_eq!(peer.connection.unanswered(), 3);
        for request in order {
            peer.answer(request, request.to_string().into());
        }
        let expected = [answered("0"), answered("1"), answered("2")];
        assert_eq!(peer.seen(), expected, "{order:?}");
        assert_eq!(peer.connection.unanswered(), 0);
    }
}

#[test]
fn a_late_answer_and_a_second_one_change_nothing() {
    let mut peer = Peer::new();
    peer.receive([get("/0"), get("/1")].concat());
    peer.answer(0, "0".into());
    peer.answer(0, "again".into());
    peer.answer(1, "1".into());
    peer.answer(1, "again".into());
    let expected = [
        request("/0", ""),
        request("/1", ""),
        answered("0"),
        answered("1"),
    ];
    assert_eq!(peer.seen(), expected);
    peer.half_close();
    peer.answer(1, "again".into());
    assert_eq!(peer.seen(), [LOST]);
}

#[test]
fn who_asks_to_close_gets_that_answer_last() {
    let mut peer = Peer::new();
    let last = "GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    peer.receive([&get("/0"), last, &get("/2")].concat());
    peer.receive(get("/3"));
    assert_eq!(peer.seen(), [request("/0", ""), request("/1", "")]);
    assert_eq!(peer.connection.unanswered(), 2, "the rest isn't begun");
    peer.answer(1, "1".into());
    peer.answer(0, "0".into());
    assert_eq!(peer.seen(), [answered("0"), answered_last("1"), LOST]);
}

#[test]
fn http_1_0_closes_unless_asked_not_to() {
    let mut peer = Peer::new();
    peer.answers_at_once = true;
    peer.receive("GET /0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /1 HTTP/1.0\r\n\r\n");
    let expected = [
        request("/0", ""),
        answered("/0"),
        request("/1", ""),
        answered_last("/1"),
        LOST,
    ];
    assert_eq!(peer.seen(), expected);
}

#[test]
fn the_answer_to_head_has_no_body() {
    let mut peer = Peer::new();
    peer.answers_at_once = true;
    peer.receive("HEAD /0 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(peer.seen(), [request("/0", ""), answered("")]);
}

#[test]
fn a_refusal_waits_for_the_answers_before_it() {
    let mut peer = Peer::new();
    peer.receive([&get("/0"), "nonsense\r\n\r\n", &get("/1")].concat());
    assert_eq!(peer.seen(), [request("/0", "")]);
    peer.receive(get("/2"));
    peer.answer(0, "0".into());
    let seen = peer.seen();
    assert_eq!(seen[0], answered("0"));
    assert_eq!(refused(&seen[1]), Some(400));
    assert_eq!(seen[2..], [LOST]);
}

#[test]
fn a_hundred_continue_goes_out_once_nothing_is_owed_before_it() {
    let expecting =
        "POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut peer = Peer::new();
    peer.receive([&get("/0"), expecting].concat());
    assert_eq!(peer.seen(), [request("/0", "")]);
    peer.answer(0, "0".into());
    assert_eq!(peer.seen(), [answered("0"), Seen::Continue]);
    peer.receive("h");
    peer.receive("");
    peer.receive("i");
    assert_eq!(peer.seen(), [request("/1", "hi")]);
    peer.answer(1, "1".into());
    assert_eq!(peer.seen(), [answered("1")]);
}

#[test]
fn who_sends_the_body_unasked_gets_no_hundred_continue() {
    let expecting =
        "POST /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nh";
    let mut peer = Peer::new();
    peer.receive([&get("/0"), expecting].concat());
    peer.answer(0, "0".into());
    peer.receive("i");
    assert_eq!(
        peer.seen(),
        [request("/0", ""), answered("0"), request("/1", "hi")]
    );
}

#[test]
fn an_unknown_expectation_and_a_body_too_large_are_refused_before_the_body() {
    for (fields, status) in [
        ("Expect: tea\r\nContent-Length: 2\r\n", 417),
        ("Expect: 100-continue\r\nContent-Length: 9999999\r\n", 413),
    ] {
        let mut peer = Peer::new();
        peer.receive(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        let seen = peer.seen();
        assert_eq!(refused(&seen[0]), Some(status));
        assert_eq!(seen[1..], [LOST]);
    }
}

#[test]
fn no_request_begins_while_the_peer_has_its_share_waiting() {
    let mut peer = Peer::new();
    peer.answers_at_once = true;
    peer.room = None;
    peer.receive([get("/0"), get("/1")].concat());
    assert!(peer.connection.awaits_room() && peer.connection.is_blocked(&peer.limits));
    assert_eq!((peer.seen(), peer.waits_ms()), (vec![], None));
    peer.room(Some(0));
    let expected = [
        request("/0", ""),
        answered("/0"),
        request("/1", ""),
        answered("/1"),
    ];
    assert_eq!(peer.seen(), expected);
    assert!(!peer.connection.awaits_room() && !peer.connection.is_blocked(&peer.limits));
}

#[test]
fn answers_that_wait_for_their_turn_count_as_what_waits_for_the_peer() {
    let mut peer = Peer::new();
    peer.room = Some(9);
    peer.receive([get("/0"), get("/1")].concat());
    peer.answer(1, "ten bytes!".into());
    peer.receive(get("/2"));
    assert_eq!(peer.seen(), [request("/0", ""), request("/1", "")]);
    assert!(peer.connection.is_blocked(&peer.limits));
    peer.answer(0, "0".into());
    let expected = [answered("0"), answered("ten bytes!"), request("/2", "")];
    assert_eq!(peer.seen(), expected);
}

#[test]
fn an_answer_stays_back_until_the_peer_took_what_was_sent_before() {
    let mut peer = Peer::new();
    peer.receive([get("/0"), get("/1")].concat());
    peer.room(None);
    peer.answer(0, "0".into());
    peer.answer(1, "1".into());
    peer.half_close();
    assert_eq!(peer.seen(), [request("/0", ""), request("/1", "")]);
    peer.room(Some(0));
    assert_eq!(peer.seen(), [answered("0"), answered("1"), LOST]);
}

#[test]
fn who_ends_the_stream_behind_requests_that_had_to_wait_gets_their_answers() {
    let mut peer = Peer::new();
    peer.answers_at_once = true;
    peer.room = None;
    peer.receive(get("/0"));
    peer.half_close();
    assert_eq!(peer.seen(), []);
    peer.room(Some(0));
    assert_eq!(peer.seen(), [request("/0", ""), answered("/0"), LOST]);
}

fn gated() -> Peer {
    let mut peer = Peer::new();
    peer.gate = |head| match head.path() {
        "/no" => Verdict::Answer(Response::text("no").with_status(403)),
        _ => Verdict::Pass,
    };
    peer
}

fn no(goes: Goes) -> Seen {
    Seen::Answer(403, "no".into(), goes)
}

#[test]
fn what_the_gate_answers_never_reaches_the_handler_and_keeps_its_place() {
    let mut peer = gated();
    peer.receive([get("/0"), get("/no"), get("/1")].concat());
    assert_eq!(peer.seen(), [request("/0", ""), request("/1", "")]);
    peer.answer(1, "1".into());
    peer.answer(0, "0".into());
    assert_eq!(peer.seen(), [answered("0"), no(Goes::On), answered("1")]);
}

#[test]
fn a_body_that_the_gate_refused_is_never_taken_for_a_request() {
    for body in [
        post("/no", "", &get("/smuggled")),
        post("/no", "Expect: 100-continue\r\n", ""),
    ] {
        let mut peer = gated();
        peer.receive(&body);
        peer.receive(get("/1"));
        let seen = peer.seen();
        if body.contains("smuggled") {
            assert_eq!(seen, [no(Goes::Away), LOST]);
        } else {
            assert_eq!(seen, [no(Goes::On), request("/1", "")], "nothing follows");
        }
    }
}

#[test]
fn nothing_behind_a_last_request_is_looked_at_also_when_the_gate_answers() {
    let mut peer = gated();
    let last = "GET /no HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    peer.receive([&get("/0"), last, &get("/1")].concat());
    assert_eq!(peer.seen(), [request("/0", "")]);
    peer.answer(0, "0".into());
    assert_eq!(peer.seen(), [answered("0"), no(Goes::Away), LOST]);
}

#[test]
fn an_upgrade_that_the_gate_refuses_leaves_an_http_connection() {
    let mut peer = gated();
    peer.receive(UPGRADE.replace("/ws", "/no"));
    peer.receive(get("/1"));
    assert_eq!(peer.seen(), [no(Goes::On), request("/1", "")]);
}

#[test]
fn who_sends_its_last_byte_still_gets_its_answers() {
    let mut peer = Peer::new();
    peer.limits.pipeline_requests_max = 2;
    peer.receive([get("/0"), get("/1"), get("/2"), "GET /half".into()].concat());
    peer.half_close();
    assert_eq!(peer.seen(), [request("/0", ""), request("/1", "")]);
    peer.answer(0, "0".into());
    assert_eq!(peer.seen(), [answered("0"), request("/2", "")]);
    peer.answer(2, "2".into());
    peer.answer(1, "1".into());
    assert_eq!(peer.seen(), [answered("1"), answered("2"), LOST]);
}

#[test]
fn who_sends_its_last_byte_becomes_no_websocket() {
    let mut peer = Peer::new();
    peer.receive([&get("/0"), UPGRADE].concat());
    peer.half_close();
    peer.answer(0, "0".into());
    assert_eq!(peer.seen(), [request("/0", ""), answered("0"), LOST]);
}

#[test]
fn a_full_pipeline_says_so_and_goes_on_with_every_answer() {
    let mut peer = Peer::new();
    peer.limits.pipeline_requests_max = 3;
    let targets: Vec<String> = (0..20).map(|n| format!("/{n}")).collect();
    peer.receive(targets.iter().map(|target| get(target)).collect::<String>());
    for target in 0..20 {
        let handed_out = (target + 3).min(20);
        assert_eq!(peer.serials.len(), handed_out);
        assert_eq!(peer.connection.is_blocked(&peer.limits), target + 3 <= 20);
        peer.answer(target, target.to_string().into());
    }
    assert_eq!(peer.connection.unanswered(), 0);
    let seen = peer.seen();
    let left = seen.iter().filter(|seen| matches!(seen, Seen::Answer(..)));
    assert!(
        left.eq(&(0..20)
            .map(|n| answered(&n.to_string()))
            .collect::<Vec<_>>())
    );
}

#[test]
fn while_stopping_the_last_answer_says_so_and_closes() {
    let mut peer = Peer::new();
    peer.receive([get("/0"), get("/1"), "POST /2 HTTP/1.1\r\n".into()].concat());
    peer.seen();
    peer.drain = Some(peer.now);
    peer.answer(0, "0".into());
    peer.answer(1, "1".into());
    assert_eq!(
        peer.seen(),
        [answered("0"), answered("1")],
        "a request is begun"
    );
    peer.receive("Host: a\r\nContent-Length: 2\r\n\r\nhi");
    peer.answer(2, "2".into());
    assert_eq!(peer.seen(), [request("/2", "hi"), answered_last("2"), LOST]);
}

#[test]
fn while_stopping_what_came_in_one_segment_is_answered_as_a_whole() {
    let mut peer = gated();
    peer.drain = Some(peer.now);
    peer.receive([get("/no"), get("/no")].concat());
    assert_eq!(peer.seen(), [no(Goes::On), no(Goes::Away), LOST]);
}

#[test]
fn while_stopping_nobody_becomes_a_websocket_not_even_who_asked_before() {
    let mut peer = Peer::new();
    peer.drain = Some(peer.now);
    peer.receive([UPGRADE.as_bytes(), &text("a")].concat());
    let seen = peer.seen();
    assert_eq!(refused(&seen[0]), Some(503));
    assert_eq!(seen[1..], [LOST]);

    let mut peer = Peer::new();
    peer.receive([get("/0").as_bytes(), UPGRADE.as_bytes(), &text("a")].concat());
    peer.drain = Some(peer.now);
    peer.answer(0, "0".into());
    let seen = peer.seen();
    assert_eq!(seen[..2], [request("/0", ""), answered("0")]);
    assert_eq!(refused(&seen[2]), Some(503));
    assert_eq!(seen[3..], [LOST]);
}
