//! The queue of the disk thread: many threads put jobs into it, and one takes all that wait.
//!
//! Both lists change places at a take, so their memory is used again; and the thread that takes is
//! woken only when it sleeps.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use crate::base::sync::lock;

/// Jobs for which a list keeps its memory: as many as one commit takes.
const CAPACITY_KEPT: usize = 8_192;

/// How often the thread that takes lets others run before it sleeps, where it told several something just
/// now: they may put more into the queue, and needn't wake it then. One alone seldom does so as
/// soon, and a system may give the thread that lets others run its core back only after a tick.
const YIELDS: usize = 3;

/// A queue of jobs, as both ends share it.
#[derive(Debug)]
struct JobQueue<J> {
    waiting: Mutex<WaitingJobs<J>>,
    more: Condvar,
}

#[derive(Debug)]
struct WaitingJobs<J> {
    jobs: VecDeque<J>,
    /// Jobs that were put into the queue since it was made, also those that it didn't take.
    put: u64,
    /// Whether the thread that takes sleeps.
    is_awaited: bool,
    /// The freeze for which the thread that takes rests once nothing waits.
    rest: Option<u64>,
    /// Whether the thread that takes is to look at something else.
    is_stirred: bool,
    /// Whether the queue takes nothing more.
    is_closed: bool,
}

/// The end into which jobs are put; the queue is closed with it.
#[derive(Debug)]
pub(super) struct JobPutter<J>(Arc<JobQueue<J>>);

/// The end from which jobs are taken; what still waits is dropped with it.
#[derive(Debug)]
pub(super) struct JobTaker<J>(Arc<JobQueue<J>>);

/// The outcome of a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// There are jobs.
    Jobs,
    /// Nothing came in time.
    Nothing,
    /// Nothing waits, and the thread that takes rests.
    Rest {
        /// The number of the freeze.
        number: u64,
    },
    /// Nothing will come any more.
    End,
}

/// Makes both ends of a queue.
pub(super) fn job_queue<J>() -> (JobPutter<J>, JobTaker<J>) {
    let queue = Arc::new(JobQueue {
        waiting: Mutex::new(WaitingJobs {
            jobs: VecDeque::new(),
            put: 0,
            is_awaited: false,
            rest: None,
            is_stirred: false,
            is_closed: false,
        }),
        more: Condvar::new(),
    });
    (JobPutter(Arc::clone(&queue)), JobTaker(queue))
}

impl<J> JobPutter<J> {
    /// Puts a job into the queue; gives it back where the queue is closed.
    pub(super) fn put(&self, job: J) -> Result<(), J> {
        let mut waiting = lock(&self.0.waiting);
        waiting.put += 1;
        if waiting.is_closed {
            return Err(job);
        }
        waiting.jobs.push_back(job);
        let wakes = std::mem::take(&mut waiting.is_awaited);
        drop(waiting);
        if wakes {
            self.0.more.notify_one();
        }
        Ok(())
    }

    /// Has the thread that takes go on, though there may be no job for it.
    pub(super) fn stir(&self) {
        let mut waiting = lock(&self.0.waiting);
        waiting.is_stirred = true;
        let wakes = std::mem::take(&mut waiting.is_awaited);
        drop(waiting);
        if wakes {
            self.0.more.notify_one();
        }
    }

    /// Closes the queue: what waits is still taken.
    pub(super) fn close(&self) {
        lock(&self.0.waiting).is_closed = true;
        self.0.more.notify_one();
    }

    /// Has the thread that takes rest once nothing waits.
    pub(super) fn order_rest(&self, number: u64) {
        lock(&self.0.waiting).rest = Some(number);
        self.0.more.notify_one();
    }

    /// Takes that back.
    pub(super) fn thaw(&self) {
        lock(&self.0.waiting).rest = None;
    }

    /// Counts the jobs that were put into the queue since it was made.
    pub(super) fn count(&self) -> u64 {
        lock(&self.0.waiting).put
    }
}

impl<J> Drop for JobPutter<J> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<J> JobTaker<J> {
    /// Takes all jobs that wait into an empty list.
    pub(super) fn take_now(&self, jobs: &mut VecDeque<J>) -> Taken {
        let mut waiting = lock(&self.0.waiting);
        waiting.give(jobs)
    }

