//! The board of a freeze: where each thread notes how far it is, and where it rests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mio::Waker;

use super::errand::FreezeHolder;
use super::frozen::FrozenReactor;
use super::gate::CallGate;
use crate::base::rest::{RestOrder, RestPoint};
use crate::base::sync::lock;
use crate::handover::SectionWriter;
use crate::net::frame_table::FrameTable;
use crate::net::freeze::{FreezeProgress, UnansweredRequest};

/// What the threads of a server tell its main thread of a freeze.
#[derive(Debug)]
pub(in crate::server) struct FreezeBoard {
    notes: Arc<BoardNotes>,
    reactors: Vec<RestPoint>,
    workers: Vec<RestPoint>,
    /// The frames that the reactors share, of the present freeze.
    frames: Mutex<Arc<FrameTable>>,
    /// Where the calls of foreign threads wait.
    pub(in crate::server) gate: CallGate,
    /// Whether commands are dropped: nobody gives any but a function that only may look.
    is_muted: AtomicBool,
}

#[derive(Debug)]
struct BoardNotes {
    standings: Mutex<Standings>,
    main: Arc<Waker>,
}

/// How far everybody is. A number is that of the last freeze in which it was so; none is 0.
#[derive(Debug, Default)]
struct Standings {
    reactors: Vec<ReactorStanding>,
    workers: Vec<WorkerStanding>,
    parts: Vec<u64>,
}

#[derive(Debug, Default)]
struct WorkerStanding {
    rests: u64,
    waiting: SectionWriter,
}

#[derive(Debug, Default)]
struct ReactorStanding {
    hushed: u64,
    unanswered: Option<UnansweredRequest>,
    rests: u64,
    still: u64,
    frozen: FrozenReactor,
}

impl FreezeBoard {
    /// Makes the board of so many threads and parts.
    pub(in crate::server) fn new(
        reactors: usize,
        workers: usize,
        parts: usize,
        main: Arc<Waker>,
    ) -> Self {
        let points = |count| std::iter::repeat_with(RestPoint::default).take(count);
        let standings = Standings {
            reactors: (0..reactors).map(|_| ReactorStanding::default()).collect(),
            workers: (0..workers).map(|_| WorkerStanding::default()).collect(),
            parts: vec![0; parts],
        };
        Self {
            notes: Arc::new(BoardNotes {
                standings: Mutex::new(standings),
                main,
            }),
            reactors: points(reactors).collect(),
            workers: points(workers).collect(),
            frames: Mutex::default(),
            gate: CallGate::default(),
            is_muted: AtomicBool::new(false),
        }
    }

    /// Calls a function that may only look, while all stands still: the commands that it gives are dropped.
    pub(in crate::server) fn mute<T>(&self, look: impl FnOnce() -> T) -> T {
        // This thread alone runs, and it has both of them done.
        self.is_muted.store(true, Ordering::Relaxed);
        let looked = look();
        self.is_muted.store(false, Ordering::Relaxed);
        looked
    }

    /// Whether commands are dropped.
    pub(in crate::server) fn is_muted(&self) -> bool {
        self.is_muted.load(Ordering::Relaxed)
    }

    /// Notes how far a reactor is.
    pub(in crate::server) fn note(&self, reactor: usize, number: u64, progress: FreezeProgress) {
        self.notes.note(|standings| {
            let standing = &mut standings.reactors[reactor];
            match progress {
                FreezeProgress::Hushed { unanswered } => {
                    standing.hushed = number;
                    standing.unanswered = unanswered;
                }
                FreezeProgress::Rests => standing.rests = number,
            }
        });
    }

    /// Has a reactor that stands still rest until the thaw.
    pub(in crate::server) fn rest_reactor(&self, id: usize, number: u64, frozen: FrozenReactor) {
        lock(&self.notes.standings).reactors[id].frozen = frozen;
        self.reactors[id].rest(number);
    }

    /// Has a worker rest that has come to the order in its queue; the events in `waiting` wait there for
    /// their connections' turns.
    pub(in crate::server) fn rest_worker(&self, id: usize, number: u64, waiting: SectionWriter) {
        lock(&self.notes.standings).workers[id].waiting = waiting;
        self.workers[id].rest(number);
    }

