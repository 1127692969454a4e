//! The light events of a reactor that has workers: those that its own thread handles at once, since
//! the way to a worker and back costs more than what is done there.
//!
//! The builder is told which events are light ([`Builder::light`](super::Builder::light)): those
//! whose callback never blocks on more than a short lock, and costs little. All others go to the
//! worker of their connection, and so do light ones while something of their connection is still
//! there, or once the turn of the reactor has lasted long.
//!
//! Invariant: an event is offered here only if all earlier ones of its connection are handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use super::message::Frame;
use super::order::ReactorOrders;
use super::runner::Runner;
use super::turn;
use crate::base::Fd;
use crate::net::command::{Command, CommandBatch};
use crate::proto::connection::HttpRequest;

/// Events between two looks at the clock, which costs a tenth of an echo. A round number: that many
/// echoes take some 10 µs.
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
    /// Events of this turn.
    events: u32,
    /// The time of the first look at the clock in this turn.
    began: Option<Instant>,
    /// Whether the turn has lasted so long that the rest goes to the workers.
    is_over: bool,
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
            events: 0,
            began: None,
            is_over: false,
        }
    }

    /// Begins, on the reactor's thread.
    pub(super) fn start(&self) {
        turn::set_pushed_max(self.answers_bytes_max.load(Relaxed));
    }

    /// Begins a turn of the reactor.
    pub(super) fn begin_turn(&mut self) {
        if self.events > 0 {
            self.start();
            self.last = None;
            self.events = 0;
            self.began = None;
            self.is_over = false;
        }
    }

    /// Handles a message if it is light; `false` if nothing was done.
    pub(super) fn message(&mut self, frame: Frame<'_>) -> bool {
        self.admits(frame.fd) && self.runner.light_message(frame)
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
        if !self.admits(fd) || !self.runner.is_light_request(fd, &request) {
            return Err(request);
        }
        self.runner.request(fd, *request);
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
        self.events += 1;
        if self.events.is_multiple_of(EVENTS_A_LOOK) {
            let began = *self.began.get_or_insert_with(Instant::now);
            self.is_over |= began.elapsed() >= turn::TURN;
        }
        !self.is_over
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
