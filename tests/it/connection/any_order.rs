//! Whatever happens, in whatever order: the promises of a connection hold.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tidings::proto::connection::{CloseReason, Verdict};
use tidings::proto::http::{Head, Response};

use super::peer::*;

#[derive(Debug, Clone)]
pub enum Step {
    Receive(usize),
    Answer(Index),
    Wait(u64),
    WaitForDeadline,
    Close(u16),
    HalfClose,
    Abort,
    Drain,
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..200_usize).prop_map(Step::Receive),
        6 => any::<Index>().prop_map(Step::Answer),
        2 => (0..20_000_u64).prop_map(Step::Wait),
        1 => Just(Step::WaitForDeadline),
        1 => select(vec![1_000, 1_001, 4_004]).prop_map(Step::Close),
        1 => Just(Step::HalfClose),
        1 => Just(Step::Abort),
        1 => Just(Step::Drain),
    ]
}

fn http_part() -> impl Strategy<Value = Vec<u8>> {
    let chunked =
        "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let head = "HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /last HTTP/1.0\r\n\r\n";
    let parts = vec![
        get("/0"),
        get("/no"),
        post("/1", "", "body"),
        post("/2", "Expect: 100-continue\r\n", "body"),
        post("/no", "", "body"),
        chunked.into(),
        head.into(),
        last.into(),
    ];
    prop_oneof![
        20 => select(parts).prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 1..20),
    ]
}

fn websocket_part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => select(vec![
            text("a"), ping("p"), pong(), frame(0x82, &[5; 300]),
            [frame(0x01, b"a"), ping("in"), frame(0x80, b"b")].concat(),
        ]),
        2 => select(vec![close(1_000), frame(0x88, b""), frame(0x81, b"\xff")]),
        1 => vec(any::<u8>(), 1..20),
    ]
}

pub fn stream() -> impl Strategy<Value = Vec<u8>> {
    let http = vec(http_part(), 0..8);
    let upgrade = prop_oneof![2 => Just(UPGRADE.as_bytes().to_vec()), 1 => Just(Vec::new())];
    let frames = vec(websocket_part(), 0..8);
    (http, upgrade, frames)
        .prop_map(|(http, upgrade, frames)| [http.concat(), upgrade, frames.concat()].concat())
}

pub fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        cases: 1_000,
        ..ProptestConfig::default()
    }
}

/// What a peer was told must make sense as a whole.
fn check(seen: &[Seen]) {
    let at = |wanted: fn(&Seen) -> bool| seen.iter().position(wanted);
    let opened = at(|seen| matches!(seen, Seen::Opened(_)));
    assert_eq!(
        at(|seen| *seen == Seen::Switching).map(|at| at + 1),
        opened,
        "the 101 comes just before"
    );
    let opened = opened.unwrap_or(seen.len());
    for (at, event) in seen.iter().enumerate() {
        let is_http = match event {
            Seen::Request(..) | Seen::Answer(..) | Seen::Continue | Seen::Switching => true,
            Seen::Opened(_) | Seen::Closed(_) => continue,
            Seen::Text(_) | Seen::Binary(_) => false,
            Seen::PingSent | Seen::PongSent(_) | Seen::CloseSent(_) => false,
        };
        assert_eq!(is_http, at < opened, "{event:?}");
    }
    let last_word = at(|seen| matches!(seen, Seen::CloseSent(_) | Seen::Answer(_, _, Goes::Away)));
    if let Some(last_word) = last_word {
        let behind = &seen[last_word + 1..];
        assert!(
            matches!(behind, [] | [Seen::Closed(_)]),
            "{behind:?} after the last word"
        );
    }
    let answered = seen.iter().filter_map(|seen| match seen {
        Seen::Answer(200, body, _) if !body.is_empty() => body.parse::<usize>().ok(),
        _ => None,
    });
    assert!(answered.is_sorted(), "answers leave in order");
}

/// Refuses one path.
pub fn gate(head: &Head) -> Verdict {
    match head.path() {
        "/no" => Verdict::Answer(Response::new(403)),
        _ => Verdict::Pass,
    }
}

/// Takes one step; `rest` is what the peer has still to send, `ended` whether it has sent its last byte.
pub fn take(step: &Step, peer: &mut Peer, rest: &mut &[u8], ended: &mut bool) {
    match step {
        // As the reactor does: nothing is read while that would only pile it up.
        Step::Receive(_) if *ended || peer.connection.is_blocked(&peer.limits) => {}
        Step::Receive(size) => {
            let (part, behind) = rest.split_at((*size).min(rest.len()));
            *rest = behind;
            peer.receive(part);
        }
        Step::Answer(which) if !peer.serials.is_empty() => {
            let which = which.index(peer.serials.len());
            peer.answer(which, which.to_string().into());
        }
        Step::Answer(_) => {}
        Step::Wait(ms) => {
            peer.wait(*ms);
            peer.expire();
        }
        Step::WaitForDeadline => {
            if let Some(ms) = peer.waits_ms() {
                peer.wait(ms);
                peer.expire();
            }
        }
        Step::Close(code) => peer.close(*code),
        Step::HalfClose => {
            *ended = true;
            peer.half_close();
        }
        Step::Abort => peer.abort(CloseReason::Lost),
        Step::Drain => drop(peer.drain.get_or_insert(peer.now)),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_connection_keeps_its_promises(
        stream in stream(),
        steps in vec(step(), 0..60),
        pipeline_requests_max in 1..4_usize,
        seed: u32,
    ) {
        let mut peer = Peer::with_seed(seed);
        peer.limits.pipeline_requests_max = pipeline_requests_max;
        peer.gate = gate;
        let (mut rest, mut all, mut ended) = (&stream[..], Vec::new(), false);
        for step in steps {
            take(&step, &mut peer, &mut rest, &mut ended);
            all.extend(peer.seen());
            let unanswered = peer.connection.unanswered();
            prop_assert!(unanswered <= pipeline_requests_max + 2, "{unanswered}");
            prop_assert!(unanswered > 0 || !peer.connection.is_blocked(&peer.limits));
            if matches!(step, Step::Wait(_) | Step::WaitForDeadline) {
                prop_assert_ne!(peer.waits_ms(), Some(0), "a deadline that came must go");
            }
            check(&all);
        }
        peer.abort(CloseReason::Lost);
        all.extend(peer.seen());
        prop_assert!(peer.is_closed());
        prop_assert!(matches!(all.last(), Some(Seen::Closed(_))));
        prop_assert!(peer.waits_ms().is_none() && peer.connection.unanswered() == 0);
        check(&all);
    }
}
