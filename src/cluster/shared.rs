//! What the threads of a node share: who the node is, the life of the engine that it believes in, how far
//! everything is safe, who is alive, and what keeps the node from being ready.
//!
//! Invariant: the life and what was seen in it change together, so that nothing seen in one life is ever
//! held against another. No lock in here is held over a call to the engine.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ClusterSettings;
use super::call::{Caller, Life};
use super::clock::Clock;
use super::engine::LifeState;
use super::lease::Leases;
use crate::base::HashKeys;
use crate::base::metric::numbers;
use crate::base::sync::lock;

/// Bits of a generation: a program that reads numbers as floats reads it right.
const GENERATION_BITS: u32 = 50;

/// A source of random numbers.
pub type RandomSource = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The state that the threads of a node share.
pub struct NodeShared {
    /// The settings of the node.
    pub settings: ClusterSettings,
    /// The clock by which the node waits and judges.
    pub clock: Arc<dyn Clock>,
    /// The counters of the node.
    pub counters: NodeCounters,
    random: RandomSource,
    generation: AtomicU64,
    generation_is_lost: AtomicBool,
    former_generation: AtomicU64,
    /// A generation, and the number of its last call that was sent.
    last_call: Mutex<(u64, u64)>,
    belief: Mutex<LifeBelief>,
    leases: Mutex<Leases>,
    started: Instant,
    blocks: Mutex<Vec<u64>>,
    generation_notes: AtomicU64,
    late_calls: AtomicU64,
    ready: AtomicU8,
    is_draining: AtomicBool,
    flaw: Mutex<Option<Box<str>>>,
    hash_keys: HashKeys,
    /// When the key was replaced last.
    key_replaced: Mutex<Option<Instant>>,
}

/// The life that a node believes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifeBelief {
    /// The life.
    pub life: Life,
    /// The highest number of a call that is known to be safe. It was given in this life, or before.
    pub seen: u64,
    /// Lives, and eras of lives, that the node has begun to believe in so far.
    pub lives: u64,
}

/// Why a message isn't taken that was hashed by a former key.
pub(super) const OTHER_KEY: &str = "repeats are known by another key since a moment";

/// The time after which nothing is on its way that was hashed by a former key.
const FORMER_KEY_FOR: Duration = Duration::from_secs(1);

/// A part of a node without which it isn't ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodePart {
    /// The log takes calls.
    Log = 1,
    /// What is sent to the node is heard.
    Bus = 2,
    /// The generation of the node stands.
    Generation = 4,
    /// The engine is set as the promise asks for.
    Promise = 8,
    /// Repeats are known by the key of the cluster.
    Key = 16,
}

impl NodePart {
    /// Every part, and what is so while it isn't ready.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Log, "the log is out of reach"),
        (Self::Bus, "nothing is heard of other nodes"),
        (Self::Generation, "the node isn't registered"),
        (Self::Promise, "the engine isn't set for the promise"),
        (Self::Key, "the key by which repeats are known isn't known"),
    ];
}

impl NodeShared {
    /// Makes the state of a node that isn't ready for anything, under a generation that was drawn by dice.
    #[must_use]
    pub fn new(settings: ClusterSettings, clock: Arc<dyn Clock>, random: RandomSource) -> Self {
        let started = clock.now();
        let shared = Self {
            settings,
            clock,
            counters: NodeCounters::default(),
            random,
            generation: AtomicU64::new(0),
            generation_is_lost: AtomicBool::new(false),
            former_generation: AtomicU64::new(0),
            last_call: Mutex::default(),
            belief: Mutex::default(),
            leases: Mutex::default(),
            started,
            blocks: Mutex::default(),
            generation_notes: AtomicU64::new(0),
            late_calls: AtomicU64::new(0),
            ready: AtomicU8::new(0),
            is_draining: AtomicBool::new(false),
            flaw: Mutex::default(),
            hash_keys: HashKeys::from([0; 2]),
            key_replaced: Mutex::default(),
        };
        shared.set_generation(shared.draw_generation());
        shared
    }

    /// Returns 64 random bits.
    #[must_use]
    pub fn random(&self) -> u64 {
        (self.random)()
    }

    /// Draws a number for a run of the node; never 0.
    #[must_use]
    pub fn draw_generation(&self) -> u64 {
        (self.random() >> (u64::BITS - GENERATION_BITS)).max(1)
    }

