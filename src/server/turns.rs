//! The connections whose messages cost a thread much, and their events that wait.
//!
//! Most connections ask little, and are served as their events come. One whose turn was over before
//! all of its messages were handled is *heavy* for a while: its events wait in a queue of their own,
//! and the heavy ones take turns, one after each look at what has come from the others. A heavy
//! connection that has enough answers to read is parked until it has read most of them.
//!
//! Invariant: the events of one connection are handled in the order in which they came.

mod handover;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pauses::{PauseNumber, Pauses};
use super::queue::{Backlogged, Postponed, WorkerEvent};
use crate::base::{BySize, Fd};
pub use handover::WAITING;
pub(super) use handover::{HandedWaiting, hand_over_pauses, read_waiting};

/// Time for which a connection stays heavy after its last turn: long enough that one which goes on
/// asking isn't taken for light between two reads of the reactor.
const HEAVY_FOR: Duration = Duration::from_millis(100);

/// An event that waits, with its payload in memory of its own.
#[derive(Debug)]
pub(super) struct WaitingEvent {
    pub(super) event: WorkerEvent,
    /// The number of handled parts of its message.
    pub(super) parts: u32,
}

/// A connection that asked for much.
#[derive(Debug, Default)]
struct HeavyConnection {
    events: VecDeque<WaitingEvent>,
    bytes: usize,
    /// Whether the connection has a place in the ring.
    is_queued: bool,
    /// Whether the connection waits until it has read most of its answers.
    is_parked: bool,
    /// Whether the connection's end is among the events.
    has_end: bool,
    /// Whether that or something else makes it one for which nothing is waited any more: then it is
    /// never parked.
    is_ending: bool,
    heavy_until: Option<Instant>,
}

/// The heavy connections of one thread.
#[derive(Debug)]
pub(super) struct Turns {
    heavy: HashMap<Fd, HeavyConnection, foldhash::fast::FixedState>,
    /// The connections with events, in the order of their turns.
    ring: VecDeque<Fd>,
    /// The connections without an event, in the order in which they may become light.
    resting: VecDeque<(Instant, Fd)>,
    /// Those that have events and don't end, by the bytes of them.
    holders: BySize<Fd>,
    backlogged: Arc<Backlogged>,
    postponed: Arc<Postponed>,
    /// Whose events wait whether or not it is their turn.
    pauses: Arc<Pauses>,
    /// Whether they do: not once nothing is waited for any more.
    heeds_pauses: bool,
    /// The number of functions among the events.
    functions: usize,
}

impl Turns {
    pub(super) fn new(
        backlogged: Arc<Backlogged>,
        postponed: Arc<Postponed>,
        pauses: Arc<Pauses>,
    ) -> Self {
        Self {
            heavy: HashMap::default(),
            ring: VecDeque::new(),
            resting: VecDeque::new(),
            holders: BySize::default(),
            backlogged,
            postponed,
            pauses,
            heeds_pauses: true,
            functions: 0,
        }
    }

    /// Whether events of a connection have to wait here.
    pub(super) fn holds(&self, fd: Fd) -> bool {
        (!self.heavy.is_empty() && self.heavy.contains_key(&fd)) || self.is_paused(fd)
    }

    /// Whether something of a connection waits that is handled before a function which comes now.
    pub(super) fn goes_on(&self, fd: Fd) -> bool {
        let heavy = self.heavy.get(&fd);
        heavy.is_some_and(|heavy| match self.is_paused(fd) {
            true => self.place_of_function(fd).is_some(),
            false => !heavy.events.is_empty(),
        })
    }

    fn is_paused(&self, fd: Fd) -> bool {
        self.pauses.contains(fd) && self.heeds_pauses
    }

