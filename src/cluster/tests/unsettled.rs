//! What senders are told when an outcome isn't known in time, and what becomes of it afterwards.

use std::time::Duration;

use super::world::{TestNode, attach, message, offset};
use crate::cluster::ClusterPromise;
use crate::cluster::clock::Clock as _;
use crate::cluster::model::{CallFault, ModelValue};
use crate::cluster::shared::NodePart;
use crate::store::{Record, StoreError};

/// Cuts the node off once its next call has gone wrong.
fn cut_off_after(node: &TestNode, fault: CallFault) {
    node.model.fault(1, fault);
    let model = node.model.clone();
    node.clock
        .after(Duration::from_millis(1), move || model.set_away(1, true));
}

#[test]
fn senders_wait_for_an_outcome_only_so_long_and_those_behind_them_not_at_all() {
    for fault in [CallFault::Lost, CallFault::ReplyLost] {
        let mut node = TestNode::alone(ClusterPromise::Synced);
        cut_off_after(&node, fault);
        let began = node.clock.passed();
        assert!(
            matches!(node.say("one"), Err(StoreError::Unsettled)),
            "{fault:?}"
        );
        let waited = node.clock.passed() - began;
        assert!(waited <= Duration::from_secs(10), "{waited:?}");
        assert!(waited >= Duration::from_secs(9), "{waited:?}");
        assert!(!node.shared().is_ready(NodePart::Log));
        let now = node.clock.passed();
        assert!(
            matches!(node.say("two"), Err(StoreError::Away(_))),
            "{fault:?}"
        );
        assert_eq!(node.clock.passed(), now, "nobody waits behind it");
        node.model.set_away(1, false);
        node.idle(Duration::from_secs(1));
        assert!(node.shared().is_ready(NodePart::Log));
        assert_eq!(offset(&node.say("three")), 2, "{fault:?}");
        assert_eq!(node.log("tea"), ["one", "three"], "{fault:?}");
    }
}

#[test]
fn a_message_that_is_sent_again_with_its_id_stands_once() {
    for fault in [CallFault::Lost, CallFault::ReplyLost] {
        let mut node = TestNode::alone(ClusterPromise::Synced);
        let mut other = node.beside(2);
        cut_off_after(&node, fault);
        let one = [message("tea", "one", Some(1))];
        assert!(matches!(node.take(&one)[0], Err(StoreError::Unsettled)));
        // To another node, while the first one doesn't know yet.
        let again = other.take(&one);
        assert!(again[0].is_ok(), "{fault:?}: {again:?}");
        node.model.set_away(1, false);
        node.idle(Duration::from_secs(1));
        assert_eq!(node.log("tea"), ["one"], "{fault:?}");
    }
}

#[test]
fn what_never_left_the_node_isnt_taken_and_its_sender_knows() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    node.idle(Duration::from_secs(1));
    node.model.set_away(1, true);
    // The connection that stands is found to be cut by the call itself, so its fate isn't known.
    assert!(matches!(node.say("one"), Err(StoreError::Unsettled)));
    node.model.set_away(1, false);
    node.idle(Duration::from_secs(1));
    node.model.set_away(1, true);
    node.idle(Duration::from_secs(2));
    assert!(
        !node.shared().is_ready(NodePart::Log),
        "it is seen without a call"
    );
    assert!(matches!(node.say("two"), Err(StoreError::Away(_))));
    node.model.set_away(1, false);
    node.idle(Duration::from_secs(1));
    assert_eq!(offset(&node.say("three")), 2);
    assert_eq!(node.log("tea"), ["one", "three"]);
}

#[test]
fn a_short_absence_of_the_engine_is_waited_for() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    cut_off_after(&node, CallFault::ReplyLost);
    let model = node.model.clone();
    node.clock
        .after(Duration::from_secs(3), move || model.set_away(1, false));
    let began = node.clock.passed();
    assert_eq!(offset(&node.say("one")), 1);
    let waited = node.clock.passed() - began;
    assert!(
        waited < Duration::from_millis(3_700),
        "it took {waited:?} to see that it is back"
    );
}

