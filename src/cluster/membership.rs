//! The node's place in the register: it enters itself, beats each second, judges by the beats of the others
//! who is alive, and cleans away those that have been dead for long.
//!
//! [`Membership::turn`] is one turn of the thread; nothing here starts one, and time comes by the node's
//! clock. A node that finds its generation gone enters itself under a new one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cleaning::Cleaning;
use super::engine::EngineError;
use super::lease::Leases;
use super::register::{
    Beats, NodeEntry, NodeRow, Register, RegisterSource, Registered, Succession,
};
use super::shared::{NodePart, NodeShared};
use crate::chat::NodeFigures;

/// Time between two beats.
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Pause before the engine is tried again, and between two looks at a name that another one has.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The longest pause in which the machine doesn't look whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Makes the figures that a node tells with each beat.
pub type FigureSource = Box<dyn FnMut() -> NodeFigures + Send>;

/// A node as a member of its cluster.
pub struct Membership {
    shared: Arc<NodeShared>,
    source: Arc<dyn RegisterSource>,
    register: Option<Box<dyn Register>>,
    figures: FigureSource,
    started: Instant,
    started_unix_ms: u64,
    next_at: Instant,
    /// How often others said that generations have changed, when that was looked at last.
    notes: u64,
    messages_before: u64,
    /// The generation that is being entered: the same one until that is done.
    candidate: Option<u64>,
    /// The beat of another one that has the node's name.
    rival: Leases,
    cleaning: Cleaning,
    /// Whether the last line of the log said that the register is there.
    was_connected: bool,
    /// Generations whose settings differ, as the log has said.
    differing: Vec<u64>,
}

impl Membership {
    /// Makes the membership of a node that isn't entered yet.
    #[must_use]
    pub fn new(shared: Arc<NodeShared>, source: Arc<dyn RegisterSource>) -> Self {
        let now = shared.clock.now();
        let started_unix_ms = shared.clock.unix_ms();
        Self {
            shared,
            source,
            register: None,
            figures: Box::new(NodeFigures::default),
            started: now,
            started_unix_ms,
            next_at: now,
            notes: 0,
            messages_before: 0,
            candidate: None,
            rival: Leases::default(),
            cleaning: Cleaning::default(),
            was_connected: true,
            differing: Vec::new(),
        }
    }

    /// Has `figures` make what the node tells of itself.
    pub fn set_figures(&mut self, figures: FigureSource) {
        self.figures = figures;
    }

    /// Enters the node at its start, or finds that it stands there since an earlier image of the program.
    /// Waits for at most about one lease.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; [`EngineError::Refused`] where a node of this name beats at another address, or
    /// nodes with another promise are there.
    pub fn join(&mut self) -> Result<(), EngineError> {
        self.register = Some(self.source.open()?);
        if self.beat()? {
            return Ok(());
        }
        self.await_one_promise()?;
        self.candidate = Some(self.shared.generation());
        let (mut succession, mut first) = (Succession::Start, None);
        while let Registered::Taken {
            generation,
            beat,
            address,
        } = self.enter(succession)?
        {
            if *first.get_or_insert((generation, beat)) != (generation, beat) {
                let node = &self.shared.settings.node;
                return Err(EngineError::Refused(format!(
                    "node {node:?} runs at {address} already; each node has a name of its own"
                )));
            }
            succession = match self.has_rival_died(generation, beat) {
                true => Succession::Over(generation),
                false => Succession::Start,
            };
            self.shared.clock.pause(RETRY_AFTER);
        }
        self.beat().map(drop)
    }

    /// Does what is due, or waits for a moment.
    pub fn turn(&mut self) {
        let now = self.shared.clock.now();
        let notes = self.shared.generation_notes();
        if now < self.next_at && notes == self.notes {
            if !self.clean_if_due() {
                let left = self.next_at.saturating_duration_since(now);
                self.shared.clock.pause(left.min(LOOK_EVERY));
            }
            return;
        }
        self.notes = notes;
        self.next_at = now + BEAT_EVERY;
        match self.step() {
            Ok(()) => self.note_connected(),
            Err(error) => self.note_failure(&error),
        }
    }

