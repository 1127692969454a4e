//! What becomes of positions when the engine begins another life.

use std::time::Duration;

use super::world::{TestNode, attach, offset, register};
use crate::cluster::ClusterPromise::{self, Fast, Replicated, Synced};
use crate::cluster::call::Life;
use crate::cluster::engine::{EngineFacts, LifeState};
use crate::cluster::life::{is_trusted, syncs_always};
use crate::cluster::model::LifeChange::{self, Failover, Restart};
use crate::cluster::model::{CallFault, LostCalls};
use crate::cluster::shared::NodePart;

/// Says two messages, has the engine change its life, and says a third. Returns whether the positions of
/// before are still believed.
fn goes_on(promise: ClusterPromise, change: LifeChange, lost: LostCalls) -> bool {
    let mut node = TestNode::alone(promise);
    node.say("one").unwrap();
    node.say("two").unwrap();
    let (era, epoch) = (node.era(), node.epoch("tea"));
    node.model.new_life(change, lost);
    // What stands of the nodes is gone with the rest.
    register(&node.model, node.shared(), node.shared().generation());
    node.say("three").unwrap();
    let is_same = node.epoch("tea") == epoch;
    assert_eq!(
        is_same,
        node.era() == era,
        "an era and its epochs begin together"
    );
    if is_same {
        assert_eq!(node.log("tea"), ["one", "two", "three"]);
    }
    is_same
}

#[test]
fn a_life_is_trusted_if_the_promise_covers_its_beginning_and_proves_nothing_lost() {
    for (promise, change, lost, is_believed) in [
        (Synced, Restart, LostCalls::Nothing, true),
        (Synced, Failover, LostCalls::Nothing, false),
        (Replicated, Restart, LostCalls::Nothing, true),
        (Replicated, Failover, LostCalls::Nothing, true),
        (Fast, Restart, LostCalls::Nothing, false),
        (Fast, Failover, LostCalls::Nothing, false),
        (Synced, Restart, LostCalls::Tail(1), false),
        (Replicated, Failover, LostCalls::Tail(1), false),
        (Replicated, Restart, LostCalls::Tail(2), false),
        (Synced, Restart, LostCalls::All, false),
    ] {
        let believed = goes_on(promise, change, lost);
        assert_eq!(believed, is_believed, "{promise:?} {change:?} {lost:?}");
    }
}

#[test]
fn a_restart_of_an_engine_that_didnt_sync_isnt_trusted() {
    let mut node = TestNode::alone(Synced);
    node.say("one").unwrap();
    let era = node.era();
    node.model.set_syncs_always(false);
    // It is looked at every minute.
    node.idle(Duration::from_secs(61));
    node.model.new_life(Restart, LostCalls::Nothing);
    node.say("two").unwrap();
    assert!(node.era() > era);
}

#[test]
fn what_nobody_was_told_may_go_and_is_made_again() {
    let mut node = TestNode::alone(Synced);
    node.say("one").unwrap();
    let (era, epoch) = (node.era(), node.epoch("tea"));
    node.model.fault(1, CallFault::ReplyLost);
    let model = node.model.clone();
    node.clock.after(Duration::from_millis(1), move || {
        model.new_life(Restart, LostCalls::Tail(1));
    });
    assert_eq!(offset(&node.say("two")), 2);
    assert_eq!((node.era(), node.epoch("tea")), (era, epoch));
    assert_eq!(node.log("tea"), ["one", "two"]);
}

#[test]
fn an_answer_that_was_lost_with_the_life_is_asked_for_in_the_next_one() {
    let mut node = TestNode::alone(Synced);
    node.model.fault(1, CallFault::Copied);
    let model = node.model.clone();
    node.clock.after(Duration::from_millis(1), move || {
        model.new_life(Restart, LostCalls::Nothing);
    });
    assert_eq!(offset(&node.say("one")), 1);
    node.model.deliver_late();
    assert_eq!(node.log("tea"), ["one"]);
}

#[test]
fn whoever_has_seen_more_says_so_even_after_another_node_took_the_life_for_granted() {
    let mut ann = TestNode::alone(Synced);
    let mut bob = ann.beside(2);
    bob.say("one").unwrap();
    ann.say("two").unwrap();
    let era = ann.era();
    // The message of ann is lost, of which bob has seen nothing.
    ann.model.new_life(Restart, LostCalls::Tail(1));
    bob.say("three").unwrap();
    assert_eq!(bob.era(), era, "bob can't know");
    ann.say("four").unwrap();
    assert!(ann.era() > era, "ann does");
    let epoch = ann.epoch("tea");
    bob.say("five").unwrap();
    assert_eq!(bob.epoch("tea"), epoch, "and bob follows");
}

