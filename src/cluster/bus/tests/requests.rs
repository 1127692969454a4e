//! What nodes ask of each other.

use super::world::{nodes, run};
use crate::base::Fd;
use crate::base::sync::lock;
use crate::chat::{NodeAnswer, NodeRequest};
use crate::cluster::ClusterPromise;
use crate::cluster::bus::RequestError;
use crate::cluster::bus::state::OUTGOING_FRAMES_MAX;

#[test]
fn a_node_answers_what_another_one_asks_and_a_dead_one_is_told_of_within_a_second() {
    let mut nodes = nodes::<2>(ClusterPromise::Synced);
    let request = NodeRequest::Push {
        fd: Fd(7),
        message: "{}".into(),
    };
    let generation = nodes[1].node.shared().generation();
    let number = nodes[0].state.begin_request(generation, &request).unwrap();
    let lost = nodes[0].state.begin_request(4_711, &request).unwrap();
    run(&mut nodes, 300);
    let answer = NodeAnswer {
        status: 200,
        body: "{}".into(),
    };
    assert_eq!(nodes[0].state.request_outcome(number), Some(Ok(answer)));
    assert_eq!(*lock(&nodes[1].people.asked), [request]);
    assert_eq!(
        nodes[0].state.request_outcome(lost),
        None,
        "it may still come"
    );
    run(&mut nodes, 800);
    let none = Some(Err(RequestError::NoAnswer));
    assert_eq!(nodes[0].state.request_outcome(lost), none);
}

#[test]
fn of_too_much_that_waits_for_the_engine_the_oldest_goes() {
    let nodes = nodes::<1>(ClusterPromise::Synced);
    let state = &nodes[0].state;
    for number in 0..OUTGOING_FRAMES_MAX as u64 + 3 {
        state.send(number, Vec::new());
    }
    let waiting: Vec<u64> =
        std::iter::from_fn(|| state.next_outgoing().map(|(to, _)| to)).collect();
    assert_eq!(
        (waiting.len(), waiting[0]),
        (OUTGOING_FRAMES_MAX, 3),
        "the oldest have gone"
    );
    assert_eq!(state.counters.outgoing_dropped.value(), 3);
}
