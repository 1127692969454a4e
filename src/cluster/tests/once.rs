//! A call takes effect once, whatever is lost.

use super::world::{TestNode, attach, message, offset, register};
use crate::cluster::ClusterNode;
use crate::cluster::ClusterPromise;
use crate::cluster::kept::{KeptNode, NODE_FORMAT};
use crate::cluster::model::CallFault;
use crate::cluster::shared::NodePart;
use crate::handover::{Section, SectionWriter};
use crate::store::{Appended, Record, StoreSettings};
use std::time::Duration;

const FAULTS: [CallFault; 4] = [
    CallFault::Lost,
    CallFault::ReplyLost,
    CallFault::Late,
    CallFault::Copied,
];

#[test]
fn a_message_stands_once_and_its_sender_learns_where() {
    for fault in FAULTS {
        let mut node = TestNode::alone(ClusterPromise::Synced);
        assert_eq!(offset(&node.say("one")), 1);
        node.model.fault(1, fault);
        assert_eq!(offset(&node.say("two")), 2, "{fault:?}");
        node.model.deliver_late();
        assert_eq!(offset(&node.say("three")), 3, "{fault:?}");
        node.model.deliver_late();
        assert_eq!(node.log("tea"), ["one", "two", "three"], "{fault:?}");
    }
}

#[test]
fn faults_one_after_the_other_change_nothing() {
    for first in FAULTS {
        for second in FAULTS {
            let mut node = TestNode::alone(ClusterPromise::Synced);
            node.model.fault(1, first);
            node.model.fault(1, second);
            let told = node.take(&[message("tea", "one", Some(1)), message("tea", "two", None)]);
            assert_eq!(
                (offset(&told[0]), offset(&told[1])),
                (1, 2),
                "{first:?} {second:?}"
            );
            node.model.deliver_late();
            assert_eq!(offset(&node.say("three")), 3, "{first:?} {second:?}");
            assert_eq!(node.log("tea"), ["one", "two", "three"]);
        }
    }
}

#[test]
fn a_copy_that_comes_after_the_next_calls_writes_no_route_and_takes_none_out() {
    for fault in [CallFault::Late, CallFault::Copied] {
        let mut node = TestNode::alone(ClusterPromise::Synced);
        node.model.fault(1, fault);
        node.take(&[attach("tea")]);
        node.take(&[Record::Detach { channel: "tea" }]);
        node.model.deliver_late();
        assert_eq!(
            receivers(&mut node, "tea"),
            Vec::<u64>::new(),
            "{fault:?}: attached again"
        );
        node.model.fault(1, fault);
        node.take(&[attach("tea")]);
        node.model.fault(1, fault);
        node.take(&[Record::Detach { channel: "tea" }]);
        node.take(&[attach("tea")]);
        node.model.deliver_late();
        let own = node.shared().generation();
        assert_eq!(
            receivers(&mut node, "tea"),
            [own],
            "{fault:?}: detached again"
        );
    }
}

/// The generations to which a message of this channel is sent.
fn receivers(node: &mut TestNode, channel: &str) -> Vec<u64> {
    let keys = node.model.dump();
    let Some(crate::cluster::model::ModelValue::Hash(routes)) = keys.get(&format!("r:{channel}"))
    else {
        return Vec::new();
    };
    let names = routes
        .keys()
        .map(|name| String::from_utf8(name.clone()).unwrap());
    names.map(|name| name.parse().unwrap()).collect()
}

#[test]
fn what_was_attached_is_known_at_once_and_what_was_detached_isnt() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    node.say("one").unwrap();
    let told = node.take(&[attach("tea")]);
    assert!(matches!(told[..], [Ok(Appended::Entered(0))]), "{told:?}");
    let (name, state) = &node.entered[0].channels[0];
    assert_eq!((&**name, state.newest, state.floor), ("tea", 1, 0));
    let reader = node.store.reader();
    assert_eq!(reader.channel("tea"), Some(*state));
    assert_eq!(reader.channel("milk"), None);
    node.take(&[Record::Detach { channel: "tea" }]);
    assert_eq!(reader.channel("tea"), None);
}

#[test]
fn a_call_of_a_generation_that_is_gone_is_made_by_the_next_one_only_if_it_wasnt_taken() {
    for fault in [
        None,
        Some(CallFault::Lost),
        Some(CallFault::ReplyLost),
        Some(CallFault::Copied),
    ] {
        let mut node = TestNode::alone(ClusterPromise::Synced);
        node.say("one").unwrap();
        let (model, shared) = (node.model.clone(), node.shared().clone());
        if let Some(fault) = fault {
            node.model.fault(1, fault);
            // While the answer is away, the generation goes, and later the node gets another one.
            let (model, shared) = (model.clone(), shared.clone());
            node.clock.after(Duration::from_millis(1), move || {
                model.register(&shared.settings.node, 99);
            });
        } else {
            model.register(&shared.settings.node, 99);
        }
        node.clock.after(Duration::from_secs(1), move || {
            register(&model, &shared, 77)
        });
        assert_eq!(offset(&node.say("two")), 2, "{fault:?}");
        node.model.deliver_late();
        // Whoever has got its answer from before the change goes on under the new generation.
        node.clock.after(Duration::ZERO, || {});
        let lost = node.shared().has_lost_generation();
        assert!(!lost || fault.is_some(), "{fault:?}");
        if node.shared().generation() != 77 {
            register(&node.model.clone(), &node.shared().clone(), 77);
        }
        assert_eq!(offset(&node.say("three")), 3, "{fault:?}");
        assert_eq!(node.log("tea"), ["one", "two", "three"], "{fault:?}");
    }
}

/// A node whose last call is on its way yet, and the next image of it.
fn next_image(is_away: bool) -> TestNode {
    let mut before = TestNode::alone(ClusterPromise::Synced);
    before.say("one").unwrap();
    before.model.fault(1, CallFault::Late);
    before.model.fault(1, CallFault::Lost);
    let model = before.model.clone();
    before
        .clock
        .after(Duration::from_millis(30), move || model.set_away(1, true));
    before.say("two").unwrap_err();
    before.model.set_away(1, is_away);
    let mut section = SectionWriter::new();
    KeptNode::write_down(before.shared(), &mut section);
    let section = Section::of(NODE_FORMAT.name, NODE_FORMAT.version, section.as_bytes());
    let kept = KeptNode::read(&section).unwrap();
    let settings = before.shared().settings.clone();
    let clock = before.clock.clone();
    let (source, dice) = (before.model.source(1), super::world::dice(5));
    let node = ClusterNode::take_over(settings, source, (clock, dice), &kept).unwrap();
    assert_eq!(node.shared().generation(), before.shared().generation());
    assert_eq!(node.shared().key(), before.shared().key());
    node.shared().set_ready(NodePart::Generation, true);
    before.store = node.store(StoreSettings::new("unused"));
    before.node = node;
    before.model.set_away(1, false);
    before
}

#[test]
fn the_next_image_of_a_node_overtakes_no_call_of_the_one_before_and_takes_no_answer_of_it() {
    for is_away in [false, true] {
        let mut node = next_image(is_away);
        assert_eq!(offset(&node.say("three")), 2);
        node.model.deliver_late();
        assert_eq!(node.log("tea"), ["one", "three"], "away: {is_away}");

        let mut node = next_image(is_away);
        node.model.deliver_late();
        assert_eq!(offset(&node.say("three")), 3, "away: {is_away}");
        assert_eq!(node.log("tea"), ["one", "two", "three"]);
    }
}
