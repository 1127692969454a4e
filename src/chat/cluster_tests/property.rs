//! Whatever becomes of the frames on their way to two nodes, each listener hears what the log has.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::log::{Frame, SharedLog};
use super::sink::{Listeners, Sent};
use super::*;
use crate::base::Position;
use crate::chat::{Attached, Heard};

const ROOM: &str = "tea";

/// What happens next, to one of the nodes.
#[derive(Debug, Clone)]
enum Event {
    Say,
    Purge,
    /// The next frame comes.
    Hear(usize),
    /// The next frame is lost.
    Lose(usize),
    /// A frame of long ago comes once more.
    Echo(usize, usize),
    /// The engine attaches the room; what it says comes later.
    Attach(usize),
    /// What the engine said comes.
    Attached(usize),
    /// A connection joins, from where it was or from now on.
    Join(usize, u64, bool),
    Leave(usize, u64),
    /// So many milliseconds pass.
    Expire(usize, u64),
    /// The route goes, and the node is told.
    Detached(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let node = 0..2_usize;
    let fd = 1..4_u64;
    prop_oneof![
        6 => Just(Event::Say),
        1 => Just(Event::Purge),
        8 => node.clone().prop_map(Event::Hear),
        1 => node.clone().prop_map(Event::Lose),
        1 => (node.clone(), 0..8_usize).prop_map(|(node, back)| Event::Echo(node, back)),
        3 => node.clone().prop_map(Event::Attach),
        3 => node.clone().prop_map(Event::Attached),
        4 => (node.clone(), fd.clone(), any::<bool>())
            .prop_map(|(node, fd, resumes)| Event::Join(node, fd, resumes)),
        2 => (node.clone(), fd).prop_map(|(node, fd)| Event::Leave(node, fd)),
        2 => (node.clone(), 1..2 * LINGER_MS).prop_map(|(node, ms)| Event::Expire(node, ms)),
        2 => node.prop_map(Event::Detached),
    ]
}

struct Node {
    chat: Chat,
    listeners: Listeners,
    now: u64,
    /// Whether the engine sends frames here.
    is_routed: bool,
    /// Frames on their way, and all that ever were.
    coming: VecDeque<Frame>,
    came: Vec<Frame>,
    /// What the engine said at an attach, and is on its way: the newest position.
    attaching: VecDeque<Position>,
    /// Detaches on their way to the engine.
    detaching: usize,
    has_lost: bool,
    /// The last position of each connection that has left.
    seen: BTreeMap<u64, Position>,
}

impl Node {
    fn new(log: &mut SharedLog) -> Self {
        let (chat, mut listeners) = (chat(), Listeners::default());
        for fd in 1..4 {
            let uid = format!("u{fd}");
            enter(&chat, &mut listeners, log, &login(fd, &uid, &[]));
        }
        Self {
            chat,
            listeners,
            now: 1,
            is_routed: false,
            coming: VecDeque::new(),
            came: Vec::new(),
            attaching: VecDeque::new(),
            detaching: 0,
            has_lost: false,
            seen: BTreeMap::new(),
        }
    }

    fn hear(&mut self, log: &mut SharedLog, frame: &Frame) {
        match frame.hear(&self.chat, &mut self.listeners) {
            Heard::Posted | Heard::Old | Heard::Unknown => {}
            Heard::Behind(_) | Heard::OtherEpoch(_) => {
                log.catch_up(&self.chat, &mut self.listeners, ROOM);
            }
        }
    }

    fn attached(&mut self, log: &mut SharedLog) {
        let Some(newest) = self.attaching.pop_front() else {
            return;
        };
        let attached = self.chat.attach(at(self.now).tick, ROOM, newest, 0);
        if attached == Attached::Behind {
            log.catch_up(&self.chat, &mut self.listeners, ROOM);
        }
    }

    fn join(&mut self, log: &mut SharedLog, fd: u64, resumes: bool) {
        let before = self.seen.get(&fd).copied();
        // Offset 0 asks for all that is kept, of whichever epoch.
        let before = before.filter(|before| resumes && before.offset > 0);
        let resume = before.map_or(Resume::Now, Resume::After);
        let now = at(self.now);
        if self.chat.connection(Fd(fd)).unwrap().rooms.is_empty()
            && (self
                .chat
                .join(&mut self.listeners, now, Fd(fd), ROOM, resume))
            .is_ok()
        {
            let welcome = &self.listeners.welcomes[0];
            let from = match (before, welcome.recovered) {
                (Some(before), true) => before,
                _ => welcome.position.unwrap(),
            };
            let sent = self.listeners.sent.entry(Fd(fd)).or_default();
            // In front of what came with the subscription.
            sent.insert(0, Sent::Other(format!("{}", from.offset)));
            self.seen.insert(fd, from);
            if self.listeners.replays.iter().all(|(of, ..)| *of != Fd(fd)) {
                return;
            }
            if self.chat.posted(ROOM).unwrap().epoch == log.newest(ROOM).epoch {
                log.replay(&self.chat, &mut self.listeners, now);
            } else {
                log.catch_up(&self.chat, &mut self.listeners, ROOM);
                self.listeners.replays.clear();
                self.chat
                    .leave(&mut self.listeners, now, Fd(fd), ROOM)
                    .unwrap();
                self.listeners.take(fd);
                self.seen.remove(&fd);
            }
        }
    }