    /// Does the same, but waits for a job until some time, or until it is stirred; `told` is the number of
    /// jobs whose outcome was told just now.
    pub(super) fn take(&self, jobs: &mut VecDeque<J>, until: Instant, told: usize) -> Taken {
        let yields = if told > 1 { YIELDS } else { 0 };
        for _ in 0..yields {
            match self.take_now(jobs) {
                Taken::Nothing if Instant::now() < until => thread::yield_now(),
                taken => return taken,
            }
        }
        let mut waiting = lock(&self.0.waiting);
        loop {
            let taken = waiting.give(jobs);
            let left = until.saturating_duration_since(Instant::now());
            let is_stirred = std::mem::take(&mut waiting.is_stirred);
            if taken != Taken::Nothing || left.is_zero() || is_stirred {
                waiting.is_awaited = false;
                return taken;
            }
            waiting.is_awaited = true;
            // Nobody panics under this lock.
            let waited = self.0.more.wait_timeout(waiting, left);
            (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Counts the jobs that wait.
    pub(super) fn len(&self) -> usize {
        lock(&self.0.waiting).jobs.len()
    }
}

impl<J> Drop for JobTaker<J> {
    fn drop(&mut self) {
        let jobs = {
            let mut waiting = lock(&self.0.waiting);
            waiting.is_closed = true;
            std::mem::take(&mut waiting.jobs)
        };
        // Whoever waits for one of them learns by that, and may put another one.
        drop(jobs);
    }
}

impl<J> WaitingJobs<J> {
    fn give(&mut self, jobs: &mut VecDeque<J>) -> Taken {
        debug_assert!(jobs.is_empty(), "the jobs taken before come first");
        if self.jobs.is_empty() {
            return match (self.is_closed, self.rest) {
                (true, _) => Taken::End,
                (false, Some(number)) => Taken::Rest { number },
                (false, None) => Taken::Nothing,
            };
        }
        jobs.shrink_to(CAPACITY_KEPT);
        std::mem::swap(&mut self.jobs, jobs);
        Taken::Jobs
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_put_is_taken_in_order_also_after_the_end() {
        let (putter, taker) = job_queue();
        let mut jobs = VecDeque::new();
        assert_eq!(taker.take_now(&mut jobs), Taken::Nothing);
        assert_eq!(taker.take(&mut jobs, Instant::now(), 2), Taken::Nothing);
        for job in 0..3 {
            putter.put(job).unwrap();
        }
        putter.close();
        assert_eq!((putter.put(3), putter.count()), (Err(3), 4));
        assert_eq!(taker.take_now(&mut jobs), Taken::Jobs);
        assert_eq!(jobs, [0, 1, 2]);
        jobs.clear();
        assert_eq!(taker.take(&mut jobs, Instant::now(), 2), Taken::End);
    }

    #[test]
    fn who_sleeps_is_woken_by_a_job_and_by_the_end() {
        let (putter, taker) = job_queue();
        let patience = Duration::from_secs(20);
        let thread = thread::spawn(move || {
            let mut all = Vec::new();
            let mut jobs = VecDeque::new();
            while taker.take(&mut jobs, Instant::now() + patience, 2) == Taken::Jobs {
                all.extend(jobs.drain(..));
            }
            all
        });
        for job in 0..1_000 {
            putter.put(job).unwrap();
            if job % 100 == 0 {
                thread::yield_now();
            }
        }
        let begun = Instant::now();
        while !lock(&putter.0.waiting).is_awaited {
            assert!(begun.elapsed() < patience, "it never sleeps");
            thread::yield_now();
        }
        drop(putter);
        assert_eq!(thread.join().unwrap(), (0..1_000).collect::<Vec<_>>());
        assert!(
            begun.elapsed() < patience,
            "it slept until its time was over"
        );
    }

    #[test]
    fn who_takes_rests_once_nothing_waits_and_is_woken_for_it() {
        let (putter, taker) = job_queue();
        let mut jobs = VecDeque::new();
        putter.put(1).unwrap();
        putter.order_rest(7);
        assert_eq!(taker.take_now(&mut jobs), Taken::Jobs);
        jobs.clear();
        let rest = Taken::Rest { number: 7 };
        assert_eq!(taker.take(&mut jobs, Instant::now(), 2), rest);
        putter.thaw();
        assert_eq!(taker.take_now(&mut jobs), Taken::Nothing);
        let late = Instant::now() + Duration::from_secs(20);
        let thread = thread::spawn(move || taker.take(&mut jobs, late, 2));
        while !lock(&putter.0.waiting).is_awaited {
            assert!(Instant::now() < late, "it never sleeps");
            thread::yield_now();
        }
        putter.order_rest(8);
        assert_eq!(thread.join().unwrap(), Taken::Rest { number: 8 });
        assert!(Instant::now() < late, "it slept until its time was over");
    }

    #[test]
    fn who_sleeps_is_woken_without_a_job_once_for_each_stir() {
        let (putter, taker) = job_queue::<u8>();
        let patience = Duration::from_secs(20);
        let mut jobs = VecDeque::new();
        putter.stir();
        let begun = Instant::now();
        assert_eq!(taker.take(&mut jobs, begun + patience, 2), Taken::Nothing);
        assert_eq!(taker.take(&mut jobs, Instant::now(), 2), Taken::Nothing);
        let thread = thread::spawn(move || {
            let mut jobs = VecDeque::new();
            taker.take(&mut jobs, Instant::now() + patience, 2)
        });
        while !lock(&putter.0.waiting).is_awaited {
            thread::yield_now();
        }
        putter.stir();
        assert_eq!(thread.join().unwrap(), Taken::Nothing);
        assert!(
            begun.elapsed() < patience,
            "it slept until its time was over"
        );
    }

    #[test]
    fn what_nobody_takes_is_dropped_with_the_end_that_takes() {
        let (putter, taker) = job_queue();
        let job = Arc::new(());
        putter.put(Arc::clone(&job)).unwrap();
        drop(taker);
        assert_eq!(Arc::strong_count(&job), 1);
        assert!(putter.put(job).is_err());
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back() {
        let (putter, taker) = job_queue();
        let mut jobs = VecDeque::new();
        for job in 0..CAPACITY_KEPT * 4 {
            putter.put(job).unwrap();
        }
        for job in 0..3 {
            assert_eq!(taker.take_now(&mut jobs), Taken::Jobs);
            jobs.clear();
            putter.put(job).unwrap();
        }
        assert!(jobs.capacity() <= CAPACITY_KEPT * 2, "{}", jobs.capacity());
    }
}
