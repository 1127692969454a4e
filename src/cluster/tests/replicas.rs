//! `replicated`: nothing is answered or shown that a failover could take back.

use std::time::Duration;

use super::world::{TestNode, attach, offset};
use crate::cluster::ClusterPromise;
use crate::cluster::engine::Bus;
use crate::cluster::frame::Frame;
use crate::cluster::model::CallFault;
use crate::store::StoreError;

/// The marks among the frames that have come.
fn marks(bus: &mut dyn Bus) -> Vec<u64> {
    let mut marks = Vec::new();
    while let Some(bytes) = bus.next(Duration::ZERO).unwrap() {
        if let Some(Frame::Safe(n)) = Frame::parse(&bytes) {
            marks.push(n);
        }
    }
    marks
}

#[test]
fn each_promise_marks_what_is_safe_before_it_is_answered_and_fast_marks_nothing() {
    for (promise, count) in [
        (ClusterPromise::Synced, 2),
        (ClusterPromise::Replicated, 2),
        (ClusterPromise::Fast, 0),
    ] {
        let mut node = TestNode::alone(promise);
        let mut bus = node
            .model
            .source(1)
            .bus(node.shared().generation())
            .unwrap();
        node.take(&[attach("tea")])[0].as_ref().unwrap();
        node.say("one").unwrap();
        node.say("two").unwrap();
        let marks = marks(&mut *bus);
        assert_eq!(marks.len(), count, "{promise:?}: {marks:?}");
        assert!(
            marks
                .last()
                .is_none_or(|mark| *mark == node.shared().seen())
        );
    }
}

#[test]
fn while_a_replica_is_missing_nothing_is_answered_or_marked_or_taken() {
    let mut node = TestNode::alone(ClusterPromise::Replicated);
    node.take(&[attach("tea")])[0].as_ref().unwrap();
    let seen = node.shared().seen();
    let mut bus = node
        .model
        .source(1)
        .bus(node.shared().generation())
        .unwrap();
    node.model.set_replicas(0);
    assert!(matches!(node.say("one"), Err(StoreError::Unsettled)));
    assert!(matches!(node.say("two"), Err(StoreError::Away(_))));
    node.idle(Duration::from_secs(2));
    assert_eq!(marks(&mut *bus), Vec::<u64>::new());
    assert_eq!(node.shared().seen(), seen);
    assert!(node.shared().counters.numbers().waits_short > 1);
    node.model.set_replicas(1);
    node.idle(Duration::from_secs(2));
    assert_eq!(marks(&mut *bus).len(), 1);
    assert_eq!(offset(&node.say("three")), 2);
    assert_eq!(node.log("tea"), ["one", "three"]);
}

#[test]
fn a_mark_that_a_lost_connection_took_along_is_made_up_for() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    node.take(&[attach("tea")])[0].as_ref().unwrap();
    let mut bus = node
        .model
        .source(2)
        .bus(node.shared().generation())
        .unwrap();
    node.model.fault(1, CallFault::ReplyLost);
    node.say("one").unwrap();
    let seen = node.shared().seen();
    assert_eq!(marks(&mut *bus), [seen]);
}