    /// Whether somebody's turn can begin.
    pub(super) fn has_next(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Counts the bytes of the events that wait, of all connections that don't end.
    pub(super) fn bytes(&self) -> usize {
        self.holders.total()
    }

    /// Puts an event behind those of its connection.
    pub(super) fn put(&mut self, waiting: WaitingEvent) {
        let fd = waiting.event.fd();
        let ends = matches!(waiting.event, WorkerEvent::Closed { .. });
        let is_function = matches!(waiting.event, WorkerEvent::Call { .. });
        if is_function && self.has_end(fd) {
            // `on_close` is the last.
            return;
        }
        let heavy = self.add(&waiting);
        heavy.events.push_back(waiting);
        heavy.has_end |= ends;
        self.functions += usize::from(is_function);
        if ends && !self.is_paused(fd) {
            self.end_soon(fd);
        }
        self.queue(fd);
    }

    /// Puts back an event that isn't handled to its end.
    pub(super) fn put_back(&mut self, waiting: WaitingEvent) {
        let heavy = self.add(&waiting);
        heavy.events.push_front(waiting);
    }

    /// Counts an event that is about to be put into its connection's queue.
    fn add(&mut self, waiting: &WaitingEvent) -> &mut HeavyConnection {
        let (fd, size) = (waiting.event.fd(), waiting.event.size());
        self.postponed.add(size);
        let heavy = self.heavy.entry(fd).or_default();
        if heavy.events.is_empty() {
            self.backlogged.insert(fd);
        }
        heavy.bytes += size;
        if !heavy.is_ending {
            self.holders.set(fd, heavy.bytes);
        }
        heavy
    }

    /// Takes the connection whose turn it is.
    pub(super) fn next(&mut self) -> Option<Fd> {
        let fd = self.ring.pop_front()?;
        if let Some(heavy) = self.heavy.get_mut(&fd) {
            heavy.is_queued = false;
        }
        Some(fd)
    }

    /// Takes the next event of a connection that may be handled: no pause holds a function back.
    pub(super) fn take(&mut self, fd: Fd) -> Option<WaitingEvent> {
        let place = match self.is_paused(fd) {
            true => self.place_of_function(fd)?,
            false => 0,
        };
        self.take_at(fd, place)
    }

    fn place_of_function(&self, fd: Fd) -> Option<usize> {
        if self.functions == 0 {
            return None;
        }
        let is_function = |one: &WaitingEvent| matches!(one.event, WorkerEvent::Call { .. });
        self.heavy.get(&fd)?.events.iter().position(is_function)
    }

    fn take_at(&mut self, fd: Fd, place: usize) -> Option<WaitingEvent> {
        let heavy = self.heavy.get_mut(&fd)?;
        let waiting = heavy.events.remove(place)?;
        let size = waiting.event.size();
        self.functions -= usize::from(matches!(waiting.event, WorkerEvent::Call { .. }));
        self.postponed.take(size);
        heavy.bytes -= size;
        if !heavy.is_ending {
            self.holders.set(fd, heavy.bytes);
        }
        Some(waiting)
    }

    /// Takes an event that stands before a function or is one: no image of the program hands a function
    /// over. What a pause holds back stays.
    pub(super) fn take_for_function(&mut self) -> Option<WaitingEvent> {
        if self.functions == 0 {
            return None;
        }
        let mut fds = self.heavy.keys().copied();
        let fd = fds.find(|fd| self.place_of_function(*fd).is_some())?;
        self.take(fd)
    }

    /// Ends a pause, unless another one has begun; `false` if so.
    pub(super) fn go_on(&mut self, fd: Fd, pause: PauseNumber) -> bool {
        let is_over = self.pauses.end(fd, pause);
        if is_over {
            if self.has_end(fd) {
                self.end_soon(fd);
            }
            self.queue(fd);
        }
        is_over
    }

    fn has_end(&self, fd: Fd) -> bool {
        self.heavy.get(&fd).is_some_and(|heavy| heavy.has_end)
    }

    /// Ends a turn. With `has_pushed_much` the connection waits until it has read; returns whether
    /// it waits.
    pub(super) fn end(&mut self, fd: Fd, has_pushed_much: bool) -> bool {
        let is_paused = self.is_paused(fd);
        let heavy = self.heavy.entry(fd).or_default();
        if is_paused && heavy.is_ending && !heavy.events.is_empty() {
            // It counts among those that wait.
            heavy.is_ending = false;
            self.holders.set(fd, heavy.bytes);
        }
        if heavy.is_ending && heavy.events.is_empty() {
            self.heavy.remove(&fd);
            self.backlogged.remove(fd);
            return false;
        }
        heavy.is_parked = has_pushed_much && !heavy.is_ending;
        let is_parked = heavy.is_parked;
        if heavy.events.is_empty() {
            self.backlogged.remove(fd);
            self.rest(fd);
        } else {
            self.queue(fd);
        }
        is_parked
    }

    /// Gives a parked connection, which has read most of its answers, a place in the ring.
    pub(super) fn unpark(&mut self, fd: Fd) {
        if let Some(heavy) = self.heavy.get_mut(&fd) {
            heavy.is_parked = false;
            match heavy.events.is_empty() {
                true => self.rest(fd),
                false => self.queue(fd),
            }
        }
    }

    /// Has a connection without events be light after a while.
    fn rest(&mut self, fd: Fd) {
        if let Some(heavy) = self.heavy.get_mut(&fd) {
            let until = Instant::now() + HEAVY_FOR;
            heavy.heavy_until = Some(until);
            self.resting.push_back((until, fd));
        }
    }

    /// Makes those connections light again that asked for nothing for a while.
    pub(super) fn forget_rested(&mut self) {
        while let Some(&(until, fd)) = self.resting.front() {
            if until > Instant::now() {
                return;
            }
            self.resting.pop_front();
            let is_light = self.heavy.get(&fd).is_some_and(|heavy| {
                heavy.events.is_empty() && !heavy.is_parked && heavy.heavy_until == Some(until)
            });
            if is_light {
                self.heavy.remove(&fd);
            }
        }
    }

    /// Finds the connection with the most waiting bytes, of those that don't end, and ends it, and its
    /// pause.
    pub(super) fn take_largest(&mut self) -> Option<Fd> {
        let fd = self.holders.take_largest()?;
        self.pauses.forget(fd);
        self.end_soon(fd);
        self.queue(fd);
        Some(fd)
    }

    /// Waits for nobody any more: all waiting events are handled to their end.
    pub(super) fn end_all(&mut self) {
        self.heeds_pauses = false;
        let fds: Vec<Fd> = self.heavy.keys().copied().collect();
        for fd in fds {
            self.pauses.forget(fd);
            self.end_soon(fd);
            self.queue(fd);
        }
    }

    /// Lets what waits for a connection be handled whether or not it reads.
    fn end_soon(&mut self, fd: Fd) {
        self.holders.set(fd, 0);
        if let Some(heavy) = self.heavy.get_mut(&fd) {
            heavy.is_ending = true;
            heavy.is_parked = false;
        }
    }

    fn queue(&mut self, fd: Fd) {
        if self.is_paused(fd) && self.place_of_function(fd).is_none() {
            return;
        }
        if let Some(heavy) = self.heavy.get_mut(&fd)
            && !heavy.is_parked
            && !heavy.is_queued
            && !heavy.events.is_empty()
        {
            heavy.is_queued = true;
            self.ring.push_back(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::connection::CloseReason;

    fn event(fd: u64) -> WaitingEvent {
        let event = WorkerEvent::Farewell { fd: Fd(fd) };
        WaitingEvent { event, parts: 0 }
    }

    fn turns() -> (Turns, Arc<Backlogged>) {
        let backlogged = Arc::default();
        let turns = Turns::new(Arc::clone(&backlogged), Arc::default(), Arc::default());
        (turns, backlogged)
    }

    fn level(turns: &Turns) -> (usize, usize) {
        let level = turns.postponed.level();
        (level.items(), level.bytes())
    }

    fn end_of(fd: u64) -> WaitingEvent {
        let event = WorkerEvent::Closed {
            fd: Fd(fd),
            reason: CloseReason::Lost,
        };
        WaitingEvent { event, parts: 0 }
    }

    #[test]
    fn heavy_connections_take_turns_and_keep_their_own_order() {
        let (mut turns, backlogged) = turns();
        for fd in [1, 1, 2, 1, 2] {
            turns.put(event(fd));
        }
        let mut served = Vec::new();
        while let Some(fd) = turns.next() {
            assert!(turns.take(fd).is_some());
            served.push(fd.0);
            assert!(!turns.end(fd, false));
        }
        assert_eq!(served, [1, 2, 1, 2, 1]);
        assert_eq!((turns.bytes(), level(&turns)), (0, (0, 0)));
        assert!(!backlogged.contains(Fd(1)) && !backlogged.contains(Fd(2)));
        assert!(turns.holds(Fd(1)), "for a while it stays heavy");
    }

    #[test]
    fn a_parked_connection_has_no_turn_until_it_has_read_or_ends() {
        let (mut turns, backlogged) = turns();
        for fd in [1, 2] {
            turns.put(event(fd));
            turns.put(event(fd));
            let fd = turns.next().unwrap();
            turns.take(fd);
            assert!(turns.end(fd, true));
        }
        assert!(!turns.has_next() && backlogged.contains(Fd(1)));
        turns.unpark(Fd(1));
        assert_eq!(turns.next(), Some(Fd(1)));
        turns.put(end_of(2));
        assert_eq!(turns.next(), Some(Fd(2)));
        turns.take(Fd(2));
        assert!(!turns.end(Fd(2), true), "its end is near");
        assert_eq!(turns.next(), Some(Fd(2)));
        assert!(turns.take(Fd(2)).is_some() && turns.take(Fd(2)).is_none());
        turns.end(Fd(2), false);
        assert!(!turns.holds(Fd(2)) && !backlogged.contains(Fd(2)));
    }

    #[test]
    fn over_the_bound_the_largest_goes_and_only_then_the_next() {
        let (mut turns, _) = turns();
        for fd in [1, 2, 2] {
            turns.put(event(fd));
        }
        let size = event(1).event.size();
        assert_eq!(turns.bytes(), 3 * size);
        assert_eq!(turns.take_largest(), Some(Fd(2)));
        assert_eq!(turns.bytes(), size, "what goes is no longer in the way");
        turns.put(event(2));
        assert_eq!(turns.bytes(), size);
        assert_eq!(turns.take_largest(), Some(Fd(1)));
        assert_eq!(turns.take_largest(), None);
        assert_eq!(level(&turns), (4, 4 * size), "all still waits");
        turns.take(Fd(2));
        assert_eq!((turns.bytes(), level(&turns).0), (0, 3));
    }
}
