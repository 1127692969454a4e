//! Who says what where, and who hears it.

use super::world::{ROOMS, Sent, nodes, run};
use crate::base::sync::lock;
use crate::cluster::ClusterPromise;
use crate::cluster::frame::{Frame, Moved};
use crate::cluster::tests::world::message;

#[test]
fn what_is_said_on_any_node_is_heard_on_each_in_the_order_of_the_log() {
    for promise in [
        ClusterPromise::Synced,
        ClusterPromise::Replicated,
        ClusterPromise::Fast,
    ] {
        let mut nodes = nodes::<3>(promise);
        for number in 0..30 {
            let (speaker, room) = (number % 3, ROOMS[number % 2]);
            let (one, two) = (format!("{number}a"), format!("{number}b"));
            let records = [message(room, &one, None), message(room, &two, None)];
            nodes[speaker].node.take(&records);
            if number % 5 == 0 {
                run(&mut nodes, 10);
            }
        }
        run(&mut nodes, 300);
        for room in ROOMS {
            let log = nodes[0].node.log(room);
            assert_eq!(log.len(), 30);
            for node in &nodes {
                assert_eq!(node.texts(room), log, "{promise:?}");
                assert_eq!(node.gaps(room), 0);
                let numbers = node.state.counters.numbers();
                assert_eq!((numbers.pages, numbers.proofs), (0, 0), "{numbers:?}");
            }
        }
    }
}

#[test]
fn a_purge_is_told_by_one_gap_and_what_follows_is_heard() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    for text in ["1", "2", "3"] {
        nodes[0].node.say(text).unwrap();
    }
    run(&mut nodes, 100);
    nodes[1].purge("tea", 77);
    nodes[0].node.say("4").unwrap();
    nodes[1].node.say("5").unwrap();
    run(&mut nodes, 300);
    for node in &nodes {
        let sent = node.sent("tea");
        assert_eq!(node.texts("tea"), ["1", "2", "3", "4", "5"]);
        let Sent::Gap(position) = sent[3] else {
            panic!("{sent:?}");
        };
        assert_eq!((position.epoch.bits(), position.offset), (77, 0));
        assert_eq!(node.gaps("tea"), 1);
    }
}

#[test]
fn who_comes_and_goes_is_told_at_once_but_not_before_what_was_said_before() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let held = super::world::append_and_die(&nodes, 900, "tea", &["1"]);
    assert!(held.is_some());
    let generation = nodes[1].node.shared().generation();
    let mut engine = nodes[0].node.model.source(1).open().unwrap();
    for room in ["tea", "coffee"] {
        let uid = "bob";
        let frame = Frame::Joined(Moved {
            room,
            uid,
            users: 2,
        })
        .bytes();
        engine.send(generation, &frame).unwrap();
    }
    run(&mut nodes, 200);
    let moved = lock(&nodes[1].people.moved).clone();
    assert_eq!(
        moved,
        ["bob joined coffee (2)"],
        "tea waits for its message"
    );
    assert!(nodes[1].texts("tea").is_empty());
    run(&mut nodes, 800);
    let moved = lock(&nodes[1].people.moved).clone();
    assert_eq!(moved, ["bob joined coffee (2)", "bob joined tea (2)"]);
    assert_eq!(nodes[1].texts("tea"), ["1"]);
}

#[test]
fn who_comes_while_a_room_is_behind_is_told_behind_what_was_said() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    model.drop_frames(2, true);
    nodes[0].node.say("1").unwrap();
    model.drop_frames(2, false);
    nodes[0].node.say("2").unwrap();
    let (room, uid) = ("tea", "bob");
    let frame = Frame::Joined(Moved {
        room,
        uid,
        users: 2,
    })
    .bytes();
    let mut engine = model.source(1).open().unwrap();
    let generation = nodes[1].node.shared().generation();
    engine.send(generation, &frame).unwrap();
    nodes[1].hears_all();
    assert!(lock(&nodes[1].people.moved).is_empty());
    run(&mut nodes, 300);
    assert_eq!(nodes[1].texts("tea"), ["1", "2"]);
    assert_eq!(*lock(&nodes[1].people.moved), ["bob joined tea (2)"]);
}
