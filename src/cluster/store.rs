//! The cluster's log as a store: the records of a batch go to the engine in one call, and their outcomes are
//! put into place when it is settled.
//!
//! While the outcome of a call isn't known, nothing overtakes it: what comes meanwhile is refused at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::batch::{Batch, Untold, kept_channels};
use super::call::{Entry, Outcome};
use super::engine::{CallBounds, ChannelBounds, EngineSource};
use super::owed::OwedDetaches;
use super::pipe::{CallOutcome, Pipe};
use super::promise;
use super::reader::ClusterReader;
use super::shared::{NodePart, NodeShared, OTHER_KEY};
use crate::base::ChannelKind;
use crate::store::{
    Appended, EnteredChannels, Reader, Record, Retention, Store, StoreError, StoreSettings,
};

/// Time between two looks at the engine's life and settings.
const WATCH_EVERY: Duration = Duration::from_secs(60);

/// The same after a connection was opened, and while the engine rewrites its file.
const WATCH_SOON: Duration = Duration::from_secs(2);

/// Time without a call after which it is looked whether the engine is there.
const IDLE: Duration = Duration::from_secs(1);

/// Time between two pieces of the upkeep, while this node does it.
const TIDY_EVERY: Duration = Duration::from_millis(500);

/// Time after which a node looks whether the one that does the upkeep still does.
const TIDY_LOOK_EVERY: Duration = Duration::from_secs(5);

/// Channels of a piece of the upkeep at most: the engine stands still meanwhile, for a millisecond or two.
const TIDY_CHANNELS_MAX: usize = 256;

/// The greatest number that a script of the engine counts exactly.
const EXACT_MAX: u64 = 1 << 53;

/// The cluster's log, as a store of a node.
pub(super) struct ClusterStore {
    shared: Arc<NodeShared>,
    pipe: Pipe,
    reader: Arc<ClusterReader>,
    settings: StoreSettings,
    bounds: CallBounds,
    /// Whether the bounds are those of the settings, for channels that are stored and for those in memory.
    knows_bounds: [bool; 2],
    batch: Batch,
    /// Channels to detach: the engine hasn't taken their detach, or a call attached them that was settled
    /// after those who waited for it had gone.
    owed: OwedDetaches,
    /// Channels that the call detaches which isn't settled.
    in_doubt: Vec<Box<str>>,
    tidy_after: Option<Box<str>>,
    tidy_due: Instant,
    watch_due: Instant,
}

impl ClusterStore {
    /// Makes the store of a node whose last call had this number, 0 for none.
    pub(super) fn new(
        shared: Arc<NodeShared>,
        source: Arc<dyn EngineSource>,
        reader: Arc<ClusterReader>,
        settings: StoreSettings,
        number: u64,
    ) -> Self {
        let now = shared.clock.now();
        Self {
            pipe: Pipe::new(Arc::clone(&shared), source, number),
            shared,
            reader,
            settings,
            bounds: CallBounds::default(),
            knows_bounds: [false; 2],
            batch: Batch::default(),
            owed: OwedDetaches::default(),
            in_doubt: Vec::new(),
            tidy_after: None,
            tidy_due: now + TIDY_LOOK_EVERY,
            watch_due: now + WATCH_EVERY,
        }
    }

    /// Makes the call of a batch; of one that the engine has no room for, those entries that need none.
    fn carry_out(&mut self, entries: Vec<Entry>) -> Vec<Result<Outcome, Untold>> {
        let count = entries.len();
        if self.pipe.is_blocked() {
            let why = "an earlier call isn't settled";
            self.owe(detached_by(&entries));
            return vec![Err(Untold::Away(why.into())); count];
        }
        let owed = self.owed.take(|channel| self.reader.hears(channel));
        let skipped = owed.len();
        let first = owed.into_iter().map(|channel| Entry::Detach { channel });
        let entries: Vec<Entry> = first.chain(entries).collect();
        if entries.is_empty() {
            return Vec::new();
        }
        let mut outcomes = match self.make(entries) {
            CarriedOut::Done(outcomes) => outcomes.into_iter().map(Ok).collect(),
            CarriedOut::Full(entries, why) => self.carry_out_small(entries, &why),
            CarriedOut::Untold(untold) => vec![Err(untold); skipped + count],
        };
        outcomes.drain(..skipped);
        outcomes
    }

