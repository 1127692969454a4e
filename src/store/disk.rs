//! The disk thread: group commit.
//!
//! The thread receives the jobs that wait, appends the record of each, commits once, and then tells
//! each job its outcome, in the order in which the jobs were submitted. While the disk is busy, the
//! next batch gathers. Behind each batch it does one piece of the store's long work, and further ones
//! while nobody waits, with a pause before each: a message may be on its way through another thread
//! that waits for the same core.
//!
//! [`Disk::submit`] never waits: the queue has no bound of its own, and [`Disk::pressure`] tells
//! when the submitters have to pause.
//!
//! The thread owns what its jobs need besides themselves, their [`DiskJob::Context`]. A context may
//! hold a clone of the [`Disk`], so that jobs can submit others; then the thread ends only by
//! [`Disk::end`], which its owner has to call.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Store;
use super::commit_delay::CommitDelay;
use super::disk_job::{DiskJob, JobOutcomes};
use super::error::StoreError;
use super::job_queue::{JobPutter, JobTaker, Taken, job_queue};
use super::piece::Upkeep;
use super::record::{Appended, Record};
use super::settings::StoreSettings;
use crate::base::RolloutPart;
use crate::base::clock::unix_ms;
use crate::base::pressure::{Pressure, Watermarks};
use crate::base::rest::{RestOrder, RestPoint};
use crate::base::sync::lock;
use crate::base::vital::{may_die_here, spawn_vital};
use crate::handover::SectionWriter;

/// Time between two rounds of maintenance: short enough that a disk which has room again is used at
/// once.
const MAINTAIN_EVERY: Duration = Duration::from_millis(100);

/// Pause between two pieces of long work while no job comes. A system may let a thread that is woken wait
/// until the running one sleeps, or for a tick of 4 ms: without pauses a message would wait for many
/// pieces. About half as long as a piece.
pub(super) const BETWEEN_PIECES: Duration = Duration::from_micros(100);

/// Time between two looks whether a sync aside is over: it takes about as long.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Bounds of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSettings {
    /// The levels at which submitters pause and go on. Default 65,536 records or 64 MiB, and a
    /// quarter of that: some seconds of a slow disk.
    pub marks: Watermarks,
    /// Records that one commit takes at the most; one job may exceed the bound. Default 8,192: the
    /// first of them waits some milliseconds for the others.
    pub batch_records_max: usize,
    /// Bytes that one commit takes at the most; one job may exceed the bound. Default 8 MiB, which
    /// a disk writes in some tens of milliseconds.
    pub batch_bytes_max: usize,
    /// Longest wait of a batch for senders whose last job was answered just now, in hundredths of
    /// the last commit's time; 0 doesn't wait. Default 100. Without this delay, senders who each
    /// wait for an answer fall into two halves that take turns, and every sync carries only half of
    /// them. Where they take longer, or send at random, the delay is mostly left out.
    pub commit_delay_percent: u32,
    /// Microseconds of that delay at the most. Default 2,000: a slow disk shall not delay every
    /// message by as much again.
    pub commit_delay_us_max: u32,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            marks: Watermarks {
                items_high: 65_536,
                items_low: 16_384,
                bytes_high: 64 << 20,
                bytes_low: 16 << 20,
            },
            batch_records_max: 8_192,
            batch_bytes_max: 8 << 20,
            commit_delay_percent: 100,
            commit_delay_us_max: 2_000,
        }
    }
}

/// Whether the store takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The store takes records.
    Good,
    /// The store takes none until there is room again.
    Full,
    /// The store takes none until the file is reopened and verified.
    Failed,
}

/// The way to the disk thread; cloned freely.
#[derive(Debug)]
pub struct Disk<J> {
    jobs: Arc<JobPutter<J>>,
    shared: Arc<DiskShared>,
}

/// The other end of a [`Disk`], before its thread runs. Without [`DiskQueue::start`], submitted
/// jobs wait, and are dropped together with the queue.
#[derive(Debug)]
pub struct DiskQueue<J> {
    settings: DiskSettings,
    waiting: JobTaker<J>,
    shared: Arc<DiskShared>,
}

