//! The pipe of a node: its calls to the engine, one after the other, each of which takes effect once.
//!
//! A call whose answer was lost is made again as it was, with its number, until it is known what became of
//! it; no other overtakes it. Who waits for it is told after a while that its outcome isn't known.
//!
//! Invariant: a number is used for one call. It is free again only where the engine itself has said that
//! nothing of the call was taken, and never will be.

mod doubt;
mod vouch;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::call::{Answer, Call, Entry, Life, Outcome};
use super::engine::{CallBounds, Engine, EngineError, EngineFacts, EngineSource, Tidied};
use super::life;
use super::retry::Retry;
use super::shared::{NodePart, NodeShared, OTHER_KEY};

/// The longest wait of one attempt for replicas.
const REPLICAS_PATIENCE: Duration = Duration::from_millis(500);

/// The time for which the engine surely knows the last call of a generation that is gone: it keeps it for a
/// day.
const KEPT_FOR: Duration = Duration::from_hours(20);

/// Attempts that follow each other without a wait, at most.
const ATTEMPTS_MAX: usize = 8;

/// The calls of a node.
pub(super) struct Pipe {
    shared: Arc<NodeShared>,
    source: Arc<dyn EngineSource>,
    connection: Option<PipeConnection>,
    bounds: CallBounds,
    /// The generation to which `number` belongs.
    generation: u64,
    /// The number of the last call.
    number: u64,
    held: Option<HeldCall>,
    retry: Retry,
    /// Whether a connection was opened since somebody asked.
    has_opened: bool,
    /// What nodes have to be told yet: that everything up to this number is safe.
    owed_mark: Option<(u64, Vec<u64>)>,
    /// The life whose rollback is proven, and whose era has to end yet.
    owed_renewal: Option<Life>,
}

struct PipeConnection {
    engine: Box<dyn Engine>,
    /// Lives that the node had begun to believe in when this was opened.
    lives: u64,
    used: Instant,
}

/// A call, and what is known of it.
struct HeldCall {
    call: Call,
    /// What was seen when it was sent first.
    seen: u64,
    began: Instant,
    /// Whether it was sent, so it may have been taken, or be taken yet.
    may_be_taken: bool,
    /// The key by which its ids are known; `None` if it has none.
    key: Option<[u64; 2]>,
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CallOutcome {
    /// It took effect: an outcome for each entry.
    Done(Vec<Outcome>),
    /// Nothing was taken, since the engine is out of reach.
    Away(Box<str>),
    /// Nothing was taken, since the engine is full.
    Full(Box<str>),
    /// It isn't known yet; the pipe goes on asking.
    Unsettled,
    /// It isn't known, and won't be.
    Unknown,
}

enum Attempt {
    Ended(CallOutcome),
    /// Something has changed: the next attempt may be made at once.
    Again,
    /// The next attempt has to wait.
    Later(String),
}

impl Pipe {
    /// Makes the pipe of a node. Its last call was that of this number, 0 for none, of the present
    /// generation.
    pub(super) fn new(shared: Arc<NodeShared>, source: Arc<dyn EngineSource>, number: u64) -> Self {
        let generation = shared.generation();
        Self {
            shared,
            source,
            connection: None,
            bounds: CallBounds::default(),
            generation,
            number,
            held: None,
            has_opened: false,
            retry: Retry::default(),
            owed_mark: None,
            owed_renewal: None,
        }
    }

    /// Sets the bounds by which calls are carried out from now on.
    pub(super) fn set_bounds(&mut self, bounds: CallBounds) {
        if self.bounds != bounds {
            self.bounds = bounds;
            if let Some(connection) = &mut self.connection {
                connection.engine.set_bounds(&bounds);
            }
        }
    }

    /// Returns the generation of the last call, and its number.
    pub(super) fn last(&self) -> (u64, u64) {
        (self.generation, self.number)
    }

    /// Whether a call isn't settled.
    pub(super) fn is_blocked(&self) -> bool {
        self.held.is_some()
    }

    /// Makes a call, and waits for what becomes of it, but no longer than a sender may. No call may be
    /// unsettled. The entries come back, unless the call stays unsettled.
    pub(super) fn make(&mut self, entries: Vec<Entry>) -> (Vec<Entry>, CallOutcome) {
        debug_assert!(
            self.held.is_none(),
            "nothing overtakes a call that isn't settled"
        );
        let shared = Arc::clone(&self.shared);
        let mut held = self.next_call(entries);
        let patience = Duration::from_millis(shared.settings.answer_ms_max);
        let deadline = held.began + patience;
        let mut at_once = 0;
        loop {
            let why = match self.attempt(&mut held) {
                Attempt::Ended(outcome) => {
                    self.note_ended(&held.call, &outcome);
                    return (held.call.entries, outcome);
                }
                Attempt::Again if at_once < ATTEMPTS_MAX => {
                    at_once += 1;
                    continue;
                }
                Attempt::Again => "the engine's life changes all the time".to_owned(),
                Attempt::Later(why) => why,
            };
            at_once = 0;
            let now = shared.clock.now();
            let wait = self.retry.failed(now, shared.random());
            if now + wait >= deadline {
                return (Vec::new(), self.give_up(held, why));
            }
            shared.clock.pause(wait);
        }
    }

