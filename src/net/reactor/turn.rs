//! The loop of a reactor, and the order of the steps in one turn.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Token};

use super::write_queue::LaterShare;
use super::{EventSink, LISTENER_FIRST, LISTENERS_MAX, Reactor, RunEnd, WAKER};
use crate::base::Tick;
use crate::base::vital::may_die_here;
use crate::net::slots::{ReadState, SlotId, SlotPhase, WriteTurn};

/// Events taken from the kernel by one poll: a round number, so that the event buffer (12 KiB) doesn't
/// grow with the number of connections.
const EVENTS_A_POLL_MAX: usize = 1_024;

/// Polls of one turn, while each gives as many events as it may: somebody's message may stand behind
/// the ends of thousands, and to note so many takes half a millisecond. Further events stay in the
/// kernel until the next turn.
const POLLS_A_TURN_MAX: usize = 8;

/// Held connections that are looked at in one turn, on average: all are looked at every so many turns,
/// so that turns stay short however many are held.
const HELD_LOOKS_A_TURN: usize = 256;

impl<S: EventSink> Reactor<S> {
    /// Runs until a drain is complete, a stop comes, or the reactor stands still in a freeze; then it
    /// may be run again.
    ///
    /// # Errors
    ///
    /// The poll itself failed, without which the reactor can't go on, or the reactor panicked. Its
    /// WebSockets have been told as far as possible.
    pub fn run(&mut self) -> io::Result<RunEnd> {
        let ran = catch_unwind(AssertUnwindSafe(|| self.take_turns()));
        match ran.unwrap_or_else(|_| Err(io::Error::other("the reactor panicked"))) {
            Ok(end) => Ok(end),
            Err(error) => {
                // What a panic has left behind may make another one.
                let parted = catch_unwind(AssertUnwindSafe(|| self.part()));
                if parted.is_err() {
                    tracing::error!(reactor = self.id, "its connections end without a Close");
                }
                Err(error)
            }
        }
    }

    fn take_turns(&mut self) -> io::Result<RunEnd> {
        let mut events = Events::with_capacity(EVENTS_A_POLL_MAX);
        if self.is_hushed() {
            self.leave_stand();
        } else {
            self.register_listeners()?;
            // Commands that were given before the start must not wait for the first event.
            self.turn(&mut events)?;
        }
        while !self.is_done() {
            if let Some(number) = self.stands_still() {
                return Ok(RunEnd::Frozen { number });
            }
            self.next_turn(&mut events)?;
        }
        Ok(RunEnd::Done)
    }

