//! A node of a cluster: it comes to the engine, sees that this is set as promised and what its life is, and
//! gives what the threads of the node need.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::ClusterSettings;
use super::call::{Entry, Line, Outcome};
use super::clock::Clock;
use super::engine::{Engine, EngineError, EngineSource, LifeState};
use super::kept::KeptNode;
use super::life;
use super::pipe::{CallOutcome, Pipe};
use super::promise;
use super::reader::ClusterReader;
use super::shared::{NodeShared, RandomSource};
use super::store::ClusterStore;
use crate::base::sync::lock;
use crate::base::{ChannelKind, Epoch};
use crate::store::{Reader, Store, StoreError, StoreSettings};

/// The channel of everyone, which each node hears from its start on.
const EVERYONE: &str = "*";

/// Serial numbers of a block. Four million last for minutes at any rate of accepting, and a restart may
/// waste them: there are 2^47.
pub const SERIALS_PER_BLOCK: u64 = 1 << 22;

/// Enters the present generation of a node into the engine's register, or another one that it draws.
pub type Registration<'a> = &'a dyn Fn(&Arc<NodeShared>) -> Result<(), EngineError>;

/// A node of a cluster.
pub struct ClusterNode {
    shared: Arc<NodeShared>,
    source: Arc<dyn EngineSource>,
    reader: Arc<ClusterReader>,
    /// The number of the last call that was made before the store was asked for.
    number: Mutex<u64>,
}

impl ClusterNode {
    /// Joins the cluster: checks that the engine is set as promised, adopts its life, registers, and hears
    /// the channel of everyone. `everyone` is what that one keeps.
    ///
    /// # Errors
    ///
    /// [`EngineError`]; [`EngineError::Refused`] names what has to be mended.
    pub fn join(
        settings: ClusterSettings,
        source: Arc<dyn EngineSource>,
        (clock, random): (Arc<dyn Clock>, RandomSource),
        everyone: ChannelKind,
        register: Registration<'_>,
    ) -> Result<Self, EngineError> {
        let shared = Arc::new(NodeShared::new(settings, clock, random));
        Self::come(&shared, &*source).and_then(|()| {
            let reader = ClusterReader::new(Arc::clone(&shared), Arc::clone(&source));
            register(&shared)?;
            let node = Self {
                shared,
                source,
                reader: Arc::new(reader),
                number: Mutex::new(0),
            };
            node.hear_everyone(everyone)?;
            Ok(node)
        })
    }

    /// Goes on as the node that an earlier image of the program was: under its generation, behind its last
    /// call, in the life that it believed in. While the engine is out of reach it goes by what was written
    /// down.
    ///
    /// # Errors
    ///
    /// [`EngineError`], as for [`ClusterNode::join`]; [`EngineError::Away`] only where what was written down
    /// isn't enough.
    pub fn take_over(
        settings: ClusterSettings,
        source: Arc<dyn EngineSource>,
        (clock, random): (Arc<dyn Clock>, RandomSource),
        kept: &KeptNode,
    ) -> Result<Self, EngineError> {
        let shared = Arc::new(NodeShared::new(settings, clock, random));
        shared.set_generation(kept.generation);
        shared.take_over(kept.life.clone(), kept.seen);
        if let Some(key) = kept.key {
            shared.set_key(key);
        }
        let asked = Self::come(&shared, &*source).and_then(|()| {
            let last = source.open()?.last_call(kept.generation)?;
            Ok(last.map_or(0, |last| last.number))
        });
        let number = match asked {
            Ok(number) => number,
            Err(error) if error.is_absence() && kept.key.is_some() => {
                tracing::warn!(%error, "the node goes on by what the program before has written down");
                shared.set_flaw(None);
                0
            }
            Err(error) => return Err(error),
        };
        let reader = ClusterReader::new(Arc::clone(&shared), Arc::clone(&source));
        Ok(Self {
            shared,
            source,
            reader: Arc::new(reader),
            // One call more may have been on its way.
            number: Mutex::new(number.max(kept.number) + 1),
        })
    }

    fn come(shared: &NodeShared, source: &dyn EngineSource) -> Result<(), EngineError> {
        let mut engine = source.open()?;
        // An engine that reads its file yet refuses this, and doesn't know itself.
        engine.life()?;
        let facts = engine.facts()?;
        if let Some(flaw) = promise::flaw(&shared.settings, &facts) {
            return Err(EngineError::Refused(flaw));
        }
        shared.set_flaw(None);
        life::adopt(shared, &mut *engine)?;
        let key = engine.hasher_key([shared.random(), shared.random()])?;
        shared.set_key(key);
        Ok(())
    }

    fn hear_everyone(&self, kind: ChannelKind) -> Result<(), EngineError> {
        let mut pipe = Pipe::new(Arc::clone(&self.shared), Arc::clone(&self.source), 0);
        let line = Line {
            channel: EVERYONE.into(),
            kind,
            new_epoch: Epoch::from_bits(self.shared.random() as u32),
        };
        let (_, made) = pipe.make(vec![Entry::Attach { line, reader: None }]);
        let CallOutcome::Done(outcomes) = made else {
            return Err(EngineError::Away("it doesn't take the first call".into()));
        };
        for outcome in outcomes {
            if let Outcome::Entered { channels, .. } = outcome {
                for (name, state) in channels {
                    self.reader.enter(&name, state);
                }
            }
        }
        *lock(&self.number) = pipe.last().1;
        Ok(())
    }

    /// Returns what the threads of the node share.
    #[must_use]
    pub fn shared(&self) -> &Arc<NodeShared> {
        &self.shared
    }

    /// Returns the way to the engine.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn EngineSource> {
        &self.source
    }

    /// Returns the reading side of the log.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.reader) as Arc<dyn Reader>
    }

    /// Makes the log a store, for the one thread that writes to it. To be called once.
    #[must_use]
    pub fn store(&self, settings: StoreSettings) -> Box<dyn Store> {
        Box::new(ClusterStore::new(
            Arc::clone(&self.shared),
            Arc::clone(&self.source),
            Arc::clone(&self.reader),
            settings,
            *lock(&self.number),
        ))
    }

    /// Reserves a block of serial numbers of connections, and returns the first of
    /// [`SERIALS_PER_BLOCK`]; none is below `at_least`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Away`].
    pub fn serial_block(&self, at_least: u64) -> Result<u64, StoreError> {
        let caller = self.shared.caller();
        let own = self.shared.blocks().into_iter().max();
        let at_least = at_least.div_ceil(SERIALS_PER_BLOCK);
        let at_least = at_least.max(own.map_or(0, |own| own + 1));
        let block = self
            .reader
            .ask(|engine| engine.reserve_block(&caller, at_least))?;
        self.shared.note_block(block);
        Ok(block * SERIALS_PER_BLOCK)
    }

    /// Returns the generation to which the serial number of a connection belongs, if any does.
    ///
    /// # Errors
    ///
    /// [`StoreError::Away`].
    pub fn serial_owner(&self, serial: u64) -> Result<Option<u64>, StoreError> {
        let block = serial / SERIALS_PER_BLOCK;
        self.reader.ask(|engine| engine.block_owner(block))
    }
}

/// Begins another era of a cluster: each channel begins a new epoch. `None` where no node has ever been.
///
/// # Errors
///
/// [`EngineError`].
pub fn renew(source: &dyn EngineSource) -> Result<Option<LifeState>, EngineError> {
    let mut engine: Box<dyn Engine> = source.open()?;
    engine.renew()
}

impl fmt::Debug for ClusterNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterNode")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
