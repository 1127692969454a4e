//! Large deliveries: how much is written before others are heard, and that all of it is written in the
//! end.

use super::bench::{Bench, Peer, frame};
use crate::net::command::{Command, DeliveryWay, SlowWay};

/// A room that takes many turns.
const MANY: usize = 1_000;

/// What one turn writes of large deliveries where somebody else is at work, with what is owed for a
/// publish of this very turn, and one answer.
const WRITES_A_TURN: u64 = 24 + MANY.div_ceil(128) as u64 + 1;

/// What each hears until all is written.
fn expect_all(bench: &mut Bench, members: &mut [Peer], texts: &[&str]) {
    bench.write_rest();
    for member in members {
        for text in texts {
            assert_eq!(member.hear(), *text);
        }
        assert!(member.hears_nothing());
    }
}

/// Takes out the last of those that wait for a later turn.
fn last_waiting(bench: &Bench, members: &mut Vec<Peer>) -> Peer {
    let place = members.iter().rposition(|member| bench.waits(member));
    members.swap_remove(place.expect("somebody waits"))
}

#[test]
fn small_talk_is_answered_in_the_turn_that_hears_it_between_few_writes_of_a_room() {
    let mut bench = Bench::new();
    let _members = bench.open_members("tea", MANY);
    let mut talker = bench.open(1).remove(0);
    for number in 0..200 {
        bench.publish("tea", "more");
        if number % 2 == 0 {
            talker.say("hello");
        }
        let heard = bench.reactor.sink().heard;
        let writes = bench.turn();
        let is_quiet = bench.reactor.sink().heard == heard;
        assert!(writes <= WRITES_A_TURN + if is_quiet { 24 } else { 0 });
        assert!(is_quiet || talker.hear() == "hello");
    }
    assert!(
        bench.reactor.sink().heard > 90,
        "the room was busy all the time"
    );
    assert!(bench.reactor.writes.later_len() > MANY / 2);
}

#[test]
fn what_comes_meanwhile_for_a_member_joins_its_one_write() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", MANY);
    bench.publish("tea", "one");
    let mut writes = bench.turn();
    bench.publish("tea", "two");
    bench.publish("tea", "three");
    writes += bench.turn();
    let waited = members.iter().filter(|member| bench.waits(member)).count();
    assert!(waited > MANY - 200, "{waited} wait for their first write");
    writes += bench.write_rest();
    assert!(writes <= MANY as u64 + 72 + 72 + 16, "{writes} writes");
    expect_all(&mut bench, &mut members, &["one", "two", "three"]);
}

#[test]
fn an_answer_overtakes_nothing_of_its_own_connection() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", MANY);
    bench.publish("tea", "one");
    bench.turn();
    let mut member = last_waiting(&bench, &mut members);
    bench.push(member.fd, "two");
    bench.publish("tea", "three");
    bench.turn();
    assert!(bench.reactor.writes.has_later());
    assert_eq!((member.hear(), member.hear(), member.hear()), three());
    member.say("four");
    bench.turn_until(|bench| bench.reactor.sink().heard == 1);
    assert!(bench.reactor.writes.has_later());
    assert_eq!(member.hear(), "four");
    expect_all(&mut bench, &mut members, &["one", "three"]);
}

fn three() -> (String, String, String) {
    ("one".into(), "two".into(), "three".into())
}

#[test]
fn all_get_everything_in_order_however_publishes_and_turns_interleave() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", 300);
    let texts: Vec<String> = (0..60).map(|number| format!("{number}")).collect();
    for (number, text) in texts.iter().enumerate() {
        bench.publish("tea", text);
        if number % 3 > 0 {
            bench.turn();
        }
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    expect_all(&mut bench, &mut members, &texts);
}

#[test]
fn a_broadcast_is_written_in_shares_as_well() {
    let mut bench = Bench::new();
    let mut peers = bench.open(300);
    bench.command(Command::Broadcast(frame("all").into()));
    assert!(bench.turn() <= 48 + 300 / 128);
    expect_all(&mut bench, &mut peers, &["all"]);
}

#[test]
fn what_gathered_for_a_large_room_is_written_in_shares_as_well() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", 300);
    bench.command(Command::Deliver {
        topic: "tea".into(),
        frames: frame("one"),
        way: DeliveryWay {
            delay_ms: 60_000,
            slow: SlowWay::Waits,
        },
    });
    bench.turn();
    let mut new = bench.open(1).remove(0);
    bench.command(Command::Subscribe {
        fd: new.fd,
        topic: "tea".into(),
        frames_first: frame("welcome"),
    });
    bench.publish("tea", "two");
    assert!(bench.turn() <= 1 + 48 + 600 / 128);
    expect_all(&mut bench, &mut members, &["one", "two"]);
    assert_eq!((new.hear(), new.hear()), ("welcome".into(), "two".into()));
}