    /// The frames that the reactors share which stand still.
    pub(in crate::server) fn frames(&self) -> Arc<FrameTable> {
        Arc::clone(&lock(&self.frames))
    }

    /// Lets go of the frames: outboxes alone keep them from now on.
    pub(super) fn forget_frames(&self) {
        *lock(&self.frames) = Arc::default();
    }

    /// Puts the orders in force at which the reactors rest.
    pub(super) fn order_reactors(&self, number: u64) {
        *lock(&self.frames) = Arc::default();
        for (id, point) in self.reactors.iter().enumerate() {
            let notes = Arc::clone(&self.notes);
            let arrived = move || notes.note(|one| one.reactors[id].still = number);
            point.order(RestOrder::new(number, arrived));
        }
    }

    /// Puts the orders in force at which the workers rest.
    pub(super) fn order_workers(&self, number: u64) {
        for (id, point) in self.workers.iter().enumerate() {
            let notes = Arc::clone(&self.notes);
            let arrived = move || notes.note(|one| one.workers[id].rests = number);
            point.order(RestOrder::new(number, arrived));
        }
    }

    /// Makes the order at which a part rests.
    pub(super) fn order_of_part(&self, part: usize, number: u64) -> RestOrder {
        let notes = Arc::clone(&self.notes);
        RestOrder::new(number, move || notes.note(|one| one.parts[part] = number))
    }

    pub(super) fn thaw_reactors(&self) {
        self.reactors.iter().for_each(RestPoint::thaw);
    }

    pub(super) fn thaw_workers(&self) {
        self.workers.iter().for_each(RestPoint::thaw);
    }

    /// The first reactor that isn't hushed.
    pub(super) fn unhushed(&self, number: u64) -> Option<FreezeHolder> {
        self.first_reactor(|standing| standing.hushed != number)
    }

    /// The request that has been unanswered for longest.
    pub(super) fn unanswered(&self) -> Option<FreezeHolder> {
        let standings = lock(&self.notes.standings);
        let requests = standings.reactors.iter().filter_map(|one| one.unanswered);
        let oldest = requests.max_by_key(|request| request.age_ms);
        oldest.map(FreezeHolder::Request)
    }

    /// The first thread on which a callback may run.
    pub(super) fn running(&self, number: u64) -> Option<FreezeHolder> {
        if self.workers.is_empty() {
            return self.first_reactor(|standing| standing.rests != number);
        }
        let workers = &lock(&self.notes.standings).workers;
        let running = workers.iter().position(|one| one.rests != number);
        running.map(FreezeHolder::Worker)
    }

    /// Whether a part rests.
    pub(super) fn does_part_rest(&self, part: usize, number: u64) -> bool {
        lock(&self.notes.standings).parts[part] == number
    }

    /// The first reactor that doesn't stand still.
    pub(super) fn turning(&self, number: u64) -> Option<FreezeHolder> {
        self.first_reactor(|standing| standing.still != number)
    }

    /// Takes what the reactors have noted that stand still.
    pub(super) fn take_frozen(&self) -> Vec<FrozenReactor> {
        let standings = &mut lock(&self.notes.standings).reactors;
        let frozen = standings.iter_mut();
        frozen.map(|one| std::mem::take(&mut one.frozen)).collect()
    }

    /// Takes what the workers have noted that rest.
    pub(super) fn take_waiting(&self) -> Vec<SectionWriter> {
        let standings = &mut lock(&self.notes.standings).workers;
        let waiting = standings.iter_mut();
        waiting
            .map(|one| std::mem::take(&mut one.waiting))
            .collect()
    }

    fn first_reactor(&self, is_it: impl Fn(&ReactorStanding) -> bool) -> Option<FreezeHolder> {
        let reactors = &lock(&self.notes.standings).reactors;
        reactors.iter().position(is_it).map(FreezeHolder::Reactor)
    }
}

impl BoardNotes {
    fn note(&self, change: impl FnOnce(&mut Standings)) {
        change(&mut lock(&self.standings));
        if let Err(error) = self.main.wake() {
            tracing::error!(%error, "the main thread can't be woken");
        }
    }
}
