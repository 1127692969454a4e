//! Threads of which only one runs at a time, on a clock that stands still while it does: who holds the baton.
//!
//! A thread gives the baton back where it waits. Who gets it next is left to the caller, so a seed decides
//! it. A thread can be frozen, or ended where it waits, as a kill does.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidings::cluster::clock::Clock;

/// The time of day at which every world begins.
const BEGIN_UNIX_MS: u64 = 1_700_000_000_000;

thread_local! {
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The baton, and all who run for it.
pub struct Baton {
    state: Mutex<State>,
    given_back: Condvar,
    begin: Instant,
}

struct State {
    now: u64,
    holder: Option<usize>,
    runners: Vec<Runner>,
    spoilt: Option<Box<dyn Any + Send>>,
}

struct Runner {
    group: usize,
    wakes_at: u64,
    /// Whether the thread waits for something to do.
    rests: bool,
    is_frozen: bool,
    is_killed: bool,
    has_ended: bool,
    turn: Arc<Condvar>,
    thread: Option<JoinHandle<()>>,
}

/// What a thread that is killed unwinds with.
struct Killed;

impl Baton {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                now: 0,
                holder: None,
                runners: Vec::new(),
                spoilt: None,
            }),
            given_back: Condvar::new(),
            begin: Instant::now(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Milliseconds since the world began.
    pub fn now(&self) -> u64 {
        self.lock().now
    }

    pub fn unix_ms(&self) -> u64 {
        BEGIN_UNIX_MS + self.now()
    }

    /// One thread more, of a group that can be frozen and killed together.
    pub fn spawn(self: &Arc<Self>, group: usize, run: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        let (number, now) = (state.runners.len(), state.now);
        let turn = Arc::new(Condvar::new());
        state.runners.push(Runner {
            group,
            wakes_at: now,
            rests: false,
            is_frozen: false,
            is_killed: false,
            has_ended: false,
            turn: Arc::clone(&turn),
            thread: None,
        });
        let baton = Arc::clone(self);
        let thread = thread::spawn(move || {
            OWN.set(Some(number));
            let ran = catch_unwind(AssertUnwindSafe(|| {
                baton.await_turn(number, &turn);
                run();
            }));
            let mut state = baton.lock();
            state.runners[number].has_ended = true;
            if let Err(why) = ran
                && !why.is::<Killed>()
            {
                state.spoilt.get_or_insert(why);
            }
            state.holder = None;
            drop(state);
            baton.given_back.notify_one();
        });
        state.runners[number].thread = Some(thread);
    }

    /// Waits for so long, on the thread that holds the baton.
    pub fn pause(&self, ms: u64) {
        self.wait(ms, false);
    }

    /// The same, or until there is something to do.
    pub fn rest(&self, ms: u64) {
        self.wait(ms, true);
    }

    /// There is something to do for a group.
    pub fn ring(&self, group: usize) {
        let state = &mut *self.lock();
        let own = state.runners.iter_mut();
        own.filter(|runner| runner.group == group && runner.rests)
            .for_each(|runner| runner.wakes_at = state.now);
    }

    fn wait(&self, ms: u64, rests: bool) {
        let own = OWN.get().expect("only who runs for it waits by it");
        let mut state = self.lock();
        state.runners[own].wakes_at = state.now + ms;
        state.runners[own].rests = rests;
        let turn = Arc::clone(&state.runners[own].turn);
        state.holder = None;
        drop(state);
        self.given_back.notify_one();
        self.await_turn(own, &turn);
    }

    fn await_turn(&self, own: usize, turn: &Condvar) {
        let mut state = self.lock();
        while state.holder != Some(own) {
            state = turn.wait(state).unwrap();
        }
        if state.runners[own].is_killed {
            drop(state);
            resume_unwind(Box::new(Killed));
        }
    }

    /// Lets one of those run who are due, or, if nobody is, time go on up to `until`; tells whether somebody
    /// ran. `pick` chooses among so many.
    pub fn turn(&self, until: u64, pick: impl FnOnce(usize) -> usize) -> bool {
        let mut state = self.lock();
        let due: Vec<usize> = loop {
            let now = state.now;
            let awake = |runner: &Runner| !runner.has_ended && !runner.is_frozen;
            let each = state.runners.iter().enumerate();
            let waiting: Vec<(usize, u64)> = each
                .filter(|(_, runner)| awake(runner))
                .map(|(number, runner)| (number, runner.wakes_at))
                .collect();
            let first = waiting.iter().map(|(_, at)| *at).min();
            match first {
                Some(first) if first <= now => {
                    let due = waiting.into_iter().filter(|(_, at)| *at <= now);
                    break due.map(|(number, _)| number).collect();
                }
                Some(first) if first <= until => state.now = first,
                _ => {
                    state.now = until.max(now);
                    return false;
                }
            }
        };
        let next = due[pick(due.len())];
        self.give(state, next);
        true
    }

    /// Gives the baton to a thread, and waits until it comes back.
    fn give(&self, mut state: MutexGuard<'_, State>, next: usize) {
        state.holder = Some(next);
        state.runners[next].turn.notify_one();
        while state.holder.is_some() {
            state = self.given_back.wait(state).unwrap();
        }
        if let Some(why) = state.spoilt.take() {
            drop(state);
            resume_unwind(why);
        }
    }

    /// Lets a group not run, or run again.
    pub fn freeze(&self, group: usize, is_frozen: bool) {
        let mut state = self.lock();
        let own = state.runners.iter_mut();
        own.filter(|runner| runner.group == group)
            .for_each(|runner| runner.is_frozen = is_frozen);
    }

    /// Ends all threads of a group where they wait.
    pub fn kill(&self, group: usize) {
        self.kill_those(|runner| runner.group == group);
    }

    fn kill_those(&self, is_meant: impl Fn(&Runner) -> bool) {
        let mut state = self.lock();
        for number in 0..state.runners.len() {
            let runner = &mut state.runners[number];
            if runner.has_ended || !is_meant(runner) {
                continue;
            }
            runner.is_killed = true;
            runner.is_frozen = false;
            let thread = runner.thread.take();
            self.give(state, number);
            if let Some(thread) = thread {
                thread.join().expect("it catches what it unwinds with");
            }
            state = self.lock();
        }
    }
}

/// Ends all threads of a world.
pub struct Ending(pub Arc<Baton>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.kill_those(|_| true);
    }
}

/// The clock of a node: all nodes share the steady time, and each has a time of day of its own.
pub struct NodeClock {
    baton: Arc<Baton>,
    /// By how much its time of day is wrong.
    pub ahead_ms: i64,
}

impl NodeClock {
    pub fn new(baton: &Arc<Baton>, ahead_ms: i64) -> Self {
        Self {
            baton: Arc::clone(baton),
            ahead_ms,
        }
    }
}

impl std::fmt::Debug for NodeClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeClock").finish_non_exhaustive()
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Instant {
        self.baton.begin + Duration::from_millis(self.baton.now())
    }

    fn unix_ms(&self) -> u64 {
        self.baton.unix_ms().saturating_add_signed(self.ahead_ms)
    }

    fn pause(&self, time: Duration) {
        self.baton.pause(time.as_millis() as u64);
    }
}
