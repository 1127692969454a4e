//! Nothing is heard before it is safe.

use super::world::{append_and_die, nodes, run};
use crate::cluster::ClusterPromise;
use crate::cluster::engine::EngineSource;

#[test]
fn nobody_hears_a_message_before_its_call_is_known_to_be_safe() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let n = append_and_die(&nodes, 900, "tea", &["1", "2"]).unwrap();
    run(&mut nodes, 100);
    for node in &nodes {
        assert!(
            node.texts("tea").is_empty(),
            "it was heard before it was safe"
        );
        assert_eq!(node.state.counters.numbers().held_frames, 2);
    }
    let generations = nodes.each_ref().map(|node| node.node.shared().generation());
    let mut engine = nodes[0].node.model.source(1).open().unwrap();
    engine.mark_safe(n - 1, &generations).unwrap();
    run(&mut nodes, 20);
    assert!(nodes.iter().all(|node| node.texts("tea").is_empty()));
    engine.mark_safe(n, &generations).unwrap();
    run(&mut nodes, 20);
    for node in &nodes {
        assert_eq!(node.texts("tea"), ["1", "2"]);
        assert_eq!(node.state.counters.numbers().proofs, 0);
        assert_eq!(node.node.shared().seen(), n, "the mark counts as seen");
    }
}

#[test]
fn a_later_call_of_anybody_covers_what_came_before() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    append_and_die(&nodes, 900, "tea", &["1"]).unwrap();
    run(&mut nodes, 100);
    nodes[1].node.say("2").unwrap();
    run(&mut nodes, 100);
    for node in &nodes {
        assert_eq!(node.texts("tea"), ["1", "2"]);
        assert_eq!(node.state.counters.numbers().proofs, 0);
    }
}

#[test]
fn what_a_dead_node_appended_is_proved_and_heard_within_a_second() {
    let mut nodes = nodes::<3>(ClusterPromise::Synced);
    append_and_die(&nodes, 900, "coffee", &["1"]).unwrap();
    run(&mut nodes, 1_000);
    for node in &nodes {
        assert_eq!(node.texts("coffee"), ["1"]);
        assert!(node.state.counters.numbers().proofs <= 1);
    }
}

#[test]
fn what_isnt_kept_for_certain_is_heard_at_once_in_fast() {
    let mut nodes = nodes::<2>(ClusterPromise::Fast);
    append_and_die(&nodes, 900, "tea", &["1"]).unwrap();
    run(&mut nodes, 20);
    assert!(nodes.iter().all(|node| node.texts("tea") == ["1"]));
}

#[test]
fn in_replicated_nothing_is_heard_and_nothing_is_read_until_the_replicas_have_it() {
    let mut nodes = nodes::<2>(ClusterPromise::Replicated);
    let model = nodes[0].node.model.clone();
    model.set_replicas(0);
    append_and_die(&nodes, 900, "tea", &["1"]).unwrap();
    // What it hears is lost on one node, which reads it from the log.
    model.cut_bus(2);
    run(&mut nodes, 10_000);
    for node in &nodes {
        assert!(
            node.texts("tea").is_empty(),
            "a failover could take it back"
        );
        assert!(node.state.counters.numbers().proofs + node.state.counters.numbers().pages > 1);
    }
    model.set_replicas(1);
    run(&mut nodes, 2_000);
    for node in &nodes {
        assert_eq!(node.texts("tea"), ["1"]);
    }
}

#[test]
fn marks_that_come_late_hold_everything_back_and_lose_nothing() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let model = nodes[0].node.model.clone();
    let source: std::sync::Arc<dyn EngineSource> = model.source(7);
    let mut engine = source.open().unwrap();
    let mut last = 0;
    for number in 0..20 {
        let text = number.to_string();
        last = append_and_die(&nodes, 900 + number, "tea", &[&text]).unwrap();
        nodes.iter_mut().for_each(super::world::BusNode::turn);
    }
    assert!(nodes.iter().all(|node| node.texts("tea").is_empty()));
    let generations = nodes.each_ref().map(|node| node.node.shared().generation());
    engine.mark_safe(last - 10, &generations).unwrap();
    run(&mut nodes, 20);
    assert!(nodes.iter().all(|node| node.texts("tea").len() == 10));
    engine.mark_safe(last, &generations).unwrap();
    run(&mut nodes, 20);
    let log = nodes[0].node.log("tea");
    assert!(nodes.iter().all(|node| node.texts("tea") == log));
}