#[test]
fn what_a_call_attached_whose_caller_had_gone_is_detached() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    cut_off_after(&node, CallFault::ReplyLost);
    assert!(matches!(
        node.take(&[attach("tea")])[0],
        Err(StoreError::Unsettled)
    ));
    node.model.set_away(1, false);
    node.idle(Duration::from_secs(1));
    node.say("one").unwrap();
    let routes = node.model.dump().remove("r:tea");
    assert!(routes.is_none(), "{routes:?}");
    // What is attached meanwhile stays.
    cut_off_after(&node, CallFault::ReplyLost);
    assert!(matches!(
        node.take(&[attach("tea")])[0],
        Err(StoreError::Unsettled)
    ));
    node.model.set_away(1, false);
    node.idle(Duration::from_secs(1));
    node.take(&[attach("tea")])[0].as_ref().unwrap();
    assert!(matches!(
        node.model.dump().remove("r:tea"),
        Some(ModelValue::Hash(_))
    ));
}

#[test]
fn a_channel_that_is_heard_stays_attached_when_a_late_call_attached_it_once_more() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    node.take(&[attach("tea")])[0].as_ref().unwrap();
    // As after a look, which found the route missing.
    cut_off_after(&node, CallFault::ReplyLost);
    assert!(matches!(
        node.take(&[attach("tea")])[0],
        Err(StoreError::Unsettled)
    ));
    node.model.set_away(1, false);
    node.idle(Duration::from_secs(2));
    node.say("one").unwrap();
    assert!(is_sent_here(&node), "the channel isn't heard any more");
}

/// Whether the engine sends the messages of `tea` to anybody.
fn is_sent_here(node: &TestNode) -> bool {
    node.model.dump().contains_key("r:tea")
}

#[test]
fn a_detach_that_the_engine_didnt_take_is_made_once_it_takes_calls_again() {
    for fault in [None, Some(CallFault::Lost), Some(CallFault::Broken)] {
        let mut node = TestNode::alone(ClusterPromise::Synced);
        node.take(&[attach("tea")])[0].as_ref().unwrap();
        match fault {
            // It is known to be away.
            None => {
                node.model.set_away(1, true);
                node.idle(Duration::from_secs(2));
            }
            Some(CallFault::Broken) => node.model.fault(1, CallFault::Broken),
            Some(fault) => cut_off_after(&node, fault),
        }
        let detached = node.take(&[Record::Detach { channel: "tea" }]).remove(0);
        assert!(detached.is_err(), "{fault:?}: {detached:?}");
        assert!(is_sent_here(&node), "{fault:?}");
        node.model.set_away(1, false);
        node.idle(Duration::from_secs(2));
        assert!(!is_sent_here(&node), "{fault:?}: nobody says anything");
        assert_eq!(node.shared().counters.numbers().detaches_dropped, 0);
    }
}

#[test]
fn a_detach_behind_a_call_that_isnt_settled_is_made_after_it_unless_somebody_came() {
    for comes_back in [false, true] {
        let mut node = TestNode::alone(ClusterPromise::Synced);
        node.take(&[attach("tea")])[0].as_ref().unwrap();
        cut_off_after(&node, CallFault::Lost);
        assert!(matches!(node.say("one"), Err(StoreError::Unsettled)));
        let detached = node.take(&[Record::Detach { channel: "tea" }]).remove(0);
        assert!(matches!(detached, Err(StoreError::Away(_))), "{detached:?}");
        node.model.set_away(1, false);
        if comes_back {
            // The call that does it detaches the channel first.
            while node.take(&[attach("tea")])[0].is_err() {
                node.clock.pause(Duration::from_millis(100));
            }
        }
        node.idle(Duration::from_secs(2));
        assert_eq!(is_sent_here(&node), comes_back);
    }
}

#[test]
fn a_call_that_fails_inside_the_engine_is_never_made_again() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    node.model.fault(1, CallFault::Broken);
    assert!(matches!(node.say("one"), Err(StoreError::Unsettled)));
    assert_eq!(offset(&node.say("two")), 1);
    assert_eq!(node.log("tea"), ["two"]);
    assert_eq!(node.shared().counters.numbers().calls_broken, 1);
}
