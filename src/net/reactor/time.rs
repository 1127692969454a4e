//! Time: the clock of a reactor, and the deadlines of its connections.

use std::time::{Duration, Instant, SystemTime};

use super::{EventSink, Reactor, TimerPurpose, UserTimer};
use crate::base::Tick;
use crate::net::slots::{ReadState, SlotId, SlotPhase};
use crate::proto::connection::ConnectionEvent;

/// The first tick: one day, so that a moment up to a day before the start is a tick too.
const FIRST_TICK: u64 = 86_400_000;

/// Deadlines of connections are rounded up to a multiple of this, in milliseconds.
///
/// Many deadlines come at once then, and an idle server sleeps between them. The number is a power
/// of two, and a delay of up to 64 ms is little beside deadlines of seconds.
const DEADLINE_STEP_MS: u64 = 64;

/// A moment farther away than this, in milliseconds, is waited for from the time of the turn on, so late
/// by what the turn has taken: to read the clock again costs more than that is worth.
const FAR_MS: u64 = 200;

/// Timers run in one turn: as many pings, or ends of connections, take about half a millisecond.
const TIMERS_A_TURN_MAX: usize = 128;

/// Reads the time once a turn.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    /// The tick of that moment.
    first: Tick,
    now: Tick,
    date: String,
    date_second: u64,
    /// Since when the clock stands.
    stopped: Option<Instant>,
}

impl Clock {
    pub(super) fn new(started: Instant) -> Self {
        Self::from(started, Tick(FIRST_TICK))
    }

    /// Makes a clock that shows this tick now: it goes on from where another one stood.
    pub(super) fn at(tick: Tick) -> Self {
        Self::from(Instant::now(), tick)
    }

    fn from(started: Instant, first: Tick) -> Self {
        let mut clock = Self {
            started,
            first,
            now: first,
            stopped: None,
            date: String::new(),
            date_second: 0,
        };
        clock.update();
        clock
    }

    pub(super) fn update(&mut self) {
        self.now = self.first.after(self.started.elapsed().as_millis() as u64);
        let second = self.now.0 / 1_000;
        if second != self.date_second {
            self.date_second = second;
            self.date = httpdate::fmt_http_date(SystemTime::now());
        }
    }

    pub(super) fn now(&self) -> Tick {
        self.now
    }

    /// Has the clock stand, until it is told to go on.
    pub(super) fn stop(&mut self) {
        self.stopped.get_or_insert_with(Instant::now);
    }

    /// Has the clock go on without the time for which it stood.
    pub(super) fn go_on(&mut self) {
        if let Some(since) = self.stopped.take() {
            self.started += since.elapsed();
            self.update();
        }
    }

    /// Returns the time of this turn as the `Date` field shows it.
    pub(super) fn date(&self) -> &str {
        &self.date
    }

    /// Returns the time from now to `due`; `None` if `due` never comes.
    pub(super) fn until(&self, due: Tick) -> Option<Duration> {
        if due == Tick::NEVER {
            return None;
        }
        let from_now_ms = due.0.saturating_sub(self.now.0);
        if from_now_ms > FAR_MS {
            return Some(Duration::from_millis(from_now_ms));
        }
        let due = Duration::from_millis(due.since(self.first));
        Some(due.saturating_sub(self.started.elapsed()))
    }
}

impl<S: EventSink> Reactor<S> {
    /// Sets the connection's timer if its next deadline is before the one that is set.
    ///
    /// A deadline moves later with every byte. The timer isn't moved along: when it fires, the
    /// deadline is computed again, so that activity costs nothing here.
    pub(super) fn arm(&mut self, index: u32) {
        if !self.watches_all() {
            return;
        }
        let deadline = self.deadline_of(index);
        let slot = &mut self.slots[index];
        if deadline == Tick::NEVER || deadline >= slot.armed {
            return;
        }
        let due = Tick(deadline.0.next_multiple_of(DEADLINE_STEP_MS));
        if due >= slot.armed {
            return;
        }
        if let Some(timer) = slot.timer.take() {
            self.wheel.cancel(timer);
        }
        slot.armed = due;
        let id = self.slots.id_of(index);
        self.slots[index].timer = Some(self.wheel.insert(due, TimerPurpose::Connection(id)));
        self.next_due = self.next_due.min(due);
    }