    /// Returns the generation under which the node calls.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the node as it names itself in calls.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller {
            node: self.settings.node.as_str().into(),
            generation: self.generation(),
        }
    }

    /// Has the node call under another generation, which is registered.
    pub fn set_generation(&self, generation: u64) {
        let before = self.generation.swap(generation, Ordering::AcqRel);
        if before != generation {
            self.generation_is_lost.store(false, Ordering::Release);
            self.counters.generations.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the last generation of this run of the program that was lost, 0 for none.
    #[must_use]
    pub fn former_generation(&self) -> u64 {
        self.former_generation.load(Ordering::Acquire)
    }

    /// Notes that `generation` doesn't stand under the node's name any more: another one is needed.
    pub fn lose_generation(&self, generation: u64) {
        if self.generation() == generation {
            self.former_generation.store(generation, Ordering::Release);
            self.generation_is_lost.store(true, Ordering::Release);
            self.set_ready(NodePart::Generation, false);
        }
    }

    /// Whether the node needs another generation.
    #[must_use]
    pub fn has_lost_generation(&self) -> bool {
        self.generation_is_lost.load(Ordering::Acquire)
    }

    /// Notes a call that is about to be sent.
    pub fn note_call(&self, generation: u64, number: u64) {
        *lock(&self.last_call) = (generation, number);
    }

    /// Returns the number of the last call that was sent under the present generation, 0 for none.
    #[must_use]
    pub fn last_call(&self) -> u64 {
        let (generation, number) = *lock(&self.last_call);
        match generation == self.generation() {
            true => number,
            false => 0,
        }
    }

    /// Returns the generations that are alive at this moment, the node's own among them, in order.
    #[must_use]
    pub fn alive(&self) -> Arc<[u64]> {
        let lease = Duration::from_millis(self.settings.lease_ms);
        let mut alive = lock(&self.leases).alive(self.elapsed(), lease);
        let own = self.generation();
        if let Err(place) = alive.binary_search(&own) {
            alive.insert(place, own);
        }
        alive.into()
    }

    /// Takes the beats of all generations that stand, as they were read just now; whether there are
    /// other ones than before.
    pub fn note_beats(&self, standing: &[(u64, u64)]) -> bool {
        lock(&self.leases).read(self.elapsed(), standing)
    }

    /// Notes a block of serial numbers that is the node's own.
    pub fn note_block(&self, block: u64) {
        lock(&self.blocks).push(block);
    }

    /// Returns the blocks of serial numbers that are the node's own.
    #[must_use]
    pub fn blocks(&self) -> Vec<u64> {
        lock(&self.blocks).clone()
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().saturating_duration_since(self.started)
    }

    /// Notes that generations have come or gone, as another node says.
    pub fn note_generations(&self) {
        self.generation_notes.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts how often that was noted.
    #[must_use]
    pub fn generation_notes(&self) -> u64 {
        self.generation_notes.load(Ordering::Acquire)
    }

    /// Notes that a call was settled after those who waited for it had been told that nobody knows.
    pub fn note_late_call(&self) {
        self.late_calls.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts these calls.
    #[must_use]
    pub fn late_calls(&self) -> u64 {
        self.late_calls.load(Ordering::Acquire)
    }

    /// Returns the life that the node believes in, and what it has seen.
    #[must_use]
    pub fn belief(&self) -> LifeBelief {
        lock(&self.belief).clone()
    }

    /// Returns the life that the node believes in.
    #[must_use]
    pub fn life(&self) -> Life {
        lock(&self.belief).life.clone()
    }

    /// Counts the lives that the node has begun to believe in: whoever finds another number than before
    /// looks at everything anew.
    #[must_use]
    pub fn lives(&self) -> u64 {
        lock(&self.belief).lives
    }

    /// Returns the highest number of a call that is known to be safe.
    #[must_use]
    pub fn seen(&self) -> u64 {
        lock(&self.belief).seen
    }

    /// Notes that everything up to call `n` is safe, as was learnt in `life`. If the node believes in
    /// another one by now, nothing is noted, and the outcome is `false`.
    pub fn note_safe(&self, life: &Life, n: u64) -> bool {
        let mut belief = lock(&self.belief);
        let is_present = belief.life == *life;
        if is_present {
            belief.seen = belief.seen.max(n);
        }
        is_present
    }

    /// Believes in what an adoption found that began from `before`. If somebody else has brought another
    /// life meanwhile, nothing changes, and the outcome is `false`.
    pub fn believe(&self, before: &LifeBelief, state: &LifeState) -> bool {
        let mut belief = lock(&self.belief);
        if belief.lives != before.lives {
            return false;
        }
        if belief.life != state.life {
            let era_rose = belief.lives > 0 && belief.life.era != state.life.era;
            self.counters
                .eras
                .fetch_add(u64::from(era_rose), Ordering::Relaxed);
            belief.life = state.life.clone();
            belief.lives += 1;
        }
        true
    }

    /// Goes on with the life that an earlier image of the program believed in.
    pub fn take_over(&self, life: Life, seen: u64) {
        *lock(&self.belief) = LifeBelief {
            life,
            seen,
            lives: 1,
        };
    }

    /// Says whether a part of the node is ready.
    pub fn set_ready(&self, part: NodePart, is_ready: bool) {
        let bit = part as u8;
        let before = match is_ready {
            true => self.ready.fetch_or(bit, Ordering::AcqRel),
            false => self.ready.fetch_and(!bit, Ordering::AcqRel),
        };
        if (before & bit != 0) != is_ready {
            tracing::warn!(?part, is_ready, "the node's readiness changed");
        }
    }

    /// Whether a part of the node is ready.
    #[must_use]
    pub fn is_ready(&self, part: NodePart) -> bool {
        self.ready.load(Ordering::Acquire) & part as u8 != 0
    }

    /// Returns what keeps the node from being ready, if anything does.
    #[must_use]
    pub fn unready(&self) -> Option<&'static str> {
        let parts = NodePart::ALL.iter();
        let missing = parts
            .filter(|(part, _)| !self.is_ready(*part))
            .map(|(_, word)| *word);
        missing
            .chain(self.is_draining().then_some("the node drains"))
            .next()
    }

    /// Notes that the node sends its clients away, or doesn't any more.
    pub fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::Release);
    }

    /// Whether the node sends its clients away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Returns the key of hashes that all nodes make alike, once it is known.
    #[must_use]
    pub fn key(&self) -> Option<[u64; 2]> {
        self.is_ready(NodePart::Key).then(|| self.hash_keys.get())
    }

    /// Returns the same for whoever hashes by it.
    #[must_use]
    pub fn hash_keys(&self) -> HashKeys {
        self.hash_keys.clone()
    }

    /// Notes the key of hashes.
    pub fn set_key(&self, key: [u64; 2]) {
        self.hash_keys.replace(key);
        self.set_ready(NodePart::Key, true);
    }

    /// Notes that the engine has another key than before. What was hashed by the former one is on its way yet.
    pub fn replace_key(&self, key: [u64; 2]) {
        *lock(&self.key_replaced) = Some(self.clock.now());
        self.set_key(key);
    }

    /// Whether something may be on its way that was hashed by a former key.
    #[must_use]
    pub fn has_new_key(&self) -> bool {
        let replaced = *lock(&self.key_replaced);
        replaced.is_some_and(|at| self.clock.now() - at < FORMER_KEY_FOR)
    }

    /// Returns what isn't so in the engine as the promise asks for.
    #[must_use]
    pub fn flaw(&self) -> Option<Box<str>> {
        lock(&self.flaw).clone()
    }

    /// Notes what isn't so in the engine as the promise asks for; `None` when all is well.
    pub fn set_flaw(&self, flaw: Option<Box<str>>) {
        self.set_ready(NodePart::Promise, flaw.is_none());
        *lock(&self.flaw) = flaw;
    }
}