    /// Makes a call. What it was to detach, and surely didn't, is owed from then on, unless the engine is full:
    /// it takes that by itself.
    fn make(&mut self, entries: Vec<Entry>) -> CarriedOut {
        let detaches = detached_by(&entries);
        let (entries, outcome) = self.pipe.make(entries);
        match outcome {
            CallOutcome::Done(outcomes) => CarriedOut::Done(outcomes),
            CallOutcome::Full(why) => CarriedOut::Full(entries, why),
            CallOutcome::Away(why) => {
                self.owe(detaches);
                CarriedOut::Untold(Untold::Away(why))
            }
            CallOutcome::Unsettled => {
                self.in_doubt = detaches;
                CarriedOut::Untold(Untold::Unsettled)
            }
            CallOutcome::Unknown => {
                self.owe(detaches);
                CarriedOut::Untold(Untold::Unsettled)
            }
        }
    }

    /// Notes channels that are to be detached by a later call; with too many, some stay in the engine until
    /// the node's generation is cleaned away.
    fn owe(&mut self, channels: Vec<Box<str>>) {
        let counters = &self.shared.counters;
        let count = channels.len() as u64;
        let refused = self.owed.add(channels, self.settings.channels_max);
        counters.detaches_owed.fetch_add(count, Relaxed);
        counters.detaches_dropped.fetch_add(refused, Relaxed);
    }

    /// Carries out what needs no room in an engine that is full.
    fn carry_out_small(&mut self, entries: Vec<Entry>, why: &str) -> Vec<Result<Outcome, Untold>> {
        let need_room: Vec<bool> = entries.iter().map(needs_room).collect();
        let small = entries.into_iter().filter(|entry| !needs_room(entry));
        let small: Vec<Entry> = small.collect();
        let count = small.len();
        let mut of_small = match small.is_empty() {
            true => Vec::new(),
            false => match self.make(small) {
                CarriedOut::Done(outcomes) => outcomes.into_iter().map(Ok).collect(),
                CarriedOut::Full(small, why) => {
                    self.owe(detached_by(&small));
                    vec![Err(Untold::Full(why)); count]
                }
                CarriedOut::Untold(untold) => vec![Err(untold); count],
            },
        }
        .into_iter();
        let full = || Err(Untold::Full(why.into()));
        let outcomes = need_room.into_iter().map(|needs_room| match needs_room {
            true => full(),
            false => of_small.next().unwrap_or_else(full),
        });
        outcomes.collect()
    }

    /// Asks what became of the call that isn't settled. What it attached, and nobody knows of, is detached.
    fn settle_held(&mut self) {
        let Some(outcome) = self.pipe.settle_held() else {
            return;
        };
        self.shared.note_late_call();
        let mut detaches = std::mem::take(&mut self.in_doubt);
        if let CallOutcome::Done(outcomes) = outcome {
            detaches.clear();
            for outcome in outcomes {
                if let Outcome::Entered { channels, .. } = outcome {
                    detaches.extend(channels.into_iter().map(|(name, _)| name));
                }
            }
        }
        detaches.retain(|name| !self.reader.hears(name));
        self.owe(detaches);
    }

    /// Brings the bounds of a kind up to date.
    fn learn_bounds(&mut self, channel: &str, kind: ChannelKind) {
        let place = match kind {
            ChannelKind::Stored => 0,
            ChannelKind::Memory => 1,
            ChannelKind::None => return,
        };
        if self.knows_bounds[place] {
            return;
        }
        self.knows_bounds[place] = true;
        let bounds = bounds_of((self.settings.retention)(channel));
        match place {
            0 => self.bounds.stored = bounds,
            _ => self.bounds.memory = bounds,
        }
        self.bounds.repeat_ms = self.settings.dedup_ms;
        self.bounds.ids_max = self.settings.dedup_entries_max as u64;
        self.bounds.ids_per_sender_max = self.settings.dedup_entries_per_sender_max as u64;
        self.pipe.set_bounds(self.bounds);
    }

    fn tidy(&mut self, now: Instant) {
        let after = self.tidy_after.take();
        let Some(tidied) = self.pipe.tidy(after.as_deref(), TIDY_CHANNELS_MAX) else {
            self.tidy_due = now + TIDY_LOOK_EVERY;
            return;
        };
        self.tidy_due = now
            + match tidied.is_other {
                true => TIDY_LOOK_EVERY,
                false => TIDY_EVERY,
            };
        self.tidy_after = tidied.next;
    }

