//! What follows a call that took effect: it is seen to that it stays so, and the nodes that it reached are
//! told.

use std::sync::atomic::Ordering::Relaxed;

use super::{Attempt, CallOutcome, HeldCall, Pipe, REPLICAS_PATIENCE};
use crate::cluster::ClusterPromise;
use crate::cluster::call::Outcome;
use crate::cluster::engine::EngineError;
use crate::cluster::life;

impl Pipe {
    /// Makes sure that what was done stays done, and tells the nodes that it reached.
    pub(super) fn vouch(
        &mut self,
        held: &HeldCall,
        n: u64,
        outcomes: Vec<Outcome>,
        reached: Vec<u64>,
    ) -> Attempt {
        let settings = &self.shared.settings;
        if let (ClusterPromise::Replicated, Some(connection)) =
            (settings.promise, &mut self.connection)
        {
            // The call was a write on this connection, also if it came before: the wait is for it.
            match connection.engine.wait(settings.replicas, REPLICAS_PATIENCE) {
                Ok(replicas) if replicas >= settings.replicas => {}
                Ok(replicas) => {
                    self.shared.counters.waits_short.fetch_add(1, Relaxed);
                    // Another one may have been promoted meanwhile.
                    self.connection = None;
                    return Attempt::Later(format!("{replicas} replicas have the newest"));
                }
                Err(error) => {
                    self.note_lost(&error);
                    return Attempt::Later(error.to_string());
                }
            }
        }
        self.shared.note_safe(&held.call.life, n);
        if n < held.seen {
            self.owed_renewal = Some(held.call.life.clone());
        }
        if settings.promise != ClusterPromise::Fast && !reached.is_empty() {
            self.owe_mark(n, reached);
        }
        if let Err(error) = self.pay_owed() {
            self.note_lost(&error);
        }
        Attempt::Ended(CallOutcome::Done(outcomes))
    }

    fn owe_mark(&mut self, n: u64, mut nodes: Vec<u64>) {
        if let Some((before, owed)) = self.owed_mark.take() {
            nodes.extend(owed);
            nodes.sort_unstable();
            nodes.dedup();
            self.owed_mark = Some((n.max(before), nodes));
        } else {
            self.owed_mark = Some((n, nodes));
        }
    }

    /// Tells nodes what is safe, and ends the era of a life whose rollback is proven.
    pub(super) fn pay_owed(&mut self) -> Result<(), EngineError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let engine = &mut *connection.engine;
        if let Some((n, nodes)) = &self.owed_mark {
            engine.mark_safe(*n, nodes)?;
            self.owed_mark = None;
        }
        if let Some(life) = &self.owed_renewal {
            tracing::error!("the engine has lost calls that were safe");
            life::adopt(&self.shared, engine)?;
            if self.shared.life() == *life {
                engine.renew()?;
                life::adopt(&self.shared, engine)?;
            }
            connection.lives = self.shared.lives();
            self.owed_renewal = None;
        }
        Ok(())
    }
}