impl fmt::Debug for NodeShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeShared")
            .field("node", &self.settings.node)
            .field("generation", &self.generation())
            .field("belief", &self.belief())
            .finish_non_exhaustive()
    }
}

/// Defines the counters of a node, and the numbers that are made of them.
macro_rules! node_counters {
    ($($(#[doc = $help:literal])+ $name:ident,)*) => {
        /// What a node counts of its dealings with the engine.
        #[derive(Debug, Default)]
        pub struct NodeCounters { $($(#[doc = $help])+ pub $name: AtomicU64,)* }

        numbers! {
            /// The numbers of a node's dealings with the engine.
            pub struct NodeNumbers { $($(#[doc = $help])+ Counter $name,)* }
        }

        impl NodeCounters {
            /// Reads the numbers of this moment.
            #[must_use]
            pub fn numbers(&self) -> NodeNumbers {
                NodeNumbers { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

node_counters! {
    /// Calls to the engine that were settled.
    calls,
    /// Entries in them.
    entries,
    /// Calls that were made again, since their answer was lost.
    calls_again,
    /// Calls whose outcome wasn't known in time.
    calls_unsettled,
    /// Calls that failed in the middle, inside the engine.
    calls_broken,
    /// Messages that were refused since the cluster can remember no more ids.
    ids_refused,
    /// Messages that were refused since their sender is over its share of ids.
    ids_refused_share,
    /// Channels that have to be detached by a later call, since the engine didn't take it.
    detaches_owed,
    /// Such channels that were too many: they are sent here until the node's generation is cleaned away.
    detaches_dropped,
    /// Waits for replicas that fell short.
    waits_short,
    /// Connections of the log that were opened.
    log_connections,
    /// Generations under which the node has called.
    generations,
    /// Eras that ended while the node ran: positions from before aren't believed any more.
    eras,
}
