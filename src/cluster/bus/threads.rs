//! The two threads of the bus, and how they rest in a freeze.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::ear::BusEar;
use super::log::BusReader;
use super::state::BusState;
use crate::base::rest::{RestOrder, RestPoint};
use crate::base::vital::{may_die_here, spawn_vital};
use crate::chat::Hearing;
use crate::cluster::engine::EngineSource;
use crate::cluster::shared::NodeShared;

/// Makes the parts of a bus, for whoever takes their turns without threads.
#[must_use]
pub fn parts(
    shared: Arc<NodeShared>,
    source: &Arc<dyn EngineSource>,
    hearing: &Arc<dyn Hearing>,
) -> (BusEar, BusReader, Arc<BusState>) {
    let state = Arc::new(BusState::new(shared));
    let ear = BusEar::new(Arc::clone(&state), Arc::clone(source), Arc::clone(hearing));
    let reader = BusReader::new(Arc::clone(&state), Arc::clone(source), Arc::clone(hearing));
    (ear, reader, state)
}

/// The threads of a bus.
#[derive(Debug)]
pub struct BusThreads {
    /// The way to them.
    pub state: Arc<BusState>,
    rests: [Arc<RestPoint>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl BusThreads {
    /// Starts the threads; `died` is called if one of them panics.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(
        shared: Arc<NodeShared>,
        source: &Arc<dyn EngineSource>,
        hearing: &Arc<dyn Hearing>,
        died: impl Fn(&'static str) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (mut ear, mut reader, state) = parts(shared, source, hearing);
        let rests = <[Arc<RestPoint>; 2]>::default();
        let (told, rest) = (Arc::clone(&state), Arc::clone(&rests[0]));
        let read_bus = move || {
            while !told.is_stopped() {
                may_die_here();
                rest_if_ordered(&rest);
                ear.turn();
            }
        };
        let ear_died = died.clone();
        let bus = spawn_vital("bus", read_bus, move || {
            ear_died("the thread that reads the bus has died");
        })?;
        let (told, rest) = (Arc::clone(&state), Arc::clone(&rests[1]));
        let read_log = move || {
            while !told.is_stopped() {
                may_die_here();
                rest_if_ordered(&rest);
                if !reader.turn() {
                    told.sleep(reader.rest());
                }
            }
        };
        let mut threads = Self {
            state,
            rests,
            threads: vec![bus],
        };
        let log = spawn_vital("catch-up", read_log, move || {
            died("the thread that reads the log for the bus has died");
        })?;
        threads.threads.push(log);
        Ok(threads)
    }

    /// Has both threads rest between two frames, or pages; the last one of them arrives.
    pub fn rest(&self, order: RestOrder) {
        let left = AtomicUsize::new(self.rests.len());
        let number = order.number();
        let both = RestOrder::new(number, move || {
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                order.arrive();
            }
        });
        for rest in &self.rests {
            rest.order(both.clone());
        }
        self.state.wake();
    }

    /// Has both go on.
    pub fn thaw(&self) {
        self.rests.iter().for_each(|rest| rest.thaw());
    }

    /// Ends the threads, and waits for that: a call of the engine that is under way has its time.
    pub fn end(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.state.stop();
        self.thaw();
        for thread in self.threads.drain(..) {
            // It told of its death itself.
            _ = thread.join();
        }
    }
}

fn rest_if_ordered(rest: &RestPoint) {
    if let Some(number) = rest.ordered() {
        rest.rest(number);
    }
}

impl Drop for BusThreads {
    fn drop(&mut self) {
        self.finish();
    }
}