    fn watch(&mut self, now: Instant) {
        self.watch_due = now + WATCH_EVERY;
        if let Some(facts) = self.pipe.watch() {
            if facts.rewrites {
                self.watch_due = now + WATCH_SOON;
            }
            let flaw = promise::flaw(&self.shared.settings, &facts);
            if let Some(flaw) = &flaw {
                tracing::error!("{flaw}");
            }
            self.shared.set_flaw(flaw.map(Into::into));
        }
    }
}

impl Store for ClusterStore {
    /// Takes a record into the next call; what becomes of it is known once that is settled.
    fn append(&mut self, _now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        if self.knows_bounds != [true; 2] {
            for (channel, kind) in kept_channels(record) {
                self.learn_bounds(channel, kind);
            }
        }
        if let Record::Detach { channel } = record {
            self.reader.leave(channel);
        }
        if let Record::Message(message) = record
            && message.idempotency_key.is_some()
            && self.shared.has_new_key()
        {
            self.batch.pass_over();
            return Err(StoreError::Away(OTHER_KEY.into()));
        }
        self.batch.add(&self.shared, record);
        Ok(Appended::Noted)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let entries = self.batch.take_entries();
        if entries.is_empty() {
            return Ok(());
        }
        self.settle_held();
        let outcomes = self.carry_out(entries);
        let counters = &self.shared.counters;
        for outcome in &outcomes {
            match outcome {
                Ok(Outcome::Entered { channels, .. }) => {
                    for (name, state) in channels {
                        self.reader.enter(name, *state);
                    }
                }
                Ok(Outcome::TooManyIds) => _ = counters.ids_refused.fetch_add(1, Relaxed),
                Ok(Outcome::TooManyOwnIds) => {
                    counters.ids_refused_share.fetch_add(1, Relaxed);
                }
                _ => {}
            }
        }
        self.batch.set_outcomes(outcomes);
        Ok(())
    }

    fn settle(&mut self, outcomes: &mut [Result<Appended, StoreError>]) -> Vec<EnteredChannels> {
        self.batch.settle(outcomes, &self.bounds)
    }

    fn maintain(&mut self, _now_ms: u64) -> Result<(), StoreError> {
        self.settle_held();
        if self.pipe.is_blocked() {
            return Ok(());
        }
        self.pipe.probe(IDLE);
        let now = self.shared.clock.now();
        if self.pipe.take_opened() {
            self.watch_due = self.watch_due.min(now + WATCH_SOON);
        }
        if now >= self.watch_due {
            self.watch(now);
        }
        if now >= self.tidy_due {
            self.tidy(now);
        }
        if !self.owed.is_empty() && self.shared.is_ready(NodePart::Log) {
            self.carry_out(Vec::new());
        }
        Ok(())
    }

    fn set_settings(&mut self, settings: StoreSettings) {
        self.settings = settings;
        self.knows_bounds = [false; 2];
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.reader) as Arc<dyn Reader>
    }
}

impl fmt::Debug for ClusterStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterStore")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// What became of a call.
enum CarriedOut {
    /// An outcome for each entry.
    Done(Vec<Outcome>),
    /// Nothing was taken of these entries, since the engine is full.
    Full(Vec<Entry>, Box<str>),
    /// There is no outcome.
    Untold(Untold),
}

/// The channels that entries detach.
fn detached_by(entries: &[Entry]) -> Vec<Box<str>> {
    let detached = entries.iter().filter_map(|entry| match entry {
        Entry::Detach { channel } => Some(channel.clone()),
        _ => None,
    });
    detached.collect()
}

/// Whether an engine that is full doesn't take an entry.
fn needs_room(entry: &Entry) -> bool {
    matches!(
        entry,
        Entry::Message(_) | Entry::Member { lasting: true, .. }
    )
}

fn bounds_of(retention: Retention) -> ChannelBounds {
    ChannelBounds {
        messages_max: retention.messages_max.min(EXACT_MAX),
        size_max: retention.bytes_max.min(EXACT_MAX),
        age_ms_max: match retention.age_ms_max {
            u64::MAX => 0,
            age_ms => age_ms.min(EXACT_MAX),
        },
    }
}
