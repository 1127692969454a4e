//! The light events of a reactor that has workers: those that its own thread handles at once, since
//! the way to a worker and back costs more than what is done there.
//!
//! The builder is told which events are light ([`Builder::light`](super::Builder::light)): those
//! whose callback never blocks on more than a short lock, and costs little. All others go to the
//! worker of their connection, and so do light ones while something of their connection is still
//! there, or once the light ones of a turn of the reactor have taken long. Events that go to workers
//! don't count there: a turn that reads thousands of logins keeps no `say` from being handled at once.
//!
//! Invariant: an event is offered here only if all earlier ones of its connection are handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::message::Frame;
use super::order::ReactorOrders;
use super::runner::Runner;
use super::turn;
use crate::base::Fd;
use crate::net::command::{Command, CommandBatch};
use crate::proto::connection::HttpRequest;

/// Light events between two looks at the clock, which costs a tenth of an echo. A round number: that
/// many echoes take some 10 µs.
const EVENTS_A_LOOK: u32 = 32;

/// The reactors to whose mailboxes commands are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mailboxes {
    All,
    /// All but the own one, which takes its commands itself.
    Others,
}

/// Runs callbacks for light events on a reactor's thread.
pub(super) struct LightEvents {
    runner: Runner,
    /// Bytes of its own answers that a connection gets in a turn; its other events go to its worker,
    /// whose scheduler lets it read first.
    answers_bytes_max: Arc<AtomicUsize>,
    /// Whose event was the last in this turn of the reactor.
    last: Option<Fd>,
    /// Once it is used up, the rest of the turn goes to the workers.
    time: LightTime,
    orders: ReactorOrders,
}

impl LightEvents {
    pub(super) fn new(
        runner: Runner,
        answers_bytes_max: Arc<AtomicUsize>,
        orders: ReactorOrders,
    ) -> Self {
        Self {
            runner,
            orders,
            answers_bytes_max,
            last: None,
            time: LightTime::default(),
        }
    }

    /// Begins, on the reactor's thread.
    pub(super) fn start(&self) {
        turn::set_pushed_max(self.answers_bytes_max.load(Relaxed));
    }

    /// Begins a turn of the reactor.
    pub(super) fn begin_turn(&mut self) {
        if self.last.take().is_some() {
            self.start();
            self.time = LightTime::default();
        }
    }

    /// Handles a message if it is light; `false` if nothing was done.
    pub(super) fn message(&mut self, frame: Frame<'_>) -> bool {
        let is_run = self.admits(frame.fd) && self.runner.light_message(frame);
        self.count(is_run);
        is_run
    }

    /// Handles a request if it is light.
    ///
    /// # Errors
    ///
    /// The request, with which nothing was done.
    pub(super) fn request(
        &mut self,
        fd: Fd,
        request: Box<HttpRequest>,
    ) -> Result<(), Box<HttpRequest>> {
        let is_run = self.admits(fd) && self.runner.is_light_request(fd, &request);
        if !is_run {
            self.count(is_run);
            return Err(request);
        }
        self.runner.request(fd, *request);
        self.count(is_run);
        Ok(())
    }

    /// Takes the callbacks that it has been ordered to call from now on.
    pub(super) fn renew(&mut self) {
        for order in self.orders.try_iter() {
            if let Some(handlers) = order.take() {
                self.runner.renew(handlers);
                order.finish();
                self.runner.handle.shared().main.wake();
            }
        }
    }

    fn admits(&mut self, fd: Fd) -> bool {
        if self.last != Some(fd) {
            turn::begin(fd);
            self.last = Some(fd);
        } else if turn::has_pushed_much() {
            return false;
        }
        !self.time.is_used_up()
    }

    fn count(&mut self, is_run: bool) {
        match is_run {
            true => self.time.count_light(Instant::now),
            false => self.time.count_other(),
        }
    }

    /// Sends commands into the mailboxes of reactors, so that they stand before all that a worker sends
    /// later.
    pub(super) fn send(&self, to: Mailboxes) {
        let handle = &self.runner.handle;
        match to {
            Mailboxes::All => handle.delivery.flush(handle.shared()),
            Mailboxes::Others => handle.delivery.send_to_others(handle.shared()),
        }
    }

    /// Whether there are commands to send or to take.
    pub(super) fn has_commands(&self) -> bool {
        !self.runner.handle.delivery.is_empty()
    }

    /// Takes the next batch of commands for the own reactor.
    pub(super) fn take_commands(&self) -> Option<CommandBatch> {
        self.runner.handle.delivery.take_own()
    }

    /// Takes back the emptied list of such a batch.
    pub(super) fn reuse(&self, commands: Vec<Command>) {
        self.runner.handle.delivery.reuse(commands);
    }
}

/// The time that the light events of a turn take. It is estimated, since the clock costs too much to be
/// asked twice for each: what passes between two looks is shared by all events in between.
#[derive(Debug, Default)]
struct LightTime {
    /// Light events since the last look at the clock.
    light: u32,
    /// Other events since then.
    others: u32,
    looked_at: Option<Instant>,
    spent: Duration,
}

impl LightTime {
    /// Counts an event that went to a worker.
    fn count_other(&mut self) {
        self.others = self.others.saturating_add(1);
    }

    /// Counts an event that was handled here.
    fn count_light(&mut self, clock: impl FnOnce() -> Instant) {
        self.light += 1;
        if self.light < EVENTS_A_LOOK {
            return;
        }
        let now = clock();
        if let Some(before) = self.looked_at.replace(now) {
            let all = self.light.saturating_add(self.others);
            self.spent += now.duration_since(before) * self.light / all;
        }
        (self.light, self.others) = (0, 0);
    }

    /// Whether there is none left for this turn.
    fn is_used_up(&self) -> bool {
        self.spent >= turn::TURN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts light events, each of which takes 10 µs and comes behind so many others of 3 µs, until
    /// they have used up their time; returns how many there were.
    fn until_used_up(others: u32) -> u32 {
        let (mut time, mut now) = (LightTime::default(), Instant::now());
        for light in 1..=1_000_000 {
            for _ in 0..others {
                now += Duration::from_micros(3);
                time.count_other();
            }
            now += Duration::from_micros(10);
            time.count_light(|| now);
            if time.is_used_up() {
                return light;
            }
        }
        panic!("their time is bounded");
    }

    #[test]
    fn light_events_use_up_the_time_of_a_turn_and_others_hardly_any_of_it() {
        let alone = until_used_up(0);
        assert!((100..=100 + 2 * EVENTS_A_LOOK).contains(&alone), "{alone}");
        let beside = [1, 10, 1_000].map(until_used_up);
        let bound = alone..4 * alone;
        assert!(
            beside.iter().all(|beside| bound.contains(beside)),
            "{beside:?}"
        );
    }
}
