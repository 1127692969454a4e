//! The life of the engine: whether what it has now is all that it ever promised.
//!
//! A life is a run of the engine. Whoever finds another one than it believes in adopts it, and brings the
//! number of the newest call that it knows to be safe: that proves what is missing. What no living node has
//! seen can only be trusted, or not.

use super::ClusterPromise;
use super::engine::{Engine, EngineError, EngineFacts, EngineSource, LifeState};
use super::shared::NodeShared;

/// Adoptions at a time that others may overtake.
const ATTEMPTS_MAX: usize = 8;

/// Whether a change from the life that stands to the run that `facts` are of has lost nothing, as far as
/// the engine's own promise goes. `replicas` is the number that each answer waited for.
#[must_use]
pub fn is_trusted(
    promise: ClusterPromise,
    replicas: usize,
    stands: &LifeState,
    facts: &EngineFacts,
) -> bool {
    let before = &*facts.replids[1];
    let was_promoted = before.bytes().any(|byte| byte != b'0');
    match promise {
        ClusterPromise::Fast => false,
        _ if !was_promoted => stands.syncs_always,
        // A restart from a snapshot names an earlier history, too, but keeps no file.
        ClusterPromise::Replicated => {
            before == &*stands.replid
                && facts.keeps_file
                && (facts.replicas_known).is_some_and(|known| replicas >= known)
        }
        ClusterPromise::Synced => false,
    }
}

/// Whether each write of this run is synced into a file that was complete once: a rewrite that is under way
/// takes nothing of it away. A Redis with a long file begins one at each start.
#[must_use]
pub fn syncs_always(stands: Option<&LifeState>, facts: &EngineFacts) -> bool {
    let was_complete = match stands {
        Some(stands) if stands.life.run == facts.run => stands.syncs_always,
        _ => facts.began_with_file,
    };
    let is_set = facts.keeps_file
        && facts.setting("appendfsync") == Some("always")
        && facts.setting("no-appendfsync-on-rewrite") == Some("no");
    facts.syncs_always || (facts.rewrites && was_complete && is_set)
}

/// Has the node believe in the life of the engine behind a connection, and returns what the engine says of
/// itself. To be called on each new connection before anything else, and every minute.
///
/// # Errors
///
/// [`EngineError`]; [`EngineError::Away`] for a replica.
pub fn adopt(shared: &NodeShared, engine: &mut dyn Engine) -> Result<EngineFacts, EngineError> {
    for _ in 0..ATTEMPTS_MAX {
        let before = shared.belief();
        // In this order: an engine that reads its file yet says nothing of its life, but says of itself
        // that it keeps no file.
        let stands = engine.life()?;
        let mut facts = engine.facts()?;
        facts.syncs_always = syncs_always(stands.as_ref(), &facts);
        if !facts.is_primary {
            return Err(EngineError::Away("it is a replica".into()));
        }
        let settings = &shared.settings;
        let trusted = stands
            .as_ref()
            .is_some_and(|stands| is_trusted(settings.promise, settings.replicas, stands, &facts));
        let state = engine.adopt(&facts, &before.life, before.seen, trusted)?;
        if before.life != state.life {
            keep_key(shared, engine)?;
        }
        if shared.believe(&before, &state) {
            note_change(shared, &before.life, &state, trusted);
            return Ok(facts);
        }
    }
    Err(EngineError::Away("its life changes all the time".into()))
}

/// Sees that the engine has the key by which this node knows repeats. One that was emptied has none, or that of
/// a node that came first: then it is this node's, too, before it makes a call in the new life.
fn keep_key(shared: &NodeShared, engine: &mut dyn Engine) -> Result<(), EngineError> {
    if let Some(ours) = shared.key() {
        let stands = engine.hasher_key(ours)?;
        if stands != ours {
            tracing::warn!(
                "repeats are known by another key: the engine was emptied, and a node began before"
            );
            shared.replace_key(stands);
        }
    }
    Ok(())
}

/// Opens a connection to the engine whose life the node has adopted.
///
/// # Errors
///
/// [`EngineError`].
pub fn open_adopted(
    shared: &NodeShared,
    source: &dyn EngineSource,
) -> Result<Box<dyn Engine>, EngineError> {
    let mut engine = source.open()?;
    adopt(shared, &mut *engine)?;
    Ok(engine)
}

fn note_change(shared: &NodeShared, before: &super::call::Life, state: &LifeState, trusted: bool) {
    if state.life == *before {
        return;
    }
    let (era, n0, seen) = (state.life.era, state.n0, shared.seen());
    let run = &*state.life.run;
    match before.era == era || before.era == 0 {
        true => tracing::info!(run, era, n0, seen, "the engine's life is adopted"),
        false => tracing::warn!(
            run,
            era,
            n0,
            seen,
            trusted,
            "the engine may have lost something: each channel begins a new epoch"
        ),
    }
}
