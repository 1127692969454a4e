//! Buses that are cut, stalled or deaf; routes, eras and logs that change.

use std::sync::atomic::Ordering;

use super::world::{BusNode, append_and_die, nodes, run};
use crate::cluster::ClusterPromise;
use crate::cluster::model::{LifeChange, LostCalls};
use crate::store::Record;

/// Whether each listener was sent exactly this, without a gap.
#[track_caller]
fn assert_whole(nodes: &[BusNode], room: &str) {
    let log = nodes[0].node.log(room);
    for node in nodes {
        assert_eq!(node.texts(room), log);
        assert_eq!(node.gaps(room), 0);
    }
}

#[test]
fn what_is_said_while_a_bus_is_cut_is_read_from_the_log_and_nothing_twice() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    for number in 0..40 {
        nodes[number % 2].node.say(&number.to_string()).unwrap();
        if number % 7 == 3 {
            model.cut_bus(2);
        }
        run(&mut nodes, 30);
    }
    run(&mut nodes, 3_000);
    assert_whole(&nodes, "tea");
    let numbers = nodes[1].state.counters.numbers();
    assert!(numbers.pages > 0 && numbers.buses > 1, "{numbers:?}");
    assert!(nodes[1].is_ready());
}

#[test]
fn a_bus_that_is_open_and_deaf_is_noticed_and_opened_anew() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    assert!(nodes[1].is_ready());
    model.drop_frames(2, true);
    nodes[0].node.say("1").unwrap();
    run(&mut nodes, 5_500);
    assert!(
        !nodes[1].is_ready(),
        "it hears nothing, and says that it is ready"
    );
    assert!(nodes[0].is_ready());
    model.drop_frames(2, false);
    run(&mut nodes, 5_000);
    assert!(nodes[1].is_ready());
    assert!(nodes[1].state.counters.numbers().buses_deaf > 0);
    assert_whole(&nodes, "tea");
}

#[test]
fn a_bus_that_isnt_read_since_the_connections_are_slow_isnt_taken_for_deaf() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    nodes[1].people.is_pressed.store(true, Ordering::Relaxed);
    nodes[0].node.say("1").unwrap();
    run(&mut nodes, 20_000);
    let numbers = nodes[1].state.counters.numbers();
    assert!(nodes[1].texts("tea").is_empty(), "{numbers:?}");
    assert_eq!((numbers.buses, numbers.buses_deaf), (1, 0));
    assert!(numbers.pressed_ms > 1_000, "{numbers:?}");
    nodes[1].people.is_pressed.store(false, Ordering::Relaxed);
    run(&mut nodes, 500);
    assert_whole(&nodes, "tea");
}

#[test]
fn a_message_that_the_bus_lost_in_silence_is_read_when_the_next_one_comes() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    nodes[0].node.say("1").unwrap();
    run(&mut nodes, 100);
    model.drop_frames(2, true);
    nodes[0].node.say("2").unwrap();
    nodes[0].node.say("3").unwrap();
    model.drop_frames(2, false);
    run(&mut nodes, 100);
    assert_eq!(nodes[1].texts("tea"), ["1"]);
    nodes[0].node.say("4").unwrap();
    run(&mut nodes, 200);
    assert_whole(&nodes, "tea");
}

#[test]
fn a_message_that_the_bus_lost_in_silence_is_found_by_a_look() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    model.drop_frames(2, true);
    nodes[0].node.say("1").unwrap();
    model.drop_frames(2, false);
    run(&mut nodes, 35_000);
    assert_whole(&nodes, "tea");
    let numbers = nodes[1].state.counters.numbers();
    assert_eq!((numbers.looks_behind, numbers.looks_attached), (1, 0));
}

#[test]
fn looks_find_nothing_in_channels_in_which_much_is_said() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    for number in 0..700_u64 {
        model.stall_bus(2, number % 3 > 0);
        nodes[0].node.say(&number.to_string()).unwrap();
        run(&mut nodes, 100);
    }
    model.stall_bus(2, false);
    run(&mut nodes, 100);
    assert_whole(&nodes, "tea");
    let numbers = nodes[1].state.counters.numbers();
    assert!(numbers.looks > 4, "{numbers:?}");
    assert_eq!((numbers.looks_behind, numbers.pages), (0, 0));
}

#[test]
fn a_route_that_is_gone_is_found_by_a_look_and_written_again() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    // As a late copy of a call could do it, were it not refused.
    nodes[1].node.take(&[Record::Detach { channel: "tea" }]);
    nodes[0].node.say("1").unwrap();
    run(&mut nodes, 35_000);
    nodes[0].node.say("2").unwrap();
    run(&mut nodes, 200);
    assert_whole(&nodes, "tea");
    assert_eq!(nodes[1].state.counters.numbers().looks_attached, 1);
}

#[test]
fn an_engine_that_starts_again_with_everything_makes_no_gap() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    nodes[0].node.say("1").unwrap();
    run(&mut nodes, 100);
    model.new_life(LifeChange::Restart, LostCalls::Nothing);
    nodes[1].node.say("2").unwrap();
    run(&mut nodes, 5_000);
    nodes[0].node.say("3").unwrap();
    run(&mut nodes, 200);
    assert_whole(&nodes, "tea");
    assert!(nodes.iter().all(BusNode::is_ready));
}

#[test]
fn an_engine_that_lost_messages_is_told_by_a_gap_in_each_channel_once() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    for text in ["1", "2", "3"] {
        nodes[0].node.say(text).unwrap();
    }
    run(&mut nodes, 100);
    model.new_life(LifeChange::Restart, LostCalls::Tail(2));
    run(&mut nodes, 5_000);
    nodes[1].node.say("4").unwrap();
    run(&mut nodes, 500);
    for node in &nodes {
        assert_eq!(node.texts("tea"), ["1", "2", "3", "4"]);
        assert_eq!((node.gaps("tea"), node.gaps("coffee")), (1, 1));
    }
}

#[test]
fn frames_that_were_held_when_a_life_ended_are_dropped() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    append_and_die(&nodes, 900, "tea", &["gone"]).unwrap();
    run(&mut nodes, 100);
    model.new_life(LifeChange::Restart, LostCalls::Tail(1));
    run(&mut nodes, 5_000);
    nodes[0].node.say("1").unwrap();
    run(&mut nodes, 200);
    for node in &nodes {
        assert_eq!(node.texts("tea"), ["1"], "what was lost was heard");
    }
}
