//! A node on the model of the engine, and time that passes only when somebody waits.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::sync::lock;
use crate::base::{ChannelKind, Epoch, MessageBody, Position};
use crate::cluster::clock::Clock;
use crate::cluster::model::Model;
use crate::cluster::payload::Payload;
use crate::cluster::shared::{NodePart, NodeShared};
use crate::cluster::{ClusterNode, ClusterPromise, ClusterSettings};
use crate::store::{
    Appended, Channel, EnteredChannels, MessageRecord, PageRange, Record, Store, StoreError,
    StoreSettings,
};

/// Time that passes only when somebody waits, and what is to happen meanwhile.
pub(in crate::cluster) struct TestClock {
    began: Instant,
    passed: Mutex<Duration>,
    events: Mutex<Vec<(Duration, Event)>>,
}

type Event = Box<dyn FnOnce() + Send>;

impl TestClock {
    pub(in crate::cluster) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            passed: Mutex::default(),
            events: Mutex::default(),
        })
    }

    /// Has something happen when somebody has waited for so long from now.
    pub(in crate::cluster) fn after(&self, time: Duration, event: impl FnOnce() + Send + 'static) {
        let at = self.passed() + time;
        lock(&self.events).push((at, Box::new(event)));
    }

    pub(in crate::cluster) fn passed(&self) -> Duration {
        *lock(&self.passed)
    }

    fn next_event(&self, until: Duration) -> Option<(Duration, Event)> {
        let mut events = lock(&self.events);
        let due = (0..events.len()).filter(|place| events[*place].0 <= until);
        let next = due.min_by_key(|place| events[*place].0)?;
        Some(events.swap_remove(next))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        self.began + self.passed()
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.passed().as_millis() as u64
    }

    fn pause(&self, time: Duration) {
        let until = self.passed() + time;
        while let Some((at, event)) = self.next_event(until) {
            *lock(&self.passed) = at;
            event();
        }
        *lock(&self.passed) = until;
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestClock({:?})", self.passed())
    }
}

/// A node, and the engine that it calls as the owner of the same number.
pub(in crate::cluster) struct TestNode {
    pub(in crate::cluster) model: Model,
    pub(in crate::cluster) clock: Arc<TestClock>,
    pub(in crate::cluster) node: ClusterNode,
    pub(in crate::cluster) store: Box<dyn Store>,
    /// What the last batch told of channels that are heard now.
    pub(in crate::cluster) entered: Vec<EnteredChannels>,
}

pub(in crate::cluster) fn settings(promise: ClusterPromise) -> ClusterSettings {
    ClusterSettings {
        promise,
        replicas: usize::from(promise == ClusterPromise::Replicated),
        checks: false,
        behind_bytes_max: 1 << 20,
        held_bytes_max: 1 << 20,
        held_logins_max: 100,
        lookups_max: 100,
        ..ClusterSettings::new(Model::engine_settings(), "")
    }
}

/// A source of numbers that differ, and are the same in each run.
pub(in crate::cluster) fn dice(seed: u64) -> Arc<dyn Fn() -> u64 + Send + Sync> {
    let state = Mutex::new(seed);
    Arc::new(move || {
        let mut state = lock(&state);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    })
}

impl TestNode {
    pub(in crate::cluster) fn alone(promise: ClusterPromise) -> Self {
        let clock = TestClock::new();
        let model = Model::new(Arc::clone(&clock) as Arc<dyn Clock>);
        model.set_replicas(settings(promise).replicas);
        Self::on(&model, &clock, promise, 1)
    }

    /// A further node on the same engine.
    pub(in crate::cluster) fn beside(&self, owner: u64) -> Self {
        let promise = self.node.shared().settings.promise;
        Self::on(&self.model, &self.clock, promise, owner)
    }

