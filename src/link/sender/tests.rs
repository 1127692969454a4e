use serde_json::{Value, json};

use super::*;

const SILENCE_MS: u64 = 6_000;

fn identity() -> LinkIdentity {
    LinkIdentity {
        producer: "p".into(),
        name: "gw".into(),
    }
}

fn link(first: u64, newest: u64) -> LinkSender {
    let settings = LinkSettings::default();
    LinkSender::new(Tick(0), identity(), settings, 7, (first, newest))
}

fn numbered(n: u64) -> NumberedPosting {
    let posting = json!({ "data": n }).to_string().into();
    NumberedPosting { n, posting }
}

fn events(link: &mut LinkSender) -> Vec<SenderEvent> {
    std::iter::from_fn(|| link.next_event()).collect()
}

fn frames(link: &mut LinkSender, now: Tick) -> Vec<Value> {
    std::iter::from_fn(|| link.next_frame(now))
        .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
        .collect()
}

/// The numbers of the messages that go out now.
fn sent(link: &mut LinkSender, now: Tick) -> Vec<u64> {
    let frames = frames(link, now);
    frames
        .iter()
        .filter_map(|frame| frame["n"].as_u64())
        .collect()
}

/// A link that is open from `next` on, and has asked for messages.
fn open(first: u64, newest: u64, next: u64) -> LinkSender {
    let mut link = link(first, newest);
    reopen(&mut link, Tick(0), next);
    events(&mut link);
    link
}

fn reopen(link: &mut LinkSender, now: Tick, next: u64) {
    link.expire(now);
    link.connected(now);
    frames(link, now);
    link.receive(now, &json!({"type": "open_ok", "next": next}).to_string());
}

fn ack(n: u64) -> String {
    json!({"type": "pub_ack", "n": n}).to_string()
}

fn lost(why: LinkLoss, events: &[SenderEvent]) -> bool {
    events
        .iter()
        .any(|event| matches!(event, SenderEvent::Lost { why: other, .. } if *other == why))
}

