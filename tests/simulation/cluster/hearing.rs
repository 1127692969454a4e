//! What other nodes send to this one, on its way to the chat and to the connections.

use std::sync::Arc;

use tidings::chat::{
    ChatError, Heard, HeardMessage, Hearing, NodeAnswer, NodeFigures, NodeRequest, Position,
};

use super::node::Node;
use super::pipe::{Job, owned};

/// The node, as the threads of the bus know it.
pub struct NodeHearing(pub Arc<Node>);

impl Hearing for NodeHearing {
    fn message(&self, message: &HeardMessage<'_>) -> Heard {
        let mut sink = self.0.sink(&[]);
        (self.0.chat).hear(&mut sink, self.0.moment().tick, message)
    }

    fn reset(&self, channel: &str, position: Position) {
        let mut sink = self.0.sink(&[]);
        self.0.chat.reset(&mut sink, channel, position);
    }

    fn posted(&self, channel: &str) -> Option<Position> {
        self.0.chat.posted(channel)
    }

    fn attach(&self, channels: &[Arc<str>]) {
        let names: Vec<Box<str>> = channels.iter().map(|name| Box::from(&**name)).collect();
        if !names.is_empty() {
            self.0.submit(Job::Attach(owned(&self.0, &names)));
        }
    }

    fn is_pressed(&self) -> bool {
        false
    }

    fn joined(&self, _: &str, _: &str, _: usize) {}

    fn left(&self, _: &str, _: &str, _: usize) {}

    fn member(&self, room: &str, uid: &str, lasting: bool) {
        let node = &self.0;
        let mut sink = node.sink(&[]);
        let followed = (node.chat).hear_member(&mut sink, node.moment(), (room, uid), lasting);
        if let Err(ChatError::NotAttached(names)) = followed {
            node.submit(Job::Attach(owned(node, &names)));
        }
    }

    fn channels(&self, visit: &mut dyn FnMut(&Arc<str>, Position)) {
        self.0.chat.attached_channels(visit);
    }

    fn figures(&self) -> NodeFigures {
        NodeFigures::default()
    }

    fn request(&self, _: NodeRequest) -> NodeAnswer {
        NodeAnswer {
            status: 404,
            body: "{}".into(),
        }
    }
}
