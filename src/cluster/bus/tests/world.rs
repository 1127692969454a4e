//! Nodes with a chat, a listener each, and a bus whose turns the tests take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::sync::lock;
use crate::base::{ChannelKind, Epoch, Fd, MessageBody, Position, Tick};
use crate::chat::{
    Attached, CatchUpOrders, Chat, ChatSettings, Heard, HeardMessage, Hearing, Login, Missing,
    Moment, NodeAnswer, NodeFigures, NodeRequest, Notice, Rights, Sink, Welcome,
};
use crate::cluster::ClusterPromise;
use crate::cluster::bus::{BusEar, BusReader, BusState, parts};
use crate::cluster::call::{Answer, Call, Caller, Entry, Line, MessageEntry};
use crate::cluster::payload;
use crate::cluster::shared::NodePart;
use crate::cluster::tests::world::{TestNode, attach};
use crate::store::{Appended, Record};

/// The listener of each node, and the rooms that it hears.
const LISTENER: Fd = Fd(1);
pub(super) const ROOMS: [&str; 2] = ["tea", "coffee"];

const NOW: Moment = Moment {
    tick: Tick(1),
    unix_ms: 1,
};

/// What the listener of a node was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    Message(Option<Position>, String),
    Gap(Position),
}

#[derive(Debug, Default)]
struct Listener {
    sent: BTreeMap<String, Vec<Sent>>,
    topics: BTreeSet<Arc<str>>,
}

impl Sink for Listener {
    fn publish(&mut self, topic: &Arc<str>, notice: &Notice<'_>) {
        let sent = match notice {
            _ if !self.topics.contains(topic) => return,
            Notice::Message(message) => {
                Sent::Message(message.position, message.body.data.to_owned())
            }
            Notice::Gap { position, .. } => Sent::Gap(*position),
            _ => return,
        };
        self.sent.entry(topic.to_string()).or_default().push(sent);
    }

    fn push(&mut self, _: Fd, _: &Notice<'_>) -> bool {
        true
    }

    fn welcome(&mut self, _: Fd, _: &[Welcome]) {}

    fn subscribe(&mut self, _: Fd, topic: &Arc<str>, _: &[Notice<'_>]) {
        self.topics.insert(Arc::clone(topic));
    }

    fn replay(&mut self, _: Fd, topic: &Arc<str>, _: Missing) {
        panic!("nobody asked for what was said in {topic}");
    }

    fn forget(&mut self, _: &Arc<str>) {}

    fn claim(&mut self, _: &Arc<str>) {}

    fn drop_channel(&mut self, _: &Arc<str>, _: Epoch) {}

    fn unsubscribe(&mut self, _: Fd, _: &Arc<str>) {}
}

/// The people of a node: its chat, and a listener in it.
pub(super) struct People {
    chat: Chat,
    listener: Mutex<Listener>,
    to_attach: Mutex<Vec<Arc<str>>>,
    pub(super) is_pressed: AtomicBool,
    pub(super) asked: Mutex<Vec<NodeRequest>>,
    pub(super) moved: Mutex<Vec<String>>,
}

impl Hearing for People {
    fn message(&self, message: &HeardMessage<'_>) -> Heard {
        self.chat
            .hear(&mut *lock(&self.listener), NOW.tick, message)
    }

    fn reset(&self, channel: &str, position: Position) {
        self.chat
            .reset(&mut *lock(&self.listener), channel, position);
    }

    fn posted(&self, channel: &str) -> Option<Position> {
        self.chat.posted(channel)
    }

    fn attach(&self, channels: &[Arc<str>]) {
        lock(&self.to_attach).extend(channels.iter().cloned());
    }

    fn is_pressed(&self) -> bool {
        self.is_pressed.load(Ordering::Relaxed)
    }

    fn joined(&self, room: &str, uid: &str, users: usize) {
        lock(&self.moved).push(format!("{uid} joined {room} ({users})"));
    }

    fn left(&self, room: &str, uid: &str, users: usize) {
        lock(&self.moved).push(format!("{uid} left {room} ({users})"));
    }

    fn member(&self, room: &str, uid: &str, lasting: bool) {
        lock(&self.moved).push(format!("{uid} member of {room}: {lasting}"));
    }

    fn channels(&self, visit: &mut dyn FnMut(&Arc<str>, Position)) {
        self.chat.attached_channels(visit);
    }

    fn figures(&self) -> NodeFigures {
        NodeFigures::default()
    }

