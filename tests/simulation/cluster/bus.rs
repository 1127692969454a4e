//! The threads of a node that hear what is sent to it, and that read what it is behind with.

use std::sync::Arc;
use std::time::Duration;

use tidings::chat::Hearing;
use tidings::cluster::bus::parts;
use tidings::cluster::engine::EngineSource;
use tidings::cluster::model::Model;
use tidings::cluster::shared::NodePart;

use super::hearing::NodeHearing;
use super::node::Node;
use super::way::Way;

/// The longest rest of the thread that reads: orders to it come without a word where a channel is attached.
const REST_MAX: Duration = Duration::from_millis(100);

/// Starts them.
pub fn start(node: &Arc<Node>, way: &Arc<Way>) {
    let hearing: Arc<dyn Hearing> = Arc::new(NodeHearing(Arc::clone(node)));
    let shared = Arc::clone(node.cluster.shared());
    let source: Arc<dyn EngineSource> = Arc::clone(way) as _;
    let (mut ear, mut reader, state) = parts(shared, &source, &hearing);
    node.set_orders(state);
    let (baton, way, group) = (Arc::clone(&node.baton), Arc::clone(way), node.number);
    node.baton.spawn(group, move || {
        loop {
            ear.turn();
            if way.has_heard() {
                baton.ring(group);
            }
        }
    });
    let baton = Arc::clone(&node.baton);
    node.baton.spawn(group, move || {
        loop {
            match reader.turn() {
                true => baton.pause(0),
                false => baton.rest(reader.rest().min(REST_MAX).as_millis() as u64),
            }
        }
    });
}

/// Enters another generation where the node has lost its own.
pub fn keep_registered(node: &Arc<Node>, model: &Model) {
    let shared = node.cluster.shared();
    if shared.has_lost_generation() {
        let generation = shared.draw_generation();
        model.register(&shared.settings.node, generation);
        shared.set_generation(generation);
        shared.set_ready(NodePart::Generation, true);
    }
}