    /// Returns the moment at which the connection has to be looked at, if nothing happens before.
    fn deadline_of(&self, index: u32) -> Tick {
        let slot = &self.slots[index];
        match slot.phase {
            SlotPhase::Live => {
                let own = slot.connection.deadline(&self.context.rules());
                own.min(self.stall_deadline_of(index))
            }
            SlotPhase::Flushing | SlotPhase::Lingering => slot.cut_at,
        }
    }

    fn stall_deadline_of(&self, index: u32) -> Tick {
        match self.slots[index].stalled {
            Tick::NEVER => Tick::NEVER,
            since => since.after(self.context.limits.stall_ms_max),
        }
    }

    /// Sets a timer of the reactor's own.
    pub(super) fn set_timer(
        &mut self,
        after_ms: u64,
        due: TimerPurpose,
    ) -> crate::net::wheel::WheelTimer {
        let at = self.context.clock.now().after(after_ms);
        self.next_due = self.next_due.min(at);
        self.wheel.insert(at, due)
    }

    /// Runs the timers that are due, at most [`TIMERS_A_TURN_MAX`]: the others are due in the next turn.
    pub(super) fn expire_all(&mut self) {
        let now = self.context.clock.now();
        if now < self.next_due {
            return;
        }
        for _ in 0..TIMERS_A_TURN_MAX {
            let Some(due) = self.wheel.pop_expired(now) else {
                break;
            };
            match due {
                TimerPurpose::Connection(id) => self.expire(id),
                TimerPurpose::User(timer) => self.expire_user(timer),
                TimerPurpose::Accept => {
                    self.accepts_again = false;
                    self.accept_from_all_listeners();
                }
                TimerPurpose::Farewells => self.say_farewells(),
                TimerPurpose::Gathered(id) => self.deliver_gathered(id),
            }
        }
        self.next_due = self.wheel.next_deadline().unwrap_or(Tick::NEVER);
    }

    fn expire(&mut self, id: SlotId) {
        let Some(slot) = self.slots.find(id) else {
            return;
        };
        slot.timer = None;
        slot.armed = Tick::NEVER;
        let now = self.context.clock.now();
        if slot.phase == SlotPhase::Live
            && matches!(slot.reading, ReadState::Queued | ReadState::Paused)
        {
            // The reactor itself doesn't read now, and the awaited pong may be among the unread
            // bytes.
            slot.connection.unread(now);
        }
        let index = id.index;
        if self.deadline_of(index) > now {
            self.arm(index);
            return;
        }
        let slot = &self.slots[index];
        if slot.phase != SlotPhase::Live {
            self.remove(index);
        } else if self.stall_deadline_of(index) <= now {
            self.give_up(index);
        } else {
            self.expire_connection(index);
        }
    }

    fn expire_connection(&mut self, index: u32) {
        let rules = self.context.rules();
        match self.slots[index].connection.expire(&rules) {
            Some(ConnectionEvent::Output(output)) => {
                if self.slots[index].connection.is_open() {
                    self.shared.counters.pings.add(1);
                }
                let (bytes, content) = super::read::owned(output);
                self.send(index, bytes, content);
                if self.slots.contains(index) {
                    self.pump(index, &mut []);
                }
            }
            Some(ConnectionEvent::Closed(reason)) => self.leave(index, reason),
            _ => self.pump(index, &mut []),
        }
    }

    pub(super) fn start_user_timer(&mut self, timer: u64, after_ms: u64, repeats: bool) {
        // A timer of 0 ms that repeats would never let the turn end.
        let after_ms = after_ms.max(1);
        let id = self.set_timer(after_ms, TimerPurpose::User(timer));
        self.user_timers.insert(
            timer,
            UserTimer {
                id,
                every_ms: repeats.then_some(after_ms),
            },
        );
    }

    pub(super) fn clear_user_timer(&mut self, timer: u64) {
        if let Some(timer) = self.user_timers.remove(&timer) {
            self.wheel.cancel(timer.id);
        }
    }

    fn expire_user(&mut self, timer: u64) {
        let every_ms = self
            .user_timers
            .get(&timer)
            .and_then(|timer| timer.every_ms);
        match every_ms {
            Some(every_ms) => self.start_user_timer(timer, every_ms, true),
            None => drop(self.user_timers.remove(&timer)),
        }
        self.sink.timer(timer);
    }
}