    /// Looks whether a connection has heard everything since it joined, in order, and once.
    fn check(&mut self, fd: u64) -> Result<(), TestCaseError> {
        let Some(mut at) = self.seen.get(&fd).copied() else {
            return Ok(());
        };
        for sent in self.listeners.take(fd) {
            match sent {
                Sent::Message { position, .. } => {
                    let next = Position {
                        offset: at.offset + 1,
                        ..at
                    };
                    prop_assert_eq!(position, Some(next));
                    at = next;
                }
                Sent::Gap(_, position) => {
                    prop_assert_ne!(position.epoch, at.epoch, "nothing was trimmed");
                    at = position;
                }
                Sent::Other(_) => {}
            }
        }
        self.seen.insert(fd, at);
        Ok(())
    }

    fn leave(&mut self, fd: u64) -> Result<(), TestCaseError> {
        let now = at(self.now);
        if self
            .chat
            .leave(&mut self.listeners, now, Fd(fd), ROOM)
            .is_ok()
        {
            self.check(fd)?;
        }
        Ok(())
    }
}

fn happen(log: &mut SharedLog, nodes: &mut [Node; 2], event: Event) -> Result<(), TestCaseError> {
    match event {
        Event::Say => {
            let frame = log.say(ROOM, "1");
            for node in nodes.iter_mut().filter(|node| node.is_routed) {
                node.coming.push_back(frame.clone());
                node.came.push(frame.clone());
            }
        }
        Event::Purge => drop(log.purge(ROOM)),
        Event::Hear(node) => {
            if let Some(frame) = nodes[node].coming.pop_front() {
                nodes[node].hear(log, &frame);
            }
        }
        Event::Lose(node) => {
            nodes[node].has_lost |= nodes[node].coming.pop_front().is_some();
        }
        Event::Echo(node, back) => {
            let came = &nodes[node].came;
            let on_their_way = nodes[node].coming.len();
            if let Some(place) = came.len().checked_sub(on_their_way + 1 + back) {
                let frame = came[place].clone();
                nodes[node].hear(log, &frame);
            }
        }
        Event::Attach(node) => {
            nodes[node].is_routed = true;
            let newest = log.newest(ROOM);
            nodes[node].attaching.push_back(newest);
        }
        Event::Attached(node) => nodes[node].attached(log),
        Event::Join(node, fd, resumes) => nodes[node].join(log, fd, resumes),
        Event::Leave(node, fd) => nodes[node].leave(fd)?,
        Event::Expire(node, ms) => {
            let node = &mut nodes[node];
            node.now += ms;
            while node.chat.expire(&mut node.listeners, at(node.now)) {}
            let gone = node.listeners.forgotten.drain(..);
            node.detaching += gone.filter(|name| **name == *ROOM).count();
        }
        Event::Detached(node) => {
            let node = &mut nodes[node];
            if node.detaching > 0 {
                // Answers come in the order of what was asked.
                while !node.attaching.is_empty() {
                    node.attached(log);
                }
                node.detaching -= 1;
                node.is_routed = false;
                node.coming.clear();
                node.chat.detached(ROOM);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn each_listener_hears_the_log_in_its_order_without_a_hole_or_a_repeat(
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut log = SharedLog::default();
        let mut nodes = [Node::new(&mut log), Node::new(&mut log)];
        for event in events {
            happen(&mut log, &mut nodes, event)?;
        }
        let newest = log.newest(ROOM);
        for node in &mut nodes {
            while let Some(frame) = node.coming.pop_front() {
                node.hear(&mut log, &frame);
            }
            while !node.attaching.is_empty() {
                node.attached(&mut log);
            }
            let posted = node.chat.posted(ROOM);
            if node.has_lost || posted.is_some_and(|posted| posted.epoch != newest.epoch) {
                // As a look does it.
                log.catch_up(&node.chat, &mut node.listeners, ROOM);
            }
            prop_assert!(node.chat.posted(ROOM).is_none_or(|posted| posted == newest));
            for fd in 1..4 {
                node.check(fd)?;
                if !node.chat.connection(Fd(fd)).unwrap().rooms.is_empty() {
                    prop_assert_eq!(node.seen.get(&fd), Some(&newest));
                }
            }
        }
    }
}