#[test]
fn many_small_rooms_together_are_written_in_shares_too() {
    let mut bench = Bench::new();
    let mut rooms: Vec<Vec<Peer>> = (0..40)
        .map(|room| bench.open_members(&format!("room {room}"), 20))
        .collect();
    for room in 0..40 {
        bench.publish(&format!("room {room}"), "hello");
    }
    let writes = bench.turn();
    assert!((240..=256 + 64 + 5).contains(&writes), "{writes} writes");
    bench.write_rest();
    rooms
        .iter_mut()
        .flatten()
        .for_each(|member| assert_eq!(member.hear(), "hello"));
}

#[test]
fn small_rooms_are_written_at_once_again_in_the_next_turn() {
    let mut bench = Bench::new();
    let _members = bench.open_members("tea", 300);
    let mut pair = bench.open_members("coffee", 2);
    for number in 0..300 {
        bench.publish("tea", "more");
        bench.publish("coffee", &format!("{number}"));
        bench.turn();
        for member in &mut pair {
            assert_eq!(member.hear(), format!("{number}"));
        }
    }
}

#[test]
fn what_is_published_without_waiting_is_written_faster_so_that_little_waits() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", MANY);
    let mut waiting_max = 0;
    for _ in 0..30 {
        for _ in 0..32 {
            bench.publish("tea", "more");
        }
        bench.turn();
        let pieces = bench.reactor.arena.len();
        waiting_max = waiting_max.max(pieces / MANY);
    }
    // About 33; nearly 90 in shares that don't grow.
    assert!(
        waiting_max <= 60,
        "{waiting_max} messages wait for each member"
    );
    expect_all(&mut bench, &mut members, &["more"; 30 * 32]);
}

#[test]
fn a_large_frame_is_written_in_shares_and_a_second_one_at_once() {
    let mut bench = Bench::new();
    let _members = bench.open_members("tea", 300);
    let large = "x".repeat(70_000);
    bench.publish("tea", &large);
    let writes = bench.turn();
    assert!(writes <= 3 + 300 / 128, "{writes} writes of 70,000 bytes");
    bench.publish("tea", &large);
    let waiting = bench.reactor.writes.later_len() as u64;
    assert!(
        bench.turn() >= waiting,
        "more than `flush_bytes` waits for nobody"
    );
}

#[test]
fn a_member_that_leaves_half_way_hears_what_was_said_before() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", MANY);
    bench.publish("tea", "one");
    bench.turn();
    let mut left = last_waiting(&bench, &mut members);
    bench.command(Command::Unsubscribe {
        fd: left.fd,
        topic: "tea".into(),
    });
    let mut new = bench.open_members("coffee", 1).remove(0);
    bench.command(Command::Subscribe {
        fd: new.fd,
        topic: "tea".into(),
        frames_first: frame("welcome"),
    });
    bench.publish("tea", "two");
    expect_all(&mut bench, &mut members, &["one", "two"]);
    assert_eq!(left.hear(), "one");
    assert!(left.hears_nothing());
    assert_eq!((new.hear(), new.hear()), ("welcome".into(), "two".into()));
}

#[test]
fn a_slot_that_is_used_again_half_way_has_nothing_of_the_connection_before() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", MANY);
    bench.publish("tea", "one");
    bench.turn();
    let gone = last_waiting(&bench, &mut members);
    let index = bench.slot_of(&gone);
    drop(gone);
    bench.turn_until(|bench| bench.reactor.sink().closed.len() == 1);
    assert!(bench.reactor.writes.has_later());
    let mut next = bench.open(1).remove(0);
    assert_eq!(bench.slot_of(&next), index, "the slot is used again");
    next.say("hello");
    bench.turn_until(|bench| bench.reactor.sink().heard == 1);
    bench.command(Command::Subscribe {
        fd: next.fd,
        topic: "tea".into(),
        frames_first: bytes::Bytes::new(),
    });
    bench.publish("tea", "two");
    expect_all(&mut bench, &mut members, &["one", "two"]);
    assert_eq!((next.hear(), next.hear()), ("hello".into(), "two".into()));
    assert!(next.hears_nothing());
}

#[test]
fn a_stop_half_way_through_a_large_delivery_writes_the_rest_of_it() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", MANY);
    bench.publish("tea", "one");
    bench.turn();
    assert!(bench.reactor.writes.has_later());
    bench.command(Command::Stop);
    bench.turn();
    for member in &mut members {
        assert_eq!(member.hear(), "one");
        member.hear_end();
    }
}

#[test]
fn a_drain_half_way_through_a_large_delivery_closes_behind_it() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", 300);
    bench.publish("tea", "one");
    bench.turn();
    assert!(bench.reactor.writes.has_later());
    bench.command(Command::Drain);
    bench.turn_until(|bench| bench.reactor.sink().farewells.len() == 300);
    for member in &members {
        bench.command(Command::Disconnect {
            fd: member.fd,
            code: 1001,
            reason: "bye".into(),
        });
    }
    bench.turn();
    bench.write_rest();
    for member in &mut members {
        assert_eq!(member.hear(), "one");
        assert_eq!(member.hear_close(), 1001);
    }
}