    /// Takes the node out, once no connection is left on it. What stays of it is cleaned away by others; if
    /// there are none, by itself.
    pub fn leave(&mut self) {
        let caller = self.shared.caller();
        let is_last = self.shared.alive().len() == 1;
        let Some(register) = &mut self.register else {
            return;
        };
        let mut leave = || -> Result<(), EngineError> {
            register.leave(&caller)?;
            if is_last && register.bury(&caller, caller.generation, None)? {
                while !register.clean(caller.generation)? {}
            }
            Ok(())
        };
        if let Err(error) = leave() {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the node couldn't be taken out of the register");
        }
    }

    fn step(&mut self) -> Result<(), EngineError> {
        if self.register.is_none() {
            self.register = Some(self.source.open()?);
        }
        if !self.shared.has_lost_generation() && self.beat()? {
            return Ok(());
        }
        self.shared.lose_generation(self.shared.generation());
        let generation = *(self.candidate).get_or_insert_with(|| self.shared.draw_generation());
        match self.enter(Succession::Free)? {
            Registered::Standing => {}
            Registered::Taken {
                generation,
                beat,
                address,
            } => {
                if !self.has_rival_died(generation, beat) {
                    tracing::error!(
                        %address,
                        "another node has this one's name, and is alive: this one takes no part"
                    );
                    self.next_at = self.shared.clock.now() + RETRY_AFTER;
                    return Ok(());
                }
                self.enter(Succession::Over(generation))?;
            }
        }
        tracing::warn!(generation, "the node goes on under another generation");
        self.beat().map(drop)
    }

    /// Enters the node as its candidate; once that stands, the node calls under it.
    fn enter(&mut self, succession: Succession) -> Result<Registered, EngineError> {
        let shared = &self.shared;
        let generation = self.candidate.unwrap_or_else(|| shared.generation());
        let mut caller = shared.caller();
        caller.generation = generation;
        let settings = &shared.settings;
        let entry = NodeEntry {
            caller,
            address: settings.address.as_str().into(),
            version: env!("CARGO_PKG_VERSION").into(),
            promise: settings.promise.word().into(),
            settings: settings.agreed,
            started_unix_ms: self.started_unix_ms,
            blocks: shared.blocks(),
        };
        let entered = self.open_register()?.enter(&entry, succession)?;
        if entered == Registered::Standing {
            self.shared.set_generation(generation);
            self.candidate = None;
            self.rival = Leases::default();
        }
        Ok(entered)
    }

    /// Beats, and takes the beats of the others; whether the node's generation stands.
    fn beat(&mut self) -> Result<bool, EngineError> {
        let (caller, unix_ms) = (self.shared.caller(), self.shared.clock.unix_ms());
        let mut figures = (self.figures)();
        figures.is_draining |= self.shared.is_draining();
        let said = figures.messages.saturating_sub(self.messages_before);
        let register = self.open_register()?;
        let beats = register.beat(&caller, &figures, said, unix_ms)?;
        self.messages_before = figures.messages;
        let stands = beats.stands;
        self.take(&beats)?;
        (self.shared).set_ready(NodePart::Generation, stands);
        Ok(stands)
    }

    /// Judges by the beats that were read.
    fn take(&mut self, beats: &Beats) -> Result<(), EngineError> {
        if self.shared.note_beats(&beats.standing) {
            self.note_differing()?;
        }
        let now = self.elapsed();
        let alive = self.shared.alive();
        let still = (beats.standing.iter())
            .filter(|(generation, _)| !alive.contains(generation))
            .map(|(generation, beat)| (*generation, Some(*beat)));
        let own = self.shared.generation();
        let gone = beats
            .gone
            .iter()
            .filter(|gone| **gone != own || !beats.stands);
        let gone = gone.map(|generation| (*generation, None));
        self.cleaning.note(now, still.chain(gone));
        Ok(())
    }

