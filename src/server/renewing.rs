//! The renewals, as the main thread drives them: the callbacks are made anew, then each thread that runs
//! them gets the new ones, one after another, and then each process gets a successor.
//!
//! The main thread waits for nobody: [`Renewing::advance`] looks at what has happened, and
//! [`Renewing::deadline`] says when it looks again at the latest.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::handler_set::{BoxError, HandlersSource};
use super::handlers::Handlers;
use super::process::Supervisor;
use super::renewal::{Renewal, RenewalError, RenewalOutcome};
use super::runner::Runner;
use super::shared::ServerShared;
use super::threads::{CallbackThread, GivenOrder, ServerThreads, spawn};

/// The renewals of a server.
pub(super) struct Renewing {
    source: Arc<HandlersSource>,
    /// Longest time that a thread may take to come to its order, in milliseconds.
    renew_ms_max: u64,
    /// The number of the last order.
    orders: u64,
    under_way: Option<UnderWay>,
}

/// The parts of a server that are renewed.
pub(super) struct RenewedParts<'a> {
    pub(super) shared: &'a Arc<ServerShared>,
    pub(super) threads: &'a mut ServerThreads,
    pub(super) supervisor: &'a mut Supervisor,
    /// The main thread's own.
    pub(super) runner: &'a mut Runner,
}

struct UnderWay {
    renewal: Renewal,
    outcome: RenewalOutcome,
    stage: RenewalStage,
}

/// The steps of a renewal, in their order.
enum RenewalStage {
    /// A thread makes the callbacks, until then at the latest.
    Making(Receiver<Result<Arc<Handlers>, BoxError>>, Instant),
    /// The threads take them.
    Threads(ThreadsLeft),
    /// The processes are replaced.
    Processes,
}

/// The threads that have still to be renewed.
struct ThreadsLeft {
    handlers: Arc<Handlers>,
    left: VecDeque<CallbackThread>,
    /// The one that has its order, and the end of its time.
    present: Option<(CallbackThread, GivenOrder, Instant)>,
}

/// Whether a step of a renewal is over.
enum Step {
    Waits,
    Next(RenewalStage),
    End(Result<(), RenewalError>),
}

impl Renewing {
    pub(super) fn new(source: Arc<HandlersSource>, renew_ms_max: u64) -> Self {
        Self {
            source,
            renew_ms_max,
            orders: 0,
            under_way: None,
        }
    }

