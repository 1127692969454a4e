//! Look-ups: questions whose answers may have to be waited for, since they stand in what the nodes of a
//! cluster share. They are asked on a thread of their own, so that neither a reactor nor a worker waits.
//!
//! The queue is bounded: a question too many is refused at once as `unavailable`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender};

use crate::api::refusal::Refusal;
use crate::base::metric::numbers;
use crate::base::rest::{RestOrder, RestPoint};
use crate::base::vital::may_die_here;
use crate::chat::ErrorCode;

/// A question, which answers itself.
type Question = Box<dyn FnOnce() + Send>;

/// What the thread does next.
enum LookupTurn {
    Ask(Question),
    /// It rests if it is to: nothing waits before this.
    Rest,
    End,
}

/// The way to the thread that asks.
pub(super) struct Lookups {
    turns: Sender<LookupTurn>,
    rest: RestPoint,
    lookups_max: usize,
    waiting: AtomicUsize,
    asked: AtomicU64,
    refused: AtomicU64,
}

/// What the thread has to ask, in order.
pub(super) struct LookupTurns(Receiver<LookupTurn>);

numbers! {
    /// Counters of look-ups, and the number of those that wait.
    pub(super) struct LookupStats {
        /// Questions that wait for the engine of the cluster.
        Gauge waiting,
        /// Questions that were taken.
        Counter asked,
        /// Questions that were refused since too many waited.
        Counter refused,
    }
}

impl Lookups {
    /// Makes a queue for so many questions, and the receiving end for the thread.
    pub(super) fn new(lookups_max: usize) -> (Self, LookupTurns) {
        // Bounded by `waiting`.
        let (turns, receiver) = crossbeam_channel::unbounded();
        let lookups = Self {
            turns,
            rest: RestPoint::default(),
            lookups_max,
            waiting: AtomicUsize::new(0),
            asked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        (lookups, LookupTurns(receiver))
    }

    /// Takes a place for one more question.
    pub(super) fn take_place(&self) -> Result<(), Refusal> {
        let max = self.lookups_max;
        let one_more = |waiting| (waiting < max).then_some(waiting + 1);
        match self.waiting.fetch_update(Relaxed, Relaxed, one_more) {
            Ok(_) => {
                self.asked.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(_) => {
                self.refused.fetch_add(1, Relaxed);
                let message = "too many questions wait for the cluster; try again later";
                Err(Refusal::new(ErrorCode::Unavailable, message))
            }
        }
    }

    /// Has a question asked that has a place.
    pub(super) fn put(&self, ask: impl FnOnce() + Send + 'static) {
        // After its end the thread takes nothing, and whoever waits learns by that.
        self.turns.send(LookupTurn::Ask(Box::new(ask))).ok();
    }

    /// Has the thread rest once every question is answered that waits.
    pub(super) fn rest(&self, order: RestOrder) {
        self.rest.order(order);
        self.turns.send(LookupTurn::Rest).ok();
    }

    /// Has the thread go on.
    pub(super) fn thaw(&self) {
        self.rest.thaw();
    }

    /// Ends the thread behind what waits.
    pub(super) fn stop(&self) {
        self.turns.send(LookupTurn::End).ok();
    }

    /// Asks what waits, one after the other, until the end.
    pub(super) fn run(&self, turns: &LookupTurns) {
        while let Ok(turn) = turns.0.recv() {
            match turn {
                LookupTurn::Ask(ask) => {
                    may_die_here();
                    ask();
                    self.waiting.fetch_sub(1, Relaxed);
                }
                LookupTurn::Rest => {
                    if let Some(number) = self.rest.ordered() {
                        self.rest.rest(number);
                    }
                }
                LookupTurn::End => break,
            }
        }
    }

    pub(super) fn stats(&self) -> LookupStats {
        LookupStats {
            waiting: self.waiting.load(Relaxed) as u64,
            asked: self.asked.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}