    /// Asks once what became of the call that isn't settled, if it is time to. Returns its outcome when it
    /// is.
    pub(super) fn settle_held(&mut self) -> Option<CallOutcome> {
        let now = self.shared.clock.now();
        if !self.retry.is_due(now) {
            return None;
        }
        let mut held = self.held.take()?;
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(&mut held) {
                Attempt::Ended(outcome) => {
                    self.note_ended(&held.call, &outcome);
                    tracing::info!(number = held.call.number, "a call is settled at last");
                    return Some(outcome);
                }
                Attempt::Again => {}
                Attempt::Later(_) => break,
            }
        }
        self.retry
            .failed(self.shared.clock.now(), self.shared.random());
        self.held = Some(held);
        None
    }

    /// Opens a connection where there is none, and looks whether the one there is still stands. Says in
    /// the node's readiness what it found.
    pub(super) fn probe(&mut self, idle: Duration) {
        let now = self.shared.clock.now();
        if self.held.is_some() || !self.retry.is_due(now) {
            return;
        }
        let probed = match &mut self.connection {
            Some(connection) if now - connection.used < idle => return,
            Some(connection) => {
                connection.used = now;
                connection.engine.wait(0, Duration::ZERO).map(|_| ())
            }
            None => self.open().map(|_| ()),
        };
        match probed {
            Ok(()) => self.note_reached(),
            Err(error) => self.note_lost(&error),
        }
    }

    /// Whether a connection was opened since this was asked last.
    pub(super) fn take_opened(&mut self) -> bool {
        std::mem::take(&mut self.has_opened)
    }

    /// Follows what the engine says of itself: its life, and whether it is set as promised.
    pub(super) fn watch(&mut self) -> Option<EngineFacts> {
        let shared = Arc::clone(&self.shared);
        let connection = self.connection.as_mut()?;
        match life::adopt(&shared, &mut *connection.engine) {
            Ok(facts) => {
                connection.lives = shared.lives();
                Some(facts)
            }
            Err(error) => {
                self.note_lost(&error);
                None
            }
        }
    }

    /// Does a piece of the engine's upkeep, or finds that another node does; `None` where that failed.
    pub(super) fn tidy(&mut self, after: Option<&str>, channels_max: usize) -> Option<Tidied> {
        let caller = self.shared.caller();
        let connection = self.connection.as_mut()?;
        match connection.engine.tidy(&caller, after, channels_max) {
            Ok(tidied) => Some(tidied),
            Err(error) => {
                self.note_lost(&error);
                None
            }
        }
    }

    fn next_call(&mut self, entries: Vec<Entry>) -> HeldCall {
        let caller = self.shared.caller();
        if caller.generation != self.generation {
            self.generation = caller.generation;
            self.number = 0;
        }
        let belief = self.shared.belief();
        let has_ids = entries.iter().any(Entry::has_id);
        let key = has_ids.then(|| self.shared.hash_keys().get());
        HeldCall {
            call: Call {
                life: belief.life,
                caller,
                number: self.number + 1,
                alive: self.shared.alive(),
                entries,
            },
            seen: belief.seen,
            began: self.shared.clock.now(),
            may_be_taken: false,
            key,
        }
    }

    /// Makes a call once.
    fn attempt(&mut self, held: &mut HeldCall) -> Attempt {
        if let Err(error) = self.open() {
            self.note_lost(&error);
            return Attempt::Later(error.to_string());
        }
        if held.key.is_some_and(|key| self.shared.key() != Some(key)) {
            // The engine was emptied: of an earlier attempt nothing stands, and none is to come that would be
            // known by no repeat.
            return Attempt::Ended(match held.may_be_taken {
                true => CallOutcome::Unknown,
                false => CallOutcome::Away(OTHER_KEY.into()),
            });
        }
        if !held.may_be_taken {
            if self.shared.has_lost_generation() {
                return Attempt::Later("the node isn't registered".into());
            }
            self.renumber(held);
        }
        held.call.life = self.shared.life();
        let was_sent = std::mem::replace(&mut held.may_be_taken, true);
        if was_sent {
            self.shared.counters.calls_again.fetch_add(1, Relaxed);
        }
        let Some(connection) = &mut self.connection else {
            return Attempt::Again;
        };
        connection.used = self.shared.clock.now();
        let call = &held.call;
        self.shared.note_call(call.caller.generation, call.number);
        match connection.engine.call(call) {
            Ok(answer) => self.answered(held, answer),
            Err(EngineError::Full(what)) if was_sent => self.fence(held, what),
            Err(EngineError::Full(what)) => Attempt::Ended(CallOutcome::Full(what.into())),
            Err(EngineError::Refused(what)) => self.refused(held, was_sent, what),
            Err(error) => {
                held.may_be_taken = was_sent || !matches!(error, EngineError::Away(_));
                self.note_lost(&error);
                Attempt::Later(error.to_string())
            }
        }
    }