/// The state that the thread and the submitters share.
#[derive(Debug)]
struct DiskShared {
    pressure: Arc<Pressure>,
    condition: AtomicU8,
    progress: Mutex<DiskProgress>,
    more_done: Condvar,
    rest: RestPoint,
    /// What the store wrote down when the thread came to rest.
    handed_over: Mutex<Option<SectionWriter>>,
    /// Other settings that the thread hasn't taken yet.
    order: Mutex<Option<DiskOrder>>,
    has_order: AtomicBool,
}

/// Other settings for the thread and its store.
#[derive(Debug)]
struct DiskOrder {
    settings: DiskSettings,
    store: StoreSettings,
    /// Dropped once they are in force.
    _part: RolloutPart,
}

/// How far the thread has come.
#[derive(Debug, Default)]
struct DiskProgress {
    /// Jobs that were told their outcome.
    done: u64,
    /// Nothing more will be done: the thread has died.
    is_dead: bool,
}

impl<J> Clone for Disk<J> {
    fn clone(&self) -> Self {
        Self {
            jobs: Arc::clone(&self.jobs),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<J: DiskJob> Disk<J> {
    /// Makes both ends of a queue, apart from the thread, since the context that the thread will
    /// own may need the first end.
    #[must_use]
    pub fn new(settings: DiskSettings) -> (Self, DiskQueue<J>) {
        let (jobs, waiting) = job_queue();
        let shared = Arc::new(DiskShared {
            pressure: Arc::new(Pressure::new(settings.marks)),
            condition: AtomicU8::new(Condition::Good as u8),
            progress: Mutex::default(),
            more_done: Condvar::new(),
            rest: RestPoint::default(),
            handed_over: Mutex::default(),
            order: Mutex::default(),
            has_order: AtomicBool::new(false),
        });
        let queue = DiskQueue {
            settings,
            waiting,
            shared: Arc::clone(&shared),
        };
        let jobs = Arc::new(jobs);
        (Self { jobs, shared }, queue)
    }

    /// Submits a job to the disk thread. Jobs that one thread submits stay in their order.
    pub fn submit(&self, job: J) {
        self.shared.pressure.add(job.records(), job.size());
        if let Err(job) = self.jobs.put(job) {
            // After the end or the death of the thread the job is dropped, and whoever waits learns
            // by that.
            self.shared.forget_waiting();
            drop(job);
        }
    }

    /// Puts other settings into force, before the next batch; the marks of the queue stay. `part` is the
    /// thread's, which drops it then. Settings that it hasn't taken by then are forgotten.
    pub fn set_settings(&self, settings: DiskSettings, store: StoreSettings, part: RolloutPart) {
        let order = DiskOrder {
            settings,
            store,
            _part: part,
        };
        if lock(&self.shared.progress).is_dead {
            return;
        }
        let earlier = lock(&self.shared.order).replace(order);
        self.shared.has_order.store(true, Ordering::Release);
        self.jobs.stir();
        drop(earlier);
    }

    /// Ends the thread once every job is done that was submitted before.
    pub fn end(&self) {
        self.jobs.close();
    }

    /// Has the thread rest once every job is done that was submitted, those among them that others
    /// submitted when they were done; nothing is under way then.
    pub fn rest(&self, order: RestOrder) {
        let number = order.number();
        self.shared.rest.order(order);
        self.jobs.order_rest(number);
    }

    /// Has the thread go on, or not rest at all.
    pub fn thaw(&self) {
        self.jobs.thaw();
        self.shared.rest.thaw();
    }

    /// Takes what the store wrote down when the thread came to rest, if it did.
    #[must_use]
    pub fn take_handed_over(&self) -> Option<SectionWriter> {
        lock(&self.shared.handed_over).take()
    }

    /// Waits until every job is done that was submitted before, but no longer than `patience`:
    /// `false` when one isn't in time, or never will be since the thread has died.
    #[must_use]
    pub fn wait_until_done(&self, patience: Duration) -> bool {
        let submitted = self.jobs.count();
        let progress = lock(&self.shared.progress);
        let waits = |progress: &mut DiskProgress| progress.done < submitted && !progress.is_dead;
        let waited = (self.shared.more_done).wait_timeout_while(progress, patience, waits);
        waited.is_ok_and(|(progress, _)| progress.done >= submitted)
    }

    /// Returns the level of the queue, and whether submitters should pause.
    #[must_use]
    pub fn pressure(&self) -> &Arc<Pressure> {
        &self.shared.pressure
    }

    /// Returns whether the store took its last records, and if not, why.
    #[must_use]
    pub fn condition(&self) -> Condition {
        match self.shared.condition.load(Ordering::Acquire) {
            0 => Condition::Good,
            1 => Condition::Full,
            _ => Condition::Failed,
        }
    }
}

impl<J: DiskJob> DiskQueue<J> {
    /// Starts the thread. The thread ends, with every job done that was submitted, at [`Disk::end`]
    /// or once all clones of the [`Disk`] are gone.
    ///
    /// The thread calls `on_low` when those who paused may go on. If it dies, what waits is dropped,
    /// and it calls `on_death`, last.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn start(
        self,
        store: Box<dyn Store>,
        context: J::Context,
        on_low: impl Fn() + Send + 'static,
        on_death: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let Self {
            settings,
            waiting,
            shared,
        } = self;
        let died = Arc::clone(&shared);
        let thread = DiskThread {
            store,
            context,
            settings,
            waiting,
            next: VecDeque::new(),
            shared,
            on_low,
            batch: Vec::new(),
            appended: Vec::new(),
            delay: CommitDelay::new(settings.commit_delay_percent, settings.commit_delay_us_max),
            told: 0,
            maintained: Instant::now(),
            upkeep: Upkeep::Nothing,
        };
        let run = move || thread.run();
        spawn_vital("disk", run, move || {
            died.die();
            on_death();
        })
    }
}

impl DiskShared {
    /// Notes that nothing more will be done.
    fn die(&self) {
        self.condition
            .store(Condition::Failed as u8, Ordering::Release);
        self.forget_waiting();
        lock(&self.progress).is_dead = true;
        self.forget_order();
        self.more_done.notify_all();
    }

    /// Lets nobody wait for settings that are never taken.
    fn forget_order(&self) {
        let order = lock(&self.order).take();
        drop(order);
    }

    /// Lets nobody pause for jobs that were dropped together with the queue.
    fn forget_waiting(&self) {
        // One at a time: no more is taken than was added.
        let _progress = lock(&self.progress);
        let (items, bytes) = (self.pressure.items(), self.pressure.bytes());
        // Nobody who pauses has to be woken: the server ends, and says so to all.
        _ = self.pressure.take(items, bytes);
    }
}

struct DiskThread<J: DiskJob, F> {
    store: Box<dyn Store>,
    context: J::Context,
    settings: DiskSettings,
    waiting: JobTaker<J>,
    /// What was taken from the queue and is in no batch yet.
    next: VecDeque<J>,
    shared: Arc<DiskShared>,
    on_low: F,
    batch: Vec<J>,
    /// What the store said of each record of the batch.
    appended: Vec<Result<Appended, StoreError>>,
    delay: CommitDelay,
    /// The jobs of the last batch, whose outcomes were told.
    told: usize,
    maintained: Instant,
    upkeep: Upkeep,
}

impl<J: DiskJob, F: Fn()> DiskThread<J, F> {
    fn run(mut self) {
        J::begins(&self.context);
        loop {
            may_die_here();
            if self.shared.has_order.load(Ordering::Relaxed) {
                self.take_order();
            }
            if self.next.is_empty() {
                let until = self.next_look();
                match self.waiting.take(&mut self.next, until, self.told) {
                    Taken::End => break,
                    Taken::Rest { number } => {
                        self.rest(number);
                        continue;
                    }
                    Taken::Nothing => self.told = 0,
                    Taken::Jobs => {}
                }
            }
            if !self.next.is_empty() {
                self.receive_batch();
                self.commit();
            }
            if self.maintained.elapsed() >= MAINTAIN_EVERY {
                self.maintain();
            }
            self.upkeep = self.store.upkeep();
        }
        self.shared.forget_order();
    }

    fn take_order(&mut self) {
        self.shared.has_order.store(false, Ordering::Relaxed);
        let Some(order) = lock(&self.shared.order).take() else {
            return;
        };
        let DiskSettings {
            commit_delay_percent,
            commit_delay_us_max,
            ..
        } = order.settings;
        self.settings = order.settings;
        (self.delay).set_max(commit_delay_percent, commit_delay_us_max);
        self.store.set_settings(order.store);
    }

    /// Rests with nothing under way.
    fn rest(&mut self, number: u64) {
        if self.shared.rest.ordered() != Some(number) {
            return;
        }
        self.store.rest();
        *lock(&self.shared.handed_over) = self.store.hand_over();
        self.shared.rest.rest(number);
        let unwanted = lock(&self.shared.handed_over).take();
        drop(unwanted);
    }

    /// Returns the time at which the thread goes on, if no job comes before.
    fn next_look(&self) -> Instant {
        let maintenance = self.maintained + MAINTAIN_EVERY;
        match self.upkeep {
            Upkeep::Nothing => maintenance,
            Upkeep::More => maintenance.min(Instant::now() + BETWEEN_PIECES),
            Upkeep::Waits => maintenance.min(Instant::now() + LOOK_AGAIN),
        }
    }

    /// Appends the records of the next jobs.
    fn receive_batch(&mut self) {
        let now_ms = unix_ms();
        let mut bytes = 0;
        while let Some(job) = self.next_job() {
            bytes += job.size();
            let is_last = self.append(now_ms, &job);
            self.batch.push(job);
            if is_last
                || self.appended.len() >= self.settings.batch_records_max
                || bytes >= self.settings.batch_bytes_max
            {
                break;
            }
        }
        self.delay.gathered(self.batch.len());
        if self.shared.pressure.take(self.appended.len(), bytes) {
            (self.on_low)();
        }
    }

    /// Takes the next job, and waits for one that is expected soon.
    fn next_job(&mut self) -> Option<J> {
        if self.next.is_empty() && self.waiting.take_now(&mut self.next) == Taken::Nothing {
            let until = self.delay.until(self.batch.len())?;
            self.waiting.take(&mut self.next, until, self.told);
        }
        self.next.pop_front()
    }

    /// Appends the records of a job; whether the batch has to end with it. The record of a job
    /// behind a `Forget` may depend on its channel being gone, as the epoch of a new one does.
    fn append(&mut self, now_ms: u64, job: &J) -> bool {
        let mut forgets = false;
        for place in 0..job.records() {
            let record = job.record(place, &self.context);
            debug_assert!(!forgets, "a job that forgets something does nothing else");
            forgets = matches!(record, Record::Forget { .. });
            let appended = self.store.append(now_ms, &record);
            if appended.is_err() {
                job.refused();
            }
            self.appended.push(appended);
        }
        forgets
    }

    /// Commits the batch, and tells each job its outcome.
    fn commit(&mut self) {
        let begun = Instant::now();
        let committed = self.store.commit();
        let entered = self.store.settle(&mut self.appended);
        let here = self.batch.len() + self.next.len() + self.waiting.len();
        self.delay.committed(begun.elapsed(), here);
        if let Err(error) = &committed {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "a batch could not be stored"
            );
        }
        let refused = self.appended.iter().find_map(|one| one.as_ref().err());
        self.note_condition(committed.as_ref().err().or(refused));
        self.told = self.batch.len();
        let mut rest = &*self.appended;
        for job in self.batch.drain(..) {
            let (appended, others) = rest.split_at(job.records());
            rest = others;
            let outcomes = JobOutcomes {
                appended,
                committed: &committed,
                entered: &entered,
            };
            job.done(&self.context, outcomes);
        }
        J::all_done(&self.context);
        self.appended.clear();
        self.delay.answered(Instant::now());
        lock(&self.shared.progress).done += self.told as u64;
        self.shared.more_done.notify_all();
    }

    fn maintain(&mut self) {
        let maintained = self.store.maintain(unix_ms());
        if let Err(error) = &maintained {
            tracing::debug!(
                error = error as &dyn std::error::Error,
                "the store takes nothing now"
            );
        }
        self.note_condition(maintained.as_ref().err());
        self.maintained = Instant::now();
    }

    fn note_condition(&self, error: Option<&StoreError>) {
        let condition = match error {
            Some(
                StoreError::DiskFull { .. } | StoreError::Full { .. } | StoreError::LogFull(_),
            ) => Condition::Full,
            Some(
                StoreError::Failed { .. } | StoreError::Damaged { .. } | StoreError::Io { .. },
            ) => Condition::Failed,
            Some(_) | None => Condition::Good,
        };
        let was = self
            .shared
            .condition
            .swap(condition as u8, Ordering::AcqRel);
        if was != condition as u8 {
            tracing::warn!(?condition, "the store's condition changed");
        }
    }
}
