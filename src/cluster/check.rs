//! A look at the engine of a cluster before it is relied on: a node joins under keys of its own, does once
//! whatever nodes do, and takes all of it out again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::clock::{Clock, SystemClock};
use super::engine::{EngineError, EngineFacts};
use super::membership::Membership;
use super::promise;
use super::shared::{NodeShared, RandomSource};
use super::{ClusterNode, ClusterPromise, ClusterSettings, EngineSettings};
use crate::base::clock::random;
use crate::base::sync::lock;
use crate::base::{ChannelKind, Epoch, MessageBody};
use crate::store::{Channel, MessageRecord, PageRange, Record, Store, StoreError, StoreSettings};

/// Times that what is timed is done: the one in the middle counts.
const ROUNDS: usize = 9;

/// The channel that the trial writes to.
const CHANNEL: &str = "check";

/// What a look at an engine found.
#[derive(Debug)]
pub struct EngineCheck {
    /// What the engine says of itself.
    pub facts: EngineFacts,
    /// What isn't so as it has to be, each with the name of what has to be changed.
    pub flaws: Vec<String>,
    /// The time of a read.
    pub round_trip: Duration,
    /// The time of a message that is stored.
    pub write: Duration,
    /// Milliseconds by which the engine's clock is ahead of ours.
    pub clock_ahead_ms: i64,
}

/// A node that joins under keys of its own.
struct Trial {
    settings: ClusterSettings,
    node: ClusterNode,
    membership: Membership,
    store: Box<dyn Store>,
}

/// Looks at the engine that these settings name.
///
/// # Errors
///
/// [`EngineError`]: the engine can't be reached, or a script or a right is missing.
pub fn check(settings: &ClusterSettings) -> Result<EngineCheck, EngineError> {
    let source = super::source(settings.engine.clone()).map_err(EngineError::Refused)?;
    let mut engine = source.open()?;
    let (facts, own_ms) = (engine.facts()?, SystemClock.unix_ms());
    let flaws: Vec<String> = promise::flaw(settings, &facts).into_iter().collect();
    let round_trip = median(|| engine.life().map(drop))?;
    let mut trial = Trial::begin(settings)?;
    let tried = trial.run();
    trial.end()?;
    Ok(EngineCheck {
        flaws,
        round_trip,
        write: tried?,
        clock_ahead_ms: facts.unix_ms as i64 - own_ms as i64,
        facts,
    })
}

impl Trial {
    fn begin(settings: &ClusterSettings) -> Result<Self, EngineError> {
        let mut settings = settings.clone();
        settings.engine.prefix += &format!(":check:{:x}", random());
        settings.node = "check".into();
        // What isn't set as it has to be is told, and the rest tried all the same.
        settings.checks = false;
        settings.promise = ClusterPromise::Fast;
        let refused = EngineError::Refused;
        let source = super::source(settings.engine.clone()).map_err(refused)?;
        let register = super::register_source(settings.engine.clone()).map_err(refused)?;
        let membership = Mutex::new(None);
        let enter = |shared: &Arc<NodeShared>| {
            let mut member = Membership::new(Arc::clone(shared), Arc::clone(&register));
            member.join()?;
            *lock(&membership) = Some(member);
            Ok(())
        };
        let (clock, dice): (Arc<dyn Clock>, RandomSource) =
            (Arc::new(SystemClock), Arc::new(random));
        let stored = ChannelKind::Stored;
        let joined = ClusterNode::join(settings.clone(), source, (clock, dice), stored, &enter);
        let node = joined.inspect_err(|_| drop(erase(&settings.engine)))?;
        let membership = lock(&membership).take();
        let membership =
            membership.unwrap_or_else(|| Membership::new(Arc::clone(node.shared()), register));
        let store = node.store(StoreSettings::new(""));
        Ok(Self {
            settings,
            node,
            membership,
            store,
        })
    }

    /// Does what a node does, and returns the time of a message that is stored.
    fn run(&mut self) -> Result<Duration, EngineError> {
        let channel = Channel {
            name: CHANNEL,
            epoch: Epoch::NONE,
            kind: ChannelKind::Stored,
        };
        self.append(&Record::Attach {
            channel,
            reader: None,
        })?;
        let body = MessageBody {
            id: "check",
            from: None,
            to: None,
            ts: SystemClock.unix_ms(),
            data: "{}",
        };
        let mut number = 0;
        let write = median(|| {
            number += 1;
            self.append(&Record::Message(MessageRecord {
                channel,
                second: None,
                body,
                idempotency_key: Some(number),
                id_owner: 0,
                opens: false,
                mark: Some(("check", number as u64)),
                except: &[],
            }))
        })?;
        for record in [
            Record::Ack {
                channel: CHANNEL,
                reader: "check",
                offset: 1,
            },
            Record::Trim {
                channel: CHANNEL,
                through: 1,
            },
            Record::Detach { channel: CHANNEL },
        ] {
            self.append(&record)?;
        }
        let generation = self.node.shared().generation();
        let caller = self.node.shared().caller();
        let mut engine = self.node.source().open()?;
        let range = PageRange {
            after: None,
            before: None,
            limit: 10,
            bytes_max: 65_536,
        };
        engine.page(CHANNEL, range)?;
        engine.look(&caller, &[CHANNEL])?;
        engine.tidy(&caller, None, 10)?;
        engine.last_call(generation)?;
        engine.reserve_block(&caller, 0)?;
        engine.send(generation, b"t 1\n")?;
        engine.renew()?;
        self.membership.turn();
        Ok(write)
    }

    fn append(&mut self, record: &Record<'_>) -> Result<(), EngineError> {
        let failed = |error: StoreError| EngineError::Refused(error.to_string());
        let appended = self.store.append(SystemClock.unix_ms(), record);
        self.store.commit().map_err(failed)?;
        let mut outcomes = [appended];
        self.store.settle(&mut outcomes);
        let [outcome] = outcomes;
        outcome.map(drop).map_err(failed)
    }

    fn end(mut self) -> Result<(), EngineError> {
        self.membership.leave();
        erase(&self.settings.engine)
    }
}

/// The time in the middle of some rounds.
fn median(mut run: impl FnMut() -> Result<(), EngineError>) -> Result<Duration, EngineError> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        run()?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times[ROUNDS / 2])
}

fn erase(settings: &EngineSettings) -> Result<(), EngineError> {
    super::erase(settings).map_err(EngineError::Refused)
}