    /// Waits until there is something to do, and runs one turn.
    pub(super) fn next_turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.adopt_more();
        let timeout = self.timeout();
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        self.mailbox.woke();
        if events.is_empty() && self.has_only_writes() {
            self.write_share();
            return Ok(());
        }
        self.turn(events)
    }

    /// Whether there is nothing to do but to go on with large deliveries, as far as can be told without
    /// a look at the clock.
    fn has_only_writes(&self) -> bool {
        self.writes.has_later()
            && !self.is_adopting()
            && self.has_read_all()
            && self.held.is_empty()
            && !self.has_more_to_accept
            && self.rearming.is_none()
            && self.mailbox.is_empty()
            && !self.sink.has_pending()
            && !self.sink.has_waiting()
            && !self.is_hushed()
    }

    /// Goes on with large deliveries: a turn between two of which nobody wanted anything.
    fn write_share(&mut self) {
        self.context.clock.update();
        self.shared.counters.turns.add(1);
        self.writes.begin_turn();
        self.expire_all();
        self.settle(self.writes_later_max(true));
        self.publish_counters();
    }

    /// Runs one turn. The order of its steps keeps latency low and output merged:
    ///
    /// - time first, since every step judges by it;
    /// - reading before [`EventSink::end_turn`], so that the workers get one batch a turn and start
    ///   while this thread goes on;
    /// - commands before timers, so that an answer that is already here counts before its deadline;
    /// - writing last, so that all output of the turn goes out in one call a connection; of large
    ///   deliveries only a share, so that nobody waits for a whole one.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        may_die_here();
        if self.is_hushed() {
            return self.hushed_turn(events);
        }
        self.context.clock.update();
        self.shared.counters.turns.add(1);
        self.writes.begin_turn();
        self.accept_rest();
        let is_quiet = events.is_empty();
        self.note_all(events)?;
        self.release_held();
        self.read_all();
        self.enforce_unfinished();
        self.sink.end_turn();
        self.apply_all();
        self.end_turn(is_quiet);
        Ok(())
    }

    /// Does what is due, and writes.
    pub(super) fn end_turn(&mut self, is_quiet: bool) {
        if self.is_hushed() {
            self.settle_hushed();
        } else {
            self.rearm_some();
            self.expire_all();
            self.settle(self.writes_later_max(is_quiet));
        }
        self.publish_counters();
    }

    /// Carries out what the owner of the events wants done, and writes; then a heavy connection has
    /// its turn, after the others have their answers.
    fn settle(&mut self, writes_later_max: usize) {
        let mut later = LaterShare::of_a_turn(writes_later_max);
        let mut has_served = false;
        loop {
            self.sink.end_turn();
            self.apply_own();
            self.write_all(&mut later);
            self.enforce_budget();
            self.tell_awaited();
            // Writing may end connections; the owner of the events is told, and may send more.
            if !self.writes.is_due() && !self.sink.has_pending() {
                if has_served || !self.sink.serve_waiting() {
                    break;
                }
                has_served = true;
            }
        }
    }

    /// Writes of large deliveries in this turn: half as many if other connections are at work, since
    /// one of them may wait for the next turn.
    pub(super) fn writes_later_max(&self, is_quiet: bool) -> usize {
        let max = self.context.limits.turn_writes_max;
        if is_quiet { max } else { max.div_ceil(2) }
    }

    fn register_listeners(&mut self) -> io::Result<()> {
        for (number, acceptor) in self.acceptors.iter_mut().enumerate() {
            let token = Token(LISTENER_FIRST - number);
            acceptor.register(self.poll.registry(), token)?;
        }
        Ok(())
    }

    /// Returns the time for which the poll may wait; `None` for as long as it takes.
    pub(super) fn timeout(&mut self) -> Option<Duration> {
        if self.is_hushed() {
            let has_more = self.has_more_while_hushed() || !self.mailbox.may_sleep();
            return has_more.then_some(Duration::ZERO);
        }
        let has_more = !self.has_read_all()
            || self.has_more_to_accept
            || self.rearming.is_some()
            || self.writes.has_later()
            || self.is_adopting();
        if has_more || self.sink.has_waiting() {
            return Some(Duration::ZERO);
        }
        if self.held_turns > 0 && !self.held.is_empty() {
            // Whoever wakes the reactor expects that the held ones are looked at before it sleeps.
            self.held_turns = self.held.len();
            return Some(Duration::ZERO);
        }
        if !self.mailbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        self.context.clock.until(self.next_due)
    }

    /// Notes these events and, where there may be more in the kernel, those.
    pub(super) fn note_all(&mut self, events: &mut Events) -> io::Result<()> {
        for polls in 1.. {
            let mut count = 0;
            for event in events.iter() {
                self.note(event);
                count += 1;
            }
            if count < EVENTS_A_POLL_MAX || polls == POLLS_A_TURN_MAX {
                break;
            }
            match self.poll.poll(events, Some(Duration::ZERO)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Notes what an event makes possible: listeners are accepted from at once, connections are
    /// only queued, so that none is read twice in a turn.
    fn note(&mut self, event: &Event) {
        match event.token() {
            WAKER => {}
            // An edge-triggered poll doesn't tell of them again.
            Token(token) if token > LISTENER_FIRST - LISTENERS_MAX && self.is_hushed() => {
                self.has_more_to_accept = true;
            }
            Token(token) if token > LISTENER_FIRST - LISTENERS_MAX => {
                self.accept_all(LISTENER_FIRST - token);
            }
            token => self.note_connection(SlotId::from_token(token), event),
        }
    }

    fn note_connection(&mut self, id: SlotId, event: &Event) {
        // An event of this batch may be older than the slot's present connection.
        let Some(slot) = self.slots.find(id) else {
            return;
        };
        if event.is_writable() && slot.stalled != Tick::NEVER {
            slot.stalled = Tick::NEVER;
            self.writes.note(id.index, slot, WriteTurn::This);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            slot.peer_ended |= event.is_read_closed() || event.is_error();
            if matches!(slot.reading, ReadState::Drained) {
                slot.reading = ReadState::Queued;
                self.queue_read(id);
            }
        }
    }

    /// Queues the held connections that may be read again, if it is time to look at them.
    fn release_held(&mut self) {
        self.held_turns += 1;
        if self.held_turns.saturating_mul(HELD_LOOKS_A_TURN) < self.held.len() {
            return;
        }
        self.held_turns = 0;
        let mut index = 0;
        while index < self.held.len() {
            let id = self.held[index];
            let is_live = self
                .slots
                .find(id)
                .is_some_and(|slot| slot.phase == SlotPhase::Live);
            if is_live && self.is_held(id.index) {
                self.note_gone(id.index);
                index += 1;
            } else {
                self.held.swap_remove(index);
                self.queue_read(id);
            }
        }
    }

    /// Has what a handler waits for looked at, since bytes have left the outbox of that slot.
    #[inline]
    pub(super) fn note_awaited(&mut self, index: u32) {
        if !self.awaited.is_empty()
            && let Some(awaited) = self.awaited.remove(&index)
        {
            self.awaited_news.extend(awaited);
        }
    }

    /// Reports the outboxes that have become as small as a handler waits for.
    fn tell_awaited(&mut self) {
        for awaited in std::mem::take(&mut self.awaited_news) {
            let Some(slot) = self.slots.find(awaited.id) else {
                continue;
            };
            if slot.outbox.bytes() <= awaited.bytes_max {
                self.sink.buffer_empty(awaited.fd, awaited.by);
            } else {
                let of_slot = self.awaited.entry(awaited.id.index).or_default();
                of_slot.push(awaited);
            }
        }
    }

    pub(super) fn are_mailboxes_pressed(&self) -> bool {
        self.shared
            .pressures
            .iter()
            .any(|pressure| pressure.is_high())
    }

    fn is_done(&self) -> bool {
        self.stopped || (self.drain.is_some() && self.slots.is_empty() && self.peers_left == 0)
    }

    pub(super) fn publish_counters(&mut self) {
        let counters = &self.shared.counters;
        counters.slots.set(self.slots.len() as u64);
        counters.timers.set(self.wheel.len() as u64);
        counters.topics.set(self.topics.len() as u64);
        counters.subscriptions.set(self.topics.memberships() as u64);
        counters
            .gathered_waiting
            .set(self.gathering.messages() as u64);
        counters.gathered_bytes.set(self.gathering.bytes() as u64);
        counters.latest_replaced.set(self.arena.replaced());
        counters.held.set(self.held.len() as u64);
        counters.writes_later.set(self.writes.later_len() as u64);
    }
}
