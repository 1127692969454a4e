//! A turn does little for a crowd that comes, goes, or is sent away, so that others are heard.

use super::bench::{Bench, Peer};
use crate::net::command::Command;

/// Connections that come or go and are read from in one turn.
const COMING_AND_GOING: usize = 32;

/// Others that hear no topic, and are read from in one turn.
const READ_WITHOUT_TOPIC: usize = 64;

/// Those that hear one, and are read from in one turn.
const READ_WITH_TOPIC: usize = 256;

#[test]
fn a_message_is_answered_before_a_crowd_has_gone() {
    /// The kernel tells of so many in three parts.
    const CROWD: usize = 2_100;
    let mut bench = Bench::new();
    let crowd = bench.open(CROWD);
    let mut talker = bench.open(1).remove(0);
    drop(crowd);
    talker.say("hello");
    bench.turn_until(|bench| bench.reactor.sink().heard == 1);
    assert_eq!(talker.hear(), "hello");
    let gone = bench.reactor.sink().closed.len();
    assert!(gone <= 2 * COMING_AND_GOING, "{gone} went first");
    while bench.reactor.sink().closed.len() < CROWD {
        let before = bench.reactor.sink().closed.len();
        bench.turn();
        assert!(bench.reactor.sink().closed.len() - before <= COMING_AND_GOING);
    }
}

#[test]
fn a_message_is_answered_before_a_crowd_has_come() {
    let mut bench = Bench::new();
    let mut talker = bench.open(1).remove(0);
    let crowd: Vec<_> = (0..300).map(|_| bench.connect()).collect();
    while bench.reactor.sink().opened.len() <= crowd.len() {
        let before = bench.reactor.sink().opened.len();
        bench.turn();
        assert!(bench.reactor.sink().opened.len() - before <= COMING_AND_GOING);
        if bench.reactor.sink().heard == 0 {
            talker.say("hello");
            bench.turn_until(|bench| bench.reactor.sink().heard == 1);
            assert_eq!(talker.hear(), "hello");
            assert!(bench.reactor.sink().opened.len() < 100);
        }
    }
}

#[test]
fn of_a_crowd_that_talks_a_turn_reads_a_part_and_answers_it() {
    const CROWD: usize = 600;
    let mut bench = Bench::new();
    let talks = |bench: &mut Bench, mut crowd: Vec<Peer>, at_once: usize| {
        for peer in &mut crowd {
            peer.say("hello");
        }
        let mut waiting = crowd.iter_mut();
        while waiting.len() > 0 {
            let before = bench.reactor.sink().heard;
            bench.turn();
            let read = bench.reactor.sink().heard - before;
            assert!((1..=at_once).contains(&read), "{read} in a turn");
            for peer in waiting.by_ref().take(read) {
                assert_eq!(peer.hear(), "hello");
            }
        }
        assert!(bench.reactor.has_read_all(), "none is left");
    };
    let crowd = bench.open(CROWD);
    talks(&mut bench, crowd, READ_WITHOUT_TOPIC);
    let members = bench.open_members("tea", CROWD);
    talks(&mut bench, members, READ_WITH_TOPIC);
}

#[test]
fn who_hears_a_topic_is_answered_before_thousands_who_log_in() {
    const CROWD: usize = 3_000;
    let mut bench = Bench::new();
    let mut crowd = bench.open(CROWD);
    let mut member = bench.open_members("tea", 1).remove(0);
    for peer in &mut crowd {
        peer.say("a login");
    }
    bench.turn();
    let before = bench.reactor.sink().heard;
    member.say("hello");
    bench.turn();
    assert_eq!(member.hear(), "hello");
    let heard = bench.reactor.sink().heard - before;
    assert!(heard <= 1 + READ_WITHOUT_TOPIC, "{heard} with it");
    for peer in &mut crowd {
        bench.turn_until(|bench| bench.reactor.has_read_all());
        assert_eq!(peer.hear(), "a login");
    }
}

#[test]
fn of_the_answers_to_a_crowd_a_turn_writes_a_part() {
    const CROWD: usize = 1_500;
    let mut bench = Bench::new();
    let mut crowd = bench.open(CROWD);
    for peer in &crowd {
        bench.push(peer.fd, "welcome");
    }
    let mut written = 0;
    while written < CROWD as u64 {
        let writes = bench.turn();
        assert!((1..=512).contains(&writes), "{writes} in a turn");
        written += writes;
    }
    for peer in &mut crowd {
        assert_eq!(peer.hear(), "welcome");
    }
}

#[test]
fn a_crowd_that_is_sent_away_is_written_to_in_shares() {
    let mut bench = Bench::new();
    let mut crowd = bench.open(600);
    for peer in &crowd {
        bench.command(Command::Disconnect {
            fd: peer.fd,
            code: 1001,
            reason: "bye".into(),
        });
    }
    let writes = bench.turn();
    assert!((256..=256 + 48 + 5).contains(&writes), "{writes} writes");
    bench.write_rest();
    crowd
        .iter_mut()
        .for_each(|peer| assert_eq!(peer.hear_close(), 1001));
}

#[test]
fn timers_that_are_due_together_run_in_turns_and_each_once() {
    let mut bench = Bench::new();
    for timer in 0..1_000 {
        bench.command(Command::StartTimer {
            timer,
            after_ms: 1,
            repeats: false,
        });
    }
    while bench.reactor.sink().timers < 1_000 {
        let before = bench.reactor.sink().timers;
        bench.turn();
        assert!(bench.reactor.sink().timers - before <= 128);
    }
    assert_eq!(bench.reactor.timeout(), None, "none is left");
}

#[test]
fn publishes_that_come_together_are_given_to_the_outboxes_in_turns_and_in_order() {
    let mut bench = Bench::new();
    let mut members = bench.open_members("tea", 500);
    for number in 0..100 {
        bench.publish("tea", &format!("{number}"));
    }
    let given = |bench: &Bench| bench.reactor.shared.counters.deliveries.get();
    let before = given(&bench);
    bench.turn();
    let first = given(&bench) - before;
    assert!((8_192 - 500..=8_192 + 500).contains(&first), "{first}");
    bench.turn_until(|bench| given(bench) - before == 100 * 500);
    bench.write_rest();
    for member in &mut members {
        for number in 0..100 {
            assert_eq!(member.hear(), format!("{number}"));
        }
    }
}

#[test]
fn held_connections_are_looked_at_now_and_then_and_always_before_the_reactor_sleeps() {
    const HELD: usize = 1_000;
    let mut bench = Bench::new();
    let _members = bench.open_members("tea", 600);
    let mut crowd = bench.open(HELD);
    bench.reactor.sink.is_full = true;
    for peer in &mut crowd {
        peer.say("hello");
    }
    bench.turn_until(|bench| bench.reactor.held.len() == HELD);
    bench.publish("tea", "more");
    bench.turn();
    bench.reactor.sink.looks.set(0);
    let mut turns = 0;
    while bench.reactor.writes.has_later() {
        bench.turn();
        turns += 1;
    }
    let looks = bench.reactor.sink.looks.get();
    assert!(
        turns >= 8 && looks <= (turns / 4 + 1) * HELD,
        "{looks} in {turns} turns"
    );
    while bench.reactor.timeout().is_some() {
        bench.turn();
    }
    bench.reactor.sink.is_full = false;
    bench.nudge();
    while bench.reactor.sink().heard < HELD {
        assert!(
            bench.reactor.timeout().is_some(),
            "asleep with messages to read"
        );
        bench.turn();
    }
    for peer in &mut crowd {
        assert_eq!(peer.hear(), "hello");
    }
}
