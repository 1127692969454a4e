//! Each queue overflows by itself, and nothing is lost that the log has.

use super::world::{append_and_die, nodes, run};
use crate::cluster::ClusterPromise;

#[test]
fn more_than_may_be_held_is_dropped_and_read_from_the_log() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    model.stall_bus(2, true);
    for number in 0..30 {
        let text = format!("{number:0>60000}");
        append_and_die(&nodes, 900 + number, "tea", &[&text]).unwrap();
    }
    model.stall_bus(2, false);
    for _ in 0..60 {
        nodes[1].turn();
    }
    run(&mut nodes, 2_000);
    let log = nodes[0].node.log("tea");
    assert_eq!(log.len(), 30);
    assert!(nodes[1].texts("tea") == log);
    let numbers = nodes[1].state.counters.numbers();
    assert!(
        numbers.held_overflows > 0 && numbers.pages > 0,
        "{numbers:?}"
    );
    assert_eq!((numbers.held_frames, numbers.held_bytes), (0, 0));
}

#[test]
fn more_than_may_wait_for_a_channel_that_is_behind_is_dropped_and_read_from_the_log() {
    let mut nodes = nodes::<2>(ClusterPromise::Replicated);
    let model = nodes[0].node.model.clone();
    nodes[0].node.say("1").unwrap();
    run(&mut nodes, 100);
    model.drop_frames(2, true);
    nodes[0].node.say("2").unwrap();
    model.drop_frames(2, false);
    // Nothing can be read now; what comes meanwhile waits.
    for number in 3..30 {
        let text = format!("{number:0>60000}");
        nodes[0].node.say(&text).unwrap();
    }
    model.set_away(2, false);
    nodes[1].hears_all();
    let numbers = nodes[1].state.counters.numbers();
    assert!(numbers.behind_overflows > 0, "{numbers:?}");
    run(&mut nodes, 2_000);
    assert!(nodes[1].texts("tea") == nodes[0].node.log("tea"));
    assert_eq!(nodes[1].gaps("tea"), 0);
    assert_eq!(nodes[1].state.counters.numbers().behind_bytes, 0);
}