#[test]
fn a_link_opens_asks_for_messages_and_sends_them_in_order() {
    let mut link = link(3, 9);
    link.expire(Tick(0));
    assert_eq!(events(&mut link), [SenderEvent::Connect]);
    assert!(frames(&mut link, Tick(0)).is_empty(), "there is no socket");
    link.connected(Tick(5));
    let open = json!({"type": "open", "producer": "p", "name": "gw", "first": 3});
    assert_eq!(frames(&mut link, Tick(5)), [open]);
    link.receive(Tick(9), r#"{"type":"open_ok","next":5}"#);
    let want = SenderEvent::Want {
        after: 4,
        count: 1_024,
    };
    let opened = [
        SenderEvent::Opened { next: 5 },
        SenderEvent::Acked { n: 4 },
        want,
    ];
    assert_eq!(events(&mut link), opened);
    link.feed(Tick(9), 4, vec![numbered(5), numbered(6)]);
    let first = json!({"type": "pub", "n": 5, "data": 5});
    let second = json!({"type": "pub", "n": 6, "data": 6});
    assert_eq!(frames(&mut link, Tick(9)), [first, second]);
    link.receive(Tick(10), &ack(5));
    let want = SenderEvent::Want {
        after: 6,
        count: 1_023,
    };
    assert_eq!(events(&mut link), [SenderEvent::Acked { n: 5 }, want]);
    link.receive(Tick(11), &ack(6));
    assert_eq!(events(&mut link), [SenderEvent::Acked { n: 6 }]);
    assert_eq!(link.held(), 0);
}

#[test]
fn a_message_that_was_sent_and_not_acknowledged_goes_out_again_on_the_next_link() {
    let mut link = open(1, 9, 1);
    link.feed(Tick(0), 0, (1..=5).map(numbered).collect());
    assert_eq!(sent(&mut link, Tick(0)), [1, 2, 3, 4, 5]);
    link.receive(Tick(1), &ack(2));
    link.lost(Tick(2), LinkLoss::End);
    let after = events(&mut link);
    assert!(after.contains(&SenderEvent::Acked { n: 2 }) && lost(LinkLoss::End, &after));
    // The acknowledgement of 3 was lost with the link; the upstream's own mark tells.
    reopen(&mut link, Tick(2_000), 4);
    assert!(events(&mut link).contains(&SenderEvent::Acked { n: 3 }));
    assert_eq!(
        sent(&mut link, Tick(2_000)),
        [4, 5],
        "and nothing is fetched anew"
    );
    assert_eq!(link.resent(), 2);
}

#[test]
fn a_cut_socket_may_say_what_it_likes() {
    let mut link = open(1, 9, 1);
    link.feed(Tick(0), 0, vec![numbered(1)]);
    sent(&mut link, Tick(0));
    link.lost(Tick(1), LinkLoss::End);
    events(&mut link);
    for late in [&*ack(1), "nonsense", r#"{"type":"open_ok","next":9}"#] {
        link.receive(Tick(1), late);
    }
    assert_eq!(events(&mut link), []);
    assert_eq!(link.held(), 1);
}

#[test]
fn there_is_never_a_second_socket_before_the_first_is_gone() {
    let mut link = link(1, 1);
    let mut sockets = 0;
    for ms in (0..120_000).step_by(100) {
        link.expire(Tick(ms));
        for event in events(&mut link) {
            match event {
                SenderEvent::Connect => sockets += 1,
                SenderEvent::Cut => sockets -= 1,
                _ => {}
            }
            assert!((0..=1).contains(&sockets), "at {ms}");
        }
    }
}

#[test]
fn pings_go_out_every_two_seconds_and_six_of_silence_are_death() {
    let mut link = open(1, 1, 1);
    for (ms, pings) in [(1_999, 0), (2_000, 1), (2_001, 0), (4_000, 1)] {
        link.expire(Tick(ms));
        assert_eq!(frames(&mut link, Tick(ms)).len(), pings, "at {ms}");
        assert!(link.deadline() > Tick(ms));
    }
    link.receive(Tick(4_500), "PONG");
    link.expire(Tick(4_500 + SILENCE_MS - 1));
    assert_eq!(link.state(), LinkState::Open);
    link.expire(Tick(4_500 + SILENCE_MS));
    let after = events(&mut link);
    assert_eq!(after[0], SenderEvent::Cut);
    assert!(lost(LinkLoss::Silent, &after));
}

#[test]
fn a_handshake_or_an_open_that_hangs_is_given_up() {
    let mut connecting = link(1, 1);
    connecting.expire(Tick(0));
    let mut opening = link(1, 1);
    opening.expire(Tick(0));
    opening.connected(Tick(0));
    frames(&mut opening, Tick(0));
    for link in [&mut connecting, &mut opening] {
        link.expire(Tick(SILENCE_MS));
        let after = events(link);
        assert!(
            after.contains(&SenderEvent::Cut) && lost(LinkLoss::Silent, &after),
            "{after:?}"
        );
    }
}

#[test]
fn pauses_grow_by_half_up_to_ten_seconds_give_or_take_a_fifth() {
    let mut link = link(1, 1);
    let mut now = Tick(0);
    for expected in [1_000, 1_500, 2_250, 3_375, 5_062, 7_593, 10_000, 10_000] {
        link.expire(now);
        link.lost(now, LinkLoss::End);
        let after = events(&mut link);
        let Some(SenderEvent::Lost { retry_ms, .. }) = after.last() else {
            panic!("{after:?}")
        };
        let fifth = expected / 5;
        let spread = expected - fifth..=expected + fifth;
        assert!(spread.contains(retry_ms), "{retry_ms} for {expected}");
        now = now.after(*retry_ms);
    }
    reopen(&mut link, now, 1);
    link.lost(now, LinkLoss::End);
    let after = events(&mut link);
    assert!(
        matches!(
            after.last(),
            Some(SenderEvent::Lost {
                retry_ms: 800..=1_200,
                ..
            })
        ),
        "an open link begins anew: {after:?}"
    );
}

#[test]
fn at_most_so_many_are_on_the_way_and_half_of_them_are_kept_ready() {
    let mut link = open(1, 5_000, 1);
    link.feed(Tick(0), 0, (1..=1_024).map(numbered).collect());
    assert_eq!(sent(&mut link, Tick(0)).len(), 1_024);
    link.receive(Tick(0), &ack(511));
    let wants = |events: &[SenderEvent]| {
        events
            .iter()
            .any(|one| matches!(one, SenderEvent::Want { .. }))
    };
    assert!(!wants(&events(&mut link)), "513 are more than half");
    link.receive(Tick(0), &ack(512));
    let want = SenderEvent::Want {
        after: 1_024,
        count: 512,
    };
    assert!(events(&mut link).contains(&want));
    assert!(!wants(&events(&mut link)), "asked once");
    link.feed(Tick(0), 1_024, (1_025..=1_600).map(numbered).collect());
    assert_eq!(sent(&mut link, Tick(0)).len(), 512, "never more on the way");
}

#[test]
fn bytes_are_bounded_too() {
    let settings = LinkSettings {
        held_bytes_max: 1_000,
        ..LinkSettings::default()
    };
    let mut link = LinkSender::new(Tick(0), identity(), settings, 7, (1, 9));
    reopen(&mut link, Tick(0), 1);
    events(&mut link);
    let posting = "x".repeat(1_000).into();
    link.feed(Tick(0), 0, vec![NumberedPosting { n: 1, posting }]);
    assert_eq!(events(&mut link), [], "nothing is wanted");
}

#[test]
fn a_page_that_nobody_waits_for_any_more_is_dropped() {
    let mut link = open(1, 9, 1);
    link.lost(Tick(1), LinkLoss::End);
    reopen(&mut link, Tick(2_000), 4);
    events(&mut link);
    link.feed(Tick(2_000), 0, (1..=3).map(numbered).collect());
    assert_eq!(link.held(), 0);
    link.feed(Tick(2_000), 3, vec![numbered(4)]);
    assert_eq!(sent(&mut link, Tick(2_000)), [4]);
    link.feed(Tick(2_000), 3, vec![numbered(4)]);
    assert_eq!(link.held(), 1, "the same page twice counts once");
}

#[test]
fn a_busy_receiver_gets_everything_again_that_it_did_not_acknowledge() {
    let mut link = open(1, 9, 1);
    link.feed(Tick(0), 0, (1..=4).map(numbered).collect());
    sent(&mut link, Tick(0));
    link.receive(Tick(1), &ack(1));
    link.receive(Tick(1), r#"{"type":"pub_busy","after_ms":500}"#);
    assert!(sent(&mut link, Tick(500)).is_empty(), "not yet");
    assert_eq!(link.deadline(), Tick(501));
    assert_eq!(sent(&mut link, Tick(501)), [2, 3, 4]);
    link.receive(Tick(501), r#"{"type":"pub_busy","after_ms":99999999}"#);
    assert_eq!(
        sent(&mut link, Tick(60_501)),
        [2, 3, 4],
        "a pause has a bound"
    );
}

#[test]
fn a_busy_receiver_may_acknowledge_messages_that_it_took_before() {
    let mut link = open(1, 9, 1);
    link.feed(Tick(0), 0, (1..=4).map(numbered).collect());
    sent(&mut link, Tick(0));
    link.receive(Tick(1), r#"{"type":"pub_busy","after_ms":500}"#);
    link.receive(Tick(2), &ack(2));
    assert_eq!(sent(&mut link, Tick(501)), [3, 4]);
    link.receive(Tick(501), &ack(5));
    assert_eq!(link.state(), LinkState::Dead, "5 was never sent");
}

#[test]
fn a_refused_number_is_acknowledged_once_everything_before_it_is() {
    let mut link = open(1, 9, 1);
    link.feed(Tick(0), 0, (1..=4).map(numbered).collect());
    sent(&mut link, Tick(0));
    events(&mut link);
    for _ in 0..2 {
        link.receive(
            Tick(1),
            r#"{"type":"pub_err","n":3,"code":"bad_request","message":"to: nobody"}"#,
        );
    }
    let refused = SenderEvent::Refused {
        n: 3,
        why: RefusalWords {
            code: "bad_request".into(),
            message: "to: nobody".into(),
        },
    };
    assert_eq!(
        events(&mut link),
        [refused],
        "told once, and 1 and 2 still count"
    );
    link.receive(Tick(2), &ack(2));
    assert_eq!(events(&mut link), [SenderEvent::Acked { n: 3 }]);
    link.receive(Tick(2), &ack(2));
    assert_eq!(events(&mut link), [], "an older one takes nothing back");
}

#[test]
fn an_upstream_that_lost_its_mark_gets_what_is_still_here() {
    let mut link = link(40, 60);
    reopen(&mut link, Tick(0), 1);
    let after = events(&mut link);
    assert!(after.contains(&SenderEvent::Jumped { from: 1, to: 40 }));
    assert!(after.contains(&SenderEvent::Opened { next: 40 }));
    assert!(matches!(
        after.last(),
        Some(SenderEvent::Want { after: 39, .. })
    ));
}

#[test]
fn an_outbox_that_is_older_than_the_upstreams_mark_sends_nothing() {
    let mut link = link(1, 60);
    reopen(&mut link, Tick(0), 62);
    let old = LinkLoss::OldOutbox {
        next: 62,
        newest: 60,
    };
    let after = events(&mut link);
    assert!(lost(old, &after), "{after:?}");
    assert!(
        !after
            .iter()
            .any(|one| matches!(one, SenderEvent::Acked { .. }))
    );
    reopen(&mut link, Tick(20_000), 61);
    assert_eq!(link.state(), LinkState::Open, "61 is the next one");
}

#[test]
fn a_kicked_link_takes_its_time() {
    let mut link = open(1, 1, 1);
    link.receive(
        Tick(1),
        r#"{"type":"kick","code":"replaced","message":"x"}"#,
    );
    let after = events(&mut link);
    let Some(SenderEvent::Lost { why, retry_ms }) = after.last() else {
        panic!("{after:?}")
    };
    assert_eq!(*why, LinkLoss::Kicked("replaced".into()));
    assert!((8_000..=12_000).contains(retry_ms), "{retry_ms}");
}

#[test]
fn an_upstream_that_breaks_the_protocol_is_left() {
    let ack_of_nothing = ack(3);
    for wrong in [
        "nonsense",
        &ack_of_nothing,
        r#"{"type":"pub_err","n":3,"code":"x"}"#,
        r#"{"type":"open_ok","next":1}"#,
        r#"{"type":"err","code":"bad_request","message":"a hole"}"#,
    ] {
        let mut link = open(1, 9, 1);
        link.feed(Tick(0), 0, (1..=2).map(numbered).collect());
        sent(&mut link, Tick(0));
        link.receive(Tick(1), wrong);
        let after = events(&mut link);
        let violation = |event: &SenderEvent| {
            matches!(
                event,
                SenderEvent::Lost {
                    why: LinkLoss::Violation(_),
                    ..
                }
            )
        };
        assert!(after.iter().any(violation), "{wrong}: {after:?}");
        assert_eq!(link.held(), 2, "{wrong}");
    }
}

#[test]
fn a_hole_at_the_outboxs_front_makes_the_link_ask_anew() {
    let mut link = open(1, 9, 1);
    link.update_outbox(3, 9);
    link.feed(Tick(0), 0, vec![numbered(3)]);
    assert!(lost(LinkLoss::Trimmed, &events(&mut link)));
    link.expire(Tick(2_000));
    link.connected(Tick(2_000));
    assert_eq!(frames(&mut link, Tick(2_000))[0]["first"], 3);
}

#[test]
fn a_stopping_link_takes_nothing_new_and_closes_once_all_is_acknowledged() {
    let mut link = open(1, 9, 1);
    link.feed(Tick(0), 0, (1..=2).map(numbered).collect());
    link.drain();
    link.expire(Tick(1));
    assert_eq!(events(&mut link), [], "nothing is wanted, nothing ends");
    assert_eq!(sent(&mut link, Tick(1)), [1, 2]);
    link.receive(Tick(2), &ack(2));
    link.expire(Tick(2));
    assert_eq!(
        events(&mut link),
        [SenderEvent::Close, SenderEvent::Acked { n: 2 }]
    );
    assert!(link.is_ended());
    link.expire(Tick(99_999));
    assert!(link.is_ended() && link.deadline() == Tick::NEVER);
}