    /// Whether no renewal is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Returns the latest moment at which [`Renewing::advance`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.under_way.as_ref()?.stage {
            RenewalStage::Making(_, until) => Some(*until),
            RenewalStage::Threads(threads) => threads.present.as_ref().map(|(.., until)| *until),
            // The supervisor has its own.
            RenewalStage::Processes => None,
        }
    }

    /// Goes on as far as it goes without waiting; begins what was asked for.
    pub(super) fn advance(&mut self, now: Instant, mut parts: RenewedParts<'_>) {
        loop {
            let Some(mut under_way) = self
                .under_way
                .take()
                .or_else(|| self.begin(now, parts.shared))
            else {
                return;
            };
            match self.step(now, &mut under_way, &mut parts) {
                Step::Waits => {
                    self.under_way = Some(under_way);
                    return;
                }
                Step::Next(stage) => self.under_way = Some(UnderWay { stage, ..under_way }),
                Step::End(how) => under_way.end(how),
            }
        }
    }

    /// Leaves what is under way half done, and refuses what was asked for, since the server stops.
    pub(super) fn stop(&mut self, parts: RenewedParts<'_>) {
        parts.shared.main.renewals.close();
        let Some(mut under_way) = self.under_way.take() else {
            return;
        };
        if let RenewalStage::Threads(threads) = &mut under_way.stage
            && let Some((_, order, _)) = threads.present.take()
        {
            parts.threads.cancel(&order);
        }
        under_way.end(Err(RenewalError::Stopping));
    }

    fn renew_max(&self) -> Duration {
        Duration::from_millis(self.renew_ms_max)
    }

    /// Begins the next renewal that was asked for, if there is one and it can begin.
    fn begin(&self, now: Instant, shared: &Arc<ServerShared>) -> Option<UnderWay> {
        let renewal = shared.main.renewals.take()?;
        tracing::info!("renewing the workers and the processes");
        let (made, receiver) = bounded(1);
        let (source, shared) = (Arc::clone(&self.source), Arc::clone(shared));
        // It may read files and connect to others, which the main thread mustn't wait for.
        let make = move || {
            // One that comes too late is wanted by nobody.
            drop(made.send(source.make()));
            shared.main.wake();
        };
        if let Err(error) = spawn("handlers".into(), make) {
            refuse(&renewal, no_thread(&error));
            return None;
        }
        Some(UnderWay {
            renewal,
            outcome: RenewalOutcome::default(),
            stage: RenewalStage::Making(receiver, now + self.renew_max()),
        })
    }

    fn step(
        &mut self,
        now: Instant,
        under_way: &mut UnderWay,
        parts: &mut RenewedParts<'_>,
    ) -> Step {
        let outcome = &mut under_way.outcome;
        match &mut under_way.stage {
            RenewalStage::Making(made, until) => match made.try_recv() {
                Ok(Ok(handlers)) => Step::Next(RenewalStage::Threads(ThreadsLeft {
                    handlers,
                    left: parts.threads.with_callbacks().into(),
                    present: None,
                })),
                Ok(Err(error)) => Step::End(Err(RenewalError::Handlers(error.to_string()))),
                Err(TryRecvError::Empty) if now < *until => Step::Waits,
                Err(_) => Step::End(Err(RenewalError::Slow(self.renew_ms_max))),
            },
            RenewalStage::Threads(threads) => self.renew_threads(now, threads, outcome, parts),
            RenewalStage::Processes if parts.supervisor.is_renewing() => Step::Waits,
            RenewalStage::Processes => {
                let (renewed, failed) = parts.supervisor.take_renewed();
                outcome.processes_renewed = renewed;
                outcome.processes_failed = failed;
                Step::End(Ok(()))
            }
        }
    }

    fn renew_threads(
        &mut self,
        now: Instant,
        threads: &mut ThreadsLeft,
        outcome: &mut RenewalOutcome,
        parts: &mut RenewedParts<'_>,
    ) -> Step {
        loop {
            if let Some((thread, order, until)) = &threads.present {
                if order.is_done() {
                    outcome.workers_renewed += usize::from(counts(*thread, parts.shared));
                } else if now < *until {
                    return Step::Waits;
                } else {
                    let keeps_its_callbacks = parts.threads.cancel(order);
                    let thread = thread.name();
                    tracing::error!(thread, keeps_its_callbacks, "stuck in a callback");
                    outcome.threads_stuck.push(thread);
                }
                threads.present = None;
            }
            let Some(thread) = threads.left.pop_front() else {
                break;
            };
            self.orders += 1;
            let order = (parts.threads).renew(thread, self.orders, &threads.handlers);
            match order {
                Ok(order) => threads.present = Some((thread, order, now + self.renew_max())),
                Err(error) => return Step::End(Err(no_thread(&error))),
            }
        }
        if outcome.threads_stuck.is_empty() {
            // Nobody has the old ones any more.
            parts.runner.renew(Arc::clone(&threads.handlers));
        }
        parts.supervisor.renew(now);
        Step::Next(RenewalStage::Processes)
    }
}

impl UnderWay {
    fn end(self, how: Result<(), RenewalError>) {
        match how {
            Ok(()) if self.outcome.is_complete() => tracing::info!("{}", self.outcome),
            Ok(()) => tracing::error!("{}", self.outcome),
            Err(error) => return refuse(&self.renewal, error),
        }
        self.renewal.end(Ok(self.outcome));
    }
}

/// Whether a thread that was renewed is one of the workers, or stands for one.
fn counts(thread: CallbackThread, shared: &ServerShared) -> bool {
    matches!(thread, CallbackThread::Worker(_)) || shared.workers.is_empty()
}

fn refuse(renewal: &Renewal, error: RenewalError) {
    tracing::error!("nothing more is renewed: {error}");
    renewal.end(Err(error));
}

fn no_thread(error: &io::Error) -> RenewalError {
    RenewalError::Thread(error.to_string())
}