    fn on(model: &Model, clock: &Arc<TestClock>, promise: ClusterPromise, owner: u64) -> Self {
        let mut settings = settings(promise);
        settings.node = format!("node-{owner}");
        let registered = model.clone();
        let node = ClusterNode::join(
            settings,
            model.source(owner),
            (Arc::clone(clock) as Arc<dyn Clock>, dice(owner)),
            ChannelKind::Stored,
            &move |shared| {
                register(&registered, shared, shared.generation());
                Ok(())
            },
        )
        .unwrap();
        let store = node.store(StoreSettings::new("unused"));
        Self {
            model: model.clone(),
            clock: Arc::clone(clock),
            node,
            store,
            entered: Vec::new(),
        }
    }

    pub(in crate::cluster) fn shared(&self) -> &Arc<NodeShared> {
        self.node.shared()
    }

    /// Has the store take these records as one batch.
    pub(in crate::cluster) fn take(
        &mut self,
        records: &[Record<'_>],
    ) -> Vec<Result<Appended, StoreError>> {
        let now_ms = self.clock.unix_ms();
        let appended = records
            .iter()
            .map(|record| self.store.append(now_ms, record));
        let mut appended: Vec<_> = appended.collect();
        self.store.commit().unwrap();
        self.entered = self.store.settle(&mut appended);
        appended
    }

    /// Says a message in the room `tea`.
    pub(in crate::cluster) fn say(&mut self, data: &str) -> Result<Appended, StoreError> {
        let mut told = self.take(&[message("tea", data, None)]);
        told.remove(0)
    }

    /// The texts that stand in a channel, the oldest first.
    pub(in crate::cluster) fn log(&self, channel: &str) -> Vec<String> {
        let (_, messages) = self.model.log(channel).unwrap_or((Epoch::NONE, Vec::new()));
        let texts = messages.iter().map(|(_, payload)| {
            let payload = Payload::decode(payload).unwrap();
            payload.body.data.to_owned()
        });
        texts.collect()
    }

    /// Has the node wait while its threads have nothing to do but maintenance.
    pub(in crate::cluster) fn idle(&mut self, time: Duration) {
        let until = self.clock.passed() + time;
        while self.clock.passed() < until {
            self.store.maintain(self.clock.unix_ms()).unwrap();
            self.clock.pause(Duration::from_millis(100));
        }
    }

    /// The era that stands.
    pub(in crate::cluster) fn era(&self) -> u64 {
        let mut engine = self.model.source(u64::MAX).open().unwrap();
        engine.life().unwrap().map_or(0, |state| state.life.era)
    }

    /// The state of a channel, as the engine has it in its present era.
    pub(in crate::cluster) fn epoch(&self, channel: &str) -> Option<Epoch> {
        let mut engine = self.model.source(u64::MAX).open().unwrap();
        let range = PageRange {
            after: None,
            before: None,
            limit: 1,
            bytes_max: 1,
        };
        let page = engine.page(channel, range).unwrap();
        page.state.map(|state| state.epoch)
    }
}

/// Enters a generation, as the membership of a node does, and has the node call under it.
pub(in crate::cluster) fn register(model: &Model, shared: &NodeShared, generation: u64) {
    model.register(&shared.settings.node, generation);
    shared.set_generation(generation);
    shared.set_ready(NodePart::Generation, true);
}

pub(in crate::cluster) fn message<'a>(
    channel: &'a str,
    data: &'a str,
    key: Option<u128>,
) -> Record<'a> {
    Record::Message(MessageRecord {
        channel: Channel::stored(channel, Epoch::from_bits(1)),
        second: None,
        body: MessageBody {
            id: data,
            from: None,
            to: None,
            ts: 1,
            data,
        },
        idempotency_key: key,
        id_owner: 0,
        opens: false,
        mark: None,
        except: &[],
    })
}

pub(in crate::cluster) fn attach(channel: &str) -> Record<'_> {
    Record::Attach {
        channel: Channel::stored(channel, Epoch::from_bits(1)),
        reader: None,
    }
}

/// The offset that a sender was told.
#[track_caller]
pub(in crate::cluster) fn offset(told: &Result<Appended, StoreError>) -> u64 {
    match told {
        Ok(Appended::Sent {
            first: Some(Position { offset, .. }),
            ..
        }) => *offset,
        other => panic!("it was answered {other:?}"),
    }
}