    /// Cleans a part of what is to be cleaned away; `false` if there is nothing.
    fn clean_if_due(&mut self) -> bool {
        let now = self.elapsed();
        let left = Duration::from_millis(self.shared.settings.left_ms);
        if self.register.is_none() || self.shared.has_lost_generation() {
            return false;
        }
        let cleaned = match (self.cleaning.under_way(), self.cleaning.due(now, left)) {
            (Some(generation), _) => self.clean(generation),
            (None, Some(due)) => self.bury(now, due.generation, due.beat),
            (None, None) => return false,
        };
        if let Err(error) = cleaned {
            self.note_failure(&error);
        }
        true
    }

    fn bury(
        &mut self,
        now: Duration,
        generation: u64,
        beat: Option<u64>,
    ) -> Result<(), EngineError> {
        let caller = self.shared.caller();
        let is_ours = self.open_register()?.bury(&caller, generation, beat)?;
        self.cleaning.tried(now, generation, is_ours);
        Ok(())
    }

    fn clean(&mut self, generation: u64) -> Result<(), EngineError> {
        if self.open_register()?.clean(generation)? {
            self.cleaning.cleaned(generation);
            tracing::info!(generation, "a generation that is over is cleaned away");
        }
        Ok(())
    }

    /// Waits until no node with another promise is alive.
    fn await_one_promise(&mut self) -> Result<(), EngineError> {
        let promise = self.shared.settings.promise.word();
        let (mut leases, mut first) = (Leases::default(), None);
        loop {
            let rows = self.open_register()?.nodes()?;
            let others = rows.into_iter().filter(|row| {
                !row.promise.is_empty()
                    && *row.promise != *promise
                    && *row.name != *self.shared.settings.node
            });
            let others: Vec<NodeRow> = others.collect();
            let beats: Vec<(u64, u64)> = others
                .iter()
                .map(|row| (row.generation, row.beat))
                .collect();
            let (now, lease) = (self.elapsed(), self.lease());
            leases.read(now, &beats);
            if leases.alive(now, lease).is_empty() {
                return Ok(());
            }
            let first: &Vec<(u64, u64)> = first.get_or_insert_with(|| beats.clone());
            let moved = others.iter().find(|row| {
                let then = first
                    .iter()
                    .find(|(generation, _)| *generation == row.generation);
                then.is_none_or(|(_, beat)| *beat != row.beat)
            });
            if let Some(NodeRow {
                name,
                promise: other,
                ..
            }) = moved
            {
                return Err(EngineError::Refused(format!(
                    "node {name:?} promises {other}, this one {promise}; all have to promise the same"
                )));
            }
            self.shared.clock.pause(RETRY_AFTER);
        }
    }

    fn has_rival_died(&mut self, generation: u64, beat: u64) -> bool {
        let now = self.elapsed();
        self.rival.read(now, &[(generation, beat)]);
        !self.rival.is_alive(generation, now, self.lease())
    }

    fn open_register(&mut self) -> Result<&mut Box<dyn Register>, EngineError> {
        let missing = || EngineError::Away("the register isn't open".into());
        self.register.as_mut().ok_or_else(missing)
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.shared.settings.lease_ms)
    }

    fn elapsed(&self) -> Duration {
        let now = self.shared.clock.now();
        now.saturating_duration_since(self.started)
    }

    /// Says which nodes have settings that differ from this one's where all have to agree.
    fn note_differing(&mut self) -> Result<(), EngineError> {
        let own = self.shared.settings.agreed;
        for row in self.open_register()?.nodes()? {
            if row.settings != own && !self.differing.contains(&row.generation) {
                let (node, generation) = (&*row.name, row.generation);
                tracing::warn!(
                    node,
                    generation,
                    "settings of this node differ that have to agree on all: kinds and bounds of channels, \
                     repeat_ms, limits a user, names of API keys"
                );
                self.differing.push(generation);
            }
        }
        Ok(())
    }

    fn note_connected(&mut self) {
        if !self.was_connected {
            tracing::info!("the register of nodes is there again");
            self.was_connected = true;
        }
    }

    fn note_failure(&mut self, error: &EngineError) {
        self.register = None;
        self.cleaning.forget();
        self.next_at = self.shared.clock.now() + RETRY_AFTER;
        if self.was_connected {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "the register of nodes is out of reach");
            self.was_connected = false;
        }
    }
}
