//! The connections that the server's user has paused.
//!
//! Any thread pauses and asks for the end; the thread that runs the callbacks of a connection ends its
//! pause, behind what was given to that thread before. Reactors look here before they read, and whoever
//! is about to call a callback looks here, too: one flag, which is nearly always down.
//!
//! Invariant: a pause is ended by the request for its own end alone, not by one that was made for an
//! earlier pause of that connection and comes late.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use crate::base::Fd;
use crate::base::sync::lock;

/// Parts of the table, each with a lock of its own: a round number, above the usual one of threads.
const PARTS: usize = 16;

/// A pause of one connection, told from its other ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PauseNumber(u64);

#[derive(Debug)]
struct Pause {
    number: PauseNumber,
    /// Whether its end was asked for.
    is_ending: bool,
}

type Part = HashMap<Fd, Pause, foldhash::fast::FixedState>;

/// The paused connections of a server.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// The number of them: asked for at every event.
    count: AtomicUsize,
    begun: AtomicU64,
    parts: [Mutex<Part>; PARTS],
}

impl Pauses {
    /// Whether a connection is paused.
    #[inline]
    pub(super) fn contains(&self, fd: Fd) -> bool {
        self.count.load(SeqCst) > 0 && self.is_among(fd)
    }

    #[cold]
    fn is_among(&self, fd: Fd) -> bool {
        lock(self.part(fd)).contains_key(&fd)
    }

    /// The number of paused connections.
    pub(super) fn len(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// Pauses a connection if it is there; what was asked for before ends it no more.
    pub(super) fn begin(&self, fd: Fd, is_there: impl FnOnce() -> bool) {
        let mut part = lock(self.part(fd));
        // Asked under the lock: what comes of a connection behind its end then sees the pause.
        if !is_there() {
            return;
        }
        let number = PauseNumber(self.begun.fetch_add(1, Relaxed));
        let is_ending = false;
        if part.insert(fd, Pause { number, is_ending }).is_none() {
            self.count.fetch_add(1, SeqCst);
        }
    }

    /// Asks for the end of a pause, which [`Pauses::end`] makes; `None` if there is none.
    pub(super) fn ask_for_end(&self, fd: Fd) -> Option<PauseNumber> {
        if self.count.load(SeqCst) == 0 {
            return None;
        }
        let mut part = lock(self.part(fd));
        let pause = part.get_mut(&fd)?;
        pause.is_ending = true;
        Some(pause.number)
    }

    /// Ends this pause; `false` if it is over, or another one has begun.
    pub(super) fn end(&self, fd: Fd, number: PauseNumber) -> bool {
        let mut part = lock(self.part(fd));
        let is_it = part.get(&fd).is_some_and(|pause| pause.number == number);
        if is_it {
            self.take(&mut part, fd);
        }
        is_it
    }

    /// Ends whatever pause a connection has.
    pub(super) fn forget(&self, fd: Fd) {
        if self.contains(fd) {
            self.take(&mut lock(self.part(fd)), fd);
        }
    }

    /// The connections whose pauses nobody has asked the end of, in the order of their names.
    pub(super) fn lasting(&self) -> Vec<Fd> {
        let mut fds = Vec::new();
        for part in &self.parts {
            let part = lock(part);
            fds.extend(
                part.iter()
                    .filter(|(_, one)| !one.is_ending)
                    .map(|(fd, _)| *fd),
            );
        }
        fds.sort_unstable();
        fds
    }

    fn take(&self, part: &mut Part, fd: Fd) {
        if part.remove(&fd).is_some() {
            self.count.fetch_sub(1, SeqCst);
        }
        // A crowd's table isn't kept.
        if part.is_empty() {
            *part = Part::default();
        }
    }

    fn part(&self, fd: Fd) -> &Mutex<Part> {
        &self.parts[(fd.serial() % PARTS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_by_the_request_that_was_made_for_it_and_by_no_earlier_one() {
        let (pauses, fd) = (Pauses::default(), Fd(640));
        assert_eq!(pauses.ask_for_end(fd), None);
        pauses.begin(fd, || true);
        let first = pauses.ask_for_end(fd).unwrap();
        assert!(pauses.contains(fd) && pauses.lasting().is_empty());
        pauses.begin(fd, || true);
        assert!(!pauses.end(fd, first) && pauses.contains(fd));
        assert_eq!(pauses.lasting(), [fd], "nobody has asked for its end");
        let second = pauses.ask_for_end(fd).unwrap();
        assert_eq!(pauses.ask_for_end(fd), Some(second), "asked for twice");
        assert!(pauses.end(fd, second) && !pauses.end(fd, second));
        assert_eq!((pauses.contains(fd), pauses.len()), (false, 0));
    }

    #[test]
    fn who_is_gone_is_not_paused_and_the_others_are_each_for_themselves() {
        let pauses = Pauses::default();
        pauses.begin(Fd(64), || false);
        assert_eq!(pauses.len(), 0);
        for fd in [64, 128, 64 * 17] {
            pauses.begin(Fd(fd), || true);
        }
        pauses.forget(Fd(128));
        pauses.forget(Fd(128));
        assert_eq!(pauses.lasting(), [Fd(64), Fd(64 * 17)]);
        assert!(pauses.contains(Fd(64)) && !pauses.contains(Fd(128)));
    }
}