#[test]
fn an_engine_that_was_emptied_gives_no_era_again() {
    let mut node = TestNode::alone(Synced);
    node.say("one").unwrap();
    let (era, epoch) = (node.era(), node.epoch("tea"));
    node.model.empty();
    let (model, shared) = (node.model.clone(), node.shared().clone());
    node.clock.after(Duration::from_millis(500), move || {
        register(&model, &shared, 99);
    });
    assert_eq!(offset(&node.say("two")), 1);
    assert!(node.era() > era);
    assert_ne!(node.epoch("tea"), epoch);
}

#[test]
fn an_engine_that_was_emptied_gets_the_key_of_repeats_back_or_all_take_that_of_the_first() {
    let mut node = TestNode::alone(Synced);
    node.say("one").unwrap();
    let key = node.node.reader().key();
    node.model.empty();
    register(&node.model, node.shared(), node.shared().generation());
    node.say("two").unwrap();
    let other = node.beside(2);
    assert_eq!(other.node.reader().key(), key);
    // A node that comes before any other has noticed makes a key of its own.
    node.model.empty();
    let newcomer = node.beside(3);
    assert_ne!(newcomer.node.reader().key(), key);
    register(&node.model, node.shared(), node.shared().generation());
    node.say("three").unwrap();
    assert_eq!(node.node.reader().key(), newcomer.node.reader().key());
    assert!(node.shared().has_new_key());
    assert!(node.shared().is_ready(NodePart::Key));
}

#[test]
fn renewed_by_hand_each_channel_begins_a_new_epoch_and_history_stays() {
    let mut node = TestNode::alone(Synced);
    node.say("one").unwrap();
    let epoch = node.epoch("tea");
    let lives = node.shared().lives();
    crate::cluster::node::renew(&*node.model.source(9))
        .unwrap()
        .unwrap();
    assert_eq!(
        node.epoch("tea"),
        None,
        "no position from before is believed"
    );
    node.take(&[attach("tea")])[0].as_ref().unwrap();
    assert!(node.epoch("tea").is_some() && node.epoch("tea") != epoch);
    assert_eq!(node.log("tea"), ["one"]);
    assert!(
        node.shared().lives() > lives,
        "the other threads learn of it"
    );
}

#[test]
fn a_rewrite_under_way_takes_no_trust_from_a_run_that_was_seen_to_sync() {
    let life = |run: &str, syncs_always| LifeState {
        life: Life {
            run: run.into(),
            era: 1,
        },
        syncs_always,
        ..LifeState::default()
    };
    let set = |fsync: &str| EngineFacts {
        run: "now".into(),
        keeps_file: true,
        rewrites: true,
        settings: vec![
            ("appendfsync".into(), fsync.into()),
            ("no-appendfsync-on-rewrite".into(), "no".into()),
        ],
        ..EngineFacts::default()
    };
    assert!(syncs_always(Some(&life("now", true)), &set("always")));
    assert!(
        !syncs_always(Some(&life("now", false)), &set("always")),
        "never seen"
    );
    assert!(
        !syncs_always(Some(&life("before", true)), &set("always")),
        "of another run"
    );
    assert!(
        !syncs_always(Some(&life("now", true)), &set("everysec")),
        "set otherwise"
    );
    assert!(!syncs_always(None, &set("always")));
    let began_with_file = EngineFacts {
        began_with_file: true,
        ..set("always")
    };
    assert!(
        syncs_always(Some(&life("before", false)), &began_with_file),
        "a new run that read its file"
    );
    assert!(
        !syncs_always(Some(&life("now", false)), &began_with_file),
        "its file may have been switched off and on meanwhile"
    );
}

#[test]
fn a_failover_is_trusted_only_with_all_replicas_a_file_and_the_same_history() {
    let stands = LifeState {
        replid: "aa".into(),
        syncs_always: true,
        ..LifeState::default()
    };
    let promoted = EngineFacts {
        replids: ["bb".into(), "aa".into()],
        keeps_file: true,
        replicas_known: Some(1),
        ..EngineFacts::default()
    };
    let is_trusted = |facts: &EngineFacts| is_trusted(Replicated, 1, &stands, facts);
    assert!(is_trusted(&promoted));
    for (why, facts) in [
        (
            "another history",
            EngineFacts {
                replids: ["bb".into(), "cc".into()],
                ..promoted.clone()
            },
        ),
        (
            "no file",
            EngineFacts {
                keeps_file: false,
                ..promoted.clone()
            },
        ),
        (
            "a second replica",
            EngineFacts {
                replicas_known: Some(2),
                ..promoted.clone()
            },
        ),
        (
            "nobody counts them",
            EngineFacts {
                replicas_known: None,
                ..promoted.clone()
            },
        ),
    ] {
        assert!(!is_trusted(&facts), "{why}");
    }
}
