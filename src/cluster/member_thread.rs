//! The thread that beats, and judges by the beats of others.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use super::membership::Membership;
use crate::base::rest::{RestOrder, RestPoint};
use crate::base::vital::{may_die_here, spawn_vital};

/// The thread of a node's membership.
pub struct MemberThread {
    rest: Arc<RestPoint>,
    is_leaving: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl MemberThread {
    /// Starts the thread, which calls `each_turn` some times a second while the engine is there, and once a
    /// call's time while it isn't; `died` is called if it panics.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(
        mut membership: Membership,
        mut each_turn: impl FnMut() + Send + 'static,
        died: impl FnOnce(&'static str) + Send + 'static,
    ) -> io::Result<Self> {
        let (rest, is_leaving) = (Arc::<RestPoint>::default(), Arc::<AtomicBool>::default());
        let (rests, leaves) = (Arc::clone(&rest), Arc::clone(&is_leaving));
        let run = move || {
            while !leaves.load(Relaxed) {
                may_die_here();
                match rests.ordered() {
                    Some(number) => _ = rests.rest(number),
                    None => membership.turn(),
                }
                each_turn();
            }
            membership.leave();
        };
        let thread = spawn_vital("membership", run, || {
            died("the thread that keeps the node in its cluster has died");
        })?;
        Ok(Self {
            rest,
            is_leaving,
            thread,
        })
    }

    /// Has the thread rest.
    pub fn rest(&self, order: RestOrder) {
        self.rest.order(order);
    }

    /// Has the thread go on.
    pub fn thaw(&self) {
        self.rest.thaw();
    }

    /// Takes the node out of the cluster, and ends the thread.
    pub fn leave(self) {
        self.is_leaving.store(true, Relaxed);
        self.rest.thaw();
        // If it has died, it said so.
        self.thread.join().ok();
    }
}

impl fmt::Debug for MemberThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberThread").finish_non_exhaustive()
    }
}