    fn request(&self, request: NodeRequest) -> NodeAnswer {
        lock(&self.asked).push(request);
        NodeAnswer {
            status: 200,
            body: "{}".into(),
        }
    }
}

/// A node with a bus.
pub(super) struct BusNode {
    pub(super) node: TestNode,
    pub(super) people: Arc<People>,
    pub(super) state: Arc<BusState>,
    ear: BusEar,
    reader: BusReader,
}

/// Makes nodes of one cluster, whose listeners are there.
pub(super) fn nodes<const N: usize>(promise: ClusterPromise) -> [BusNode; N] {
    let first = TestNode::alone(promise);
    let others: Vec<_> = (2..=N as u64).map(|owner| first.beside(owner)).collect();
    let mut nodes = [first].into_iter().chain(others).map(BusNode::of);
    let mut nodes: [BusNode; N] = std::array::from_fn(|_| nodes.next().unwrap());
    run(&mut nodes, 500);
    for node in &mut nodes {
        node.enter();
    }
    run(&mut nodes, 200);
    nodes
}

/// Has nodes take turns until so much time has passed.
pub(super) fn run(nodes: &mut [BusNode], ms: u64) {
    let clock = Arc::clone(&nodes[0].node.clock);
    let until = clock.passed() + Duration::from_millis(ms);
    while clock.passed() < until {
        nodes.iter_mut().for_each(BusNode::turn);
    }
}

impl BusNode {
    fn of(node: TestNode) -> Self {
        let settings = ChatSettings {
            kind: ChannelKind::Stored,
            shards: 2,
            cluster_linger_ms: Some(10_000),
            ..ChatSettings::default()
        };
        let people = Arc::new(People {
            chat: Chat::new(settings, 1),
            listener: Mutex::default(),
            to_attach: Mutex::default(),
            is_pressed: AtomicBool::new(false),
            asked: Mutex::default(),
            moved: Mutex::default(),
        });
        let hearing: Arc<dyn Hearing> = Arc::clone(&people) as _;
        let shared = Arc::clone(node.shared());
        let (ear, reader, state) = parts(shared, node.node.source(), &hearing);
        let mut node = Self {
            node,
            people,
            state,
            ear,
            reader,
        };
        node.attach(["*"].into_iter());
        node
    }

    pub(super) fn turn(&mut self) {
        let names = std::mem::take(&mut *lock(&self.people.to_attach));
        self.attach(names.iter().map(|name| &**name));
        self.ear.turn();
        // A bounded time of its own, as its thread has.
        let _ = (0..4).take_while(|_| self.reader.turn()).count();
    }

    fn attach<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            for told in self.node.take(&[attach(name)]) {
                // What fails is found by the next look.
                let Ok(Appended::Entered(place)) = told else {
                    continue;
                };
                for (channel, log) in &self.node.entered[place as usize].channels {
                    let newest = Position {
                        epoch: log.epoch,
                        offset: log.newest,
                    };
                    let chat = &self.people.chat;
                    if chat.attach(NOW.tick, channel, newest, log.floor) == Attached::Behind {
                        self.state.catch_up(channel);
                    }
                }
            }
        }
    }

    fn enter(&mut self) {
        let uid = format!("ann-{}", self.node.shared().settings.node);
        let login = Login {
            fd: LISTENER,
            uid: &uid,
            rights: Arc::new(Rights::Open),
            rooms: &ROOMS,
            resume: &[],
        };
        self.people.chat.opened(LISTENER);
        let missing = self.people.chat.login_channels(&login).unwrap();
        let missing = missing.unwrap_or_default();
        self.attach(missing.iter().map(|name| &**name));
        let people = &*self.people;
        let mut listener = lock(&people.listener);
        people.chat.login(&mut *listener, NOW, &login).unwrap();
    }

    /// What the listener was sent of a channel so far.
    pub(super) fn sent(&self, channel: &str) -> Vec<Sent> {
        let listener = lock(&self.people.listener);
        listener.sent.get(channel).cloned().unwrap_or_default()
    }

    /// The texts of it.
    pub(super) fn texts(&self, channel: &str) -> Vec<String> {
        let sent = self.sent(channel).into_iter();
        let texts = sent.filter_map(|sent| match sent {
            Sent::Message(_, text) => Some(text),
            Sent::Gap(_) => None,
        });
        texts.collect()
    }

    /// The gaps that the listener was told of in a channel.
    pub(super) fn gaps(&self, channel: &str) -> usize {
        let sent = self.sent(channel);
        sent.iter()
            .filter(|sent| matches!(sent, Sent::Gap(_)))
            .count()
    }

    /// What was posted last in a channel.
    pub(super) fn people_posted(&self, channel: &str) -> Position {
        self.people.posted(channel).expect("the node hears it")
    }

    /// Hears what is there, while nothing is read from the log.
    pub(super) fn hears_all(&mut self) {
        for _ in 0..100 {
            self.ear.turn();
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.node.shared().is_ready(NodePart::Bus)
    }

    /// Empties a channel.
    pub(super) fn purge(&mut self, channel: &str, epoch: u32) {
        let epoch = Epoch::from_bits(epoch);
        self.node.take(&[Record::Purge { channel, epoch }]);
    }
}

/// Has a node append messages to a channel that dies before it says that they are safe; `None` if the engine
/// took nothing. Its generation is `number`, which nobody may have had before.
pub(super) fn append_and_die(
    nodes: &[BusNode],
    number: u64,
    channel: &str,
    texts: &[&str],
) -> Option<u64> {
    let name = format!("dead-{number}");
    let model = &nodes[0].node.model;
    model.register(&name, number);
    let generations = nodes.iter().map(|node| node.node.shared().generation());
    let message = |text: &&str| {
        let body = MessageBody {
            id: *text,
            from: None,
            to: None,
            ts: 1,
            data: *text,
        };
        Entry::Message(MessageEntry {
            first: Line {
                channel: channel.into(),
                kind: ChannelKind::Stored,
                new_epoch: Epoch::from_bits(number as u32),
            },
            second: None,
            payload: payload::encode(&body, &[]).into(),
            sameness: None,
            mark: None,
        })
    };
    let call = Call {
        life: nodes[0].node.shared().life(),
        caller: Caller {
            node: name.into(),
            generation: number,
        },
        number: 1,
        alive: generations.chain([number]).collect(),
        entries: texts.iter().map(message).collect(),
    };
    let mut engine = model.source(1_000).open().ok()?;
    match engine.call(&call).ok()? {
        Answer::Done { n, .. } => Some(n),
        _ => None,
    }
}
