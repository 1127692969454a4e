//! An engine without room.

use super::world::{TestNode, attach, message, offset};
use crate::cluster::ClusterPromise;
use crate::cluster::model::CallFault;
use crate::store::{Appended, StoreError};

#[test]
fn a_full_engine_takes_no_message_and_everything_else() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    node.say("one").unwrap();
    node.model.set_full(true);
    let told = node.take(&[message("tea", "two", None), attach("tea"), attach("milk")]);
    assert!(matches!(told[0], Err(StoreError::LogFull(_))), "{told:?}");
    let entered = |told: &Result<Appended, StoreError>| match told {
        Ok(Appended::Entered(place)) => node.entered[*place as usize].channels[0].0.to_string(),
        other => panic!("it was answered {other:?}"),
    };
    assert_eq!(
        (entered(&told[1]), entered(&told[2])),
        ("tea".into(), "milk".into())
    );
    node.model.set_full(false);
    assert_eq!(offset(&node.say("three")), 2);
    assert_eq!(node.log("tea"), ["one", "three"]);
}

#[test]
fn what_a_full_engine_refused_is_taken_by_no_late_copy_either() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    node.say("one").unwrap();
    node.model.set_full(true);
    node.model.fault(1, CallFault::Late);
    let told = node.take(&[message("tea", "two", None), attach("milk")]);
    assert!(matches!(told[0], Err(StoreError::LogFull(_))), "{told:?}");
    assert!(matches!(told[1], Ok(Appended::Entered(_))), "{told:?}");
    node.model.set_full(false);
    node.model.deliver_late();
    assert_eq!(offset(&node.say("three")), 2);
    assert_eq!(node.log("tea"), ["one", "three"]);
}

#[test]
fn what_was_taken_before_the_engine_was_full_is_answered() {
    let mut node = TestNode::alone(ClusterPromise::Synced);
    node.model.fault(1, CallFault::Copied);
    let model = node.model.clone();
    node.clock
        .after(std::time::Duration::from_millis(1), move || {
            model.set_full(true)
        });
    assert_eq!(offset(&node.say("one")), 1);
    node.model.set_full(false);
    node.model.deliver_late();
    assert_eq!(node.log("tea"), ["one"]);
}