    /// Gives a call that surely isn't taken, and won't be, to the present generation.
    fn renumber(&mut self, held: &mut HeldCall) {
        let caller = self.shared.caller();
        if held.call.caller == caller {
            return;
        }
        let number = match caller.generation == self.generation {
            true => self.number,
            false => 0,
        };
        (self.generation, self.number) = (caller.generation, number);
        held.call.caller = caller;
        held.call.number = number + 1;
        held.call.alive = self.shared.alive();
    }

    fn answered(&mut self, held: &mut HeldCall, answer: Answer) -> Attempt {
        let generation = held.call.caller.generation;
        match answer {
            Answer::Done { outcomes, .. } if outcomes.len() > held.call.entries.len() => {
                // Its number was used up in its place.
                self.use_number(&held.call);
                Attempt::Ended(CallOutcome::Full("it was full".into()))
            }
            Answer::Done {
                n,
                outcomes,
                reached,
            } => self.vouch(held, n, outcomes, reached),
            Answer::OtherLife => self.find_life(),
            Answer::Gone if self.shared.clock.now() - held.began > KEPT_FOR => {
                // The engine may have forgotten that it was taken.
                Attempt::Ended(CallOutcome::Unknown)
            }
            Answer::Gone => {
                // It was not taken, and no copy of it will be.
                held.may_be_taken = false;
                self.shared.lose_generation(generation);
                match self.shared.has_lost_generation() {
                    true => Attempt::Later("the node isn't registered".into()),
                    false => Attempt::Again,
                }
            }
            Answer::Old => {
                let number = held.call.number;
                tracing::error!(number, "the engine has a later call of this node");
                self.skip_to_kept(generation);
                Attempt::Ended(CallOutcome::Unknown)
            }
            Answer::Broken => {
                let number = held.call.number;
                self.shared.counters.calls_broken.fetch_add(1, Relaxed);
                tracing::error!(number, "a call failed in the middle, inside the engine");
                Attempt::Ended(CallOutcome::Unknown)
            }
        }
    }

    fn note_ended(&mut self, call: &Call, outcome: &CallOutcome) {
        if matches!(outcome, CallOutcome::Away(_)) {
            self.shared.set_ready(NodePart::Log, false);
            return;
        }
        self.note_reached();
        if matches!(outcome, CallOutcome::Full(_)) {
            return;
        }
        self.use_number(call);
        let counters = &self.shared.counters;
        counters.calls.fetch_add(1, Relaxed);
        counters
            .entries
            .fetch_add(call.entries.len() as u64, Relaxed);
    }

    fn use_number(&mut self, call: &Call) {
        if call.caller.generation == self.generation {
            self.number = self.number.max(call.number);
        }
    }

    /// Lets the senders of a call go. It stays until it is settled, unless nothing of it was taken.
    fn give_up(&mut self, held: HeldCall, why: String) -> CallOutcome {
        self.shared.set_ready(NodePart::Log, false);
        if !held.may_be_taken {
            return CallOutcome::Away(why.into());
        }
        let number = held.call.number;
        tracing::error!(number, why, "the outcome of a call isn't known in time");
        self.shared.counters.calls_unsettled.fetch_add(1, Relaxed);
        self.use_number(&held.call);
        self.held = Some(held);
        CallOutcome::Unsettled
    }

    /// Opens a connection if there is none.
    fn open(&mut self) -> Result<(), EngineError> {
        if self.connection.is_none() {
            let mut engine = life::open_adopted(&self.shared, &*self.source)?;
            engine.set_bounds(&self.bounds);
            self.has_opened = true;
            self.shared.counters.log_connections.fetch_add(1, Relaxed);
            self.connection = Some(PipeConnection {
                engine,
                lives: self.shared.lives(),
                used: self.shared.clock.now(),
            });
        }
        self.pay_owed()
    }

    fn note_reached(&mut self) {
        self.retry.succeeded();
        self.shared.set_ready(NodePart::Log, true);
    }

    fn note_lost(&mut self, error: &EngineError) {
        if self.connection.take().is_some() {
            tracing::warn!(%error, "the connection to the log is lost");
        }
        self.shared.set_ready(NodePart::Log, false);
    }
}
