//! The course of one freeze, as the main thread goes through it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::errand::{FreezeErrand, FreezeError, FreezeHolder, FreezeStep, FreezeTimes};
use super::frozen::FrozenServer;
use super::part::Freezes;
use crate::base::vital::wait_while_told;
use crate::net::command::{Command, CommandBatch};
use crate::net::freeze::FreezeOrder;
use crate::server::process::Supervisor;
use crate::server::runner::Runner;
use crate::server::shared::ServerShared;

/// A freeze under way.
pub(in crate::server) struct Freeze {
    number: u64,
    errand: FreezeErrand,
    step: FreezeStep,
    ms_max: u64,
    began: Instant,
    step_began: Instant,
    times: FreezeTimes,
}

/// What a freeze brings to a stand.
pub(in crate::server) struct FreezingServer<'a> {
    pub(in crate::server) shared: &'a ServerShared,
    pub(in crate::server) supervisor: &'a mut Supervisor,
    pub(in crate::server) parts: &'a [Arc<dyn Freezes>],
    /// Calls functions in place of workers that rest.
    pub(in crate::server) runner: &'a Runner,
    /// Signals that came meanwhile.
    pub(in crate::server) signals: &'a mut Vec<i32>,
    /// Holds all signals back that would come now, and gives those that have come.
    pub(in crate::server) hold_signals: &'a mut dyn FnMut() -> Vec<i32>,
}

impl FreezingServer<'_> {
    /// Calls the functions that were given to the threads of callbacks after these had come to rest:
    /// another image would know nothing of them.
    fn call_late(&self) {
        for (fd, function) in self.shared.take_late_functions() {
            if self.runner.has_not_closed(fd) {
                self.runner.function(fd, function);
            }
        }
        self.runner.flush();
    }
}

impl Freeze {
    /// Begins a freeze, which may take so many milliseconds.
    pub(in crate::server) fn begin(
        number: u64,
        errand: FreezeErrand,
        ms_max: u64,
        server: &mut FreezingServer<'_>,
    ) -> Self {
        let now = Instant::now();
        let mut freeze = Self {
            number,
            errand,
            step: FreezeStep::Hush,
            ms_max,
            began: now,
            step_began: now,
            times: FreezeTimes::default(),
        };
        freeze.enter(FreezeStep::Hush, server);
        freeze
    }

    /// The moment at which the freeze is taken back.
    pub(in crate::server) fn deadline(&self) -> Instant {
        self.began + Duration::from_millis(self.ms_max)
    }

    /// Tells how the freeze has ended.
    pub(in crate::server) fn end(self, outcome: Result<FreezeTimes, FreezeError>) {
        (self.errand.ended)(outcome);
    }

    /// Takes the freeze back, since the server stops.
    pub(in crate::server) fn take_back(self, server: &mut FreezingServer<'_>) {
        self.thaw(server);
        (self.errand.ended)(Err(FreezeError::Stops));
    }

    /// Goes as far as the freeze comes now; all goes on again once there is an outcome.
    pub(in crate::server) fn go_on(
        &mut self,
        server: &mut FreezingServer<'_>,
    ) -> Option<Result<FreezeTimes, FreezeError>> {
        loop {
            if server.shared.main.is_asked_to_stop() {
                self.thaw(server);
                return Some(Err(FreezeError::Stops));
            }
            if let Some(holder) = self.holder(server) {
                if Instant::now() < self.deadline() {
                    return None;
                }
                self.thaw(server);
                let ms = self.ms_max;
                return Some(Err(FreezeError::Late { ms, holder }));
            }
            self.times
                .steps
                .push((self.step, self.step_began.elapsed()));
            match self.next_step(server) {
                Some(step) => self.enter(step, server),
                None => return Some(self.stand(server)),
            }
        }
    }

    fn next_step(&self, server: &FreezingServer<'_>) -> Option<FreezeStep> {
        let part = match self.step {
            FreezeStep::Hush => return Some(FreezeStep::Settle),
            FreezeStep::Settle => return Some(FreezeStep::Rest),
            FreezeStep::Rest => 0,
            FreezeStep::Part(part) => part + 1,
            FreezeStep::Still => return None,
        };
        match part < server.parts.len() {
            true => Some(FreezeStep::Part(part)),
            false => Some(FreezeStep::Still),
        }
    }

    fn enter(&mut self, step: FreezeStep, server: &mut FreezingServer<'_>) {
        (self.errand.at_step)(step);
        self.step = step;
        self.step_began = Instant::now();
        let (number, board) = (self.number, &server.shared.freeze);
        match step {
            FreezeStep::Hush => {
                self.order(server, FreezeOrder::Hush);
                server.parts.iter().for_each(|part| part.hush());
            }
            FreezeStep::Settle => {}
            FreezeStep::Rest => {
                server.supervisor.stand_still();
                board.order_workers(number);
                for worker in &server.shared.workers {
                    worker.rest(number);
                }
                // Where there are no workers, the callbacks run there.
                self.order(server, FreezeOrder::Rest);
            }
            FreezeStep::Part(part) => {
                let order = board.order_of_part(part, number);
                server.parts[part].rest(order);
            }
            FreezeStep::Still => {
                board.gate.close();
                server.call_late();
                server.supervisor.hold_intakes();
                board.order_reactors(number);
                self.order(server, FreezeOrder::Still);
            }
        }
        wait_while_told(step.point());
    }

    /// The one for whom the present step waits.
    fn holder(&self, server: &FreezingServer<'_>) -> Option<FreezeHolder> {
        let (number, board) = (self.number, &server.shared.freeze);
        match self.step {
            FreezeStep::Hush => board.unhushed(number),
            FreezeStep::Settle => board.unanswered(),
            FreezeStep::Rest => board.running(number),
            FreezeStep::Part(part) if board.does_part_rest(part, number) => None,
            FreezeStep::Part(part) => Some(FreezeHolder::Part(server.parts[part].name())),
            FreezeStep::Still => board.turning(number),
        }
    }

    /// Does the errand while all stands still, and then has all go on.
    fn stand(&mut self, server: &mut FreezingServer<'_>) -> Result<FreezeTimes, FreezeError> {
        server.supervisor.take_accepted();
        server.signals.extend((server.hold_signals)());
        let mut frozen = FrozenServer {
            number: self.number,
            began: self.began,
            thaw_ms_max: server.shared.main.times.thaw_ms_max(),
            signals: server.signals.clone(),
            reactors: server.shared.freeze.take_frozen(),
            frames: server.shared.freeze.frames(),
            waiting: server.shared.freeze.take_waiting(),
            paused: server.shared.pauses.lasting(),
            supervisor: server.supervisor,
        };
        let while_still = std::mem::replace(&mut self.errand.while_still, Box::new(|_| {}));
        let done = catch_unwind(AssertUnwindSafe(|| while_still(&mut frozen)));
        self.thaw(server);
        done.map_err(|_| FreezeError::Panicked)?;
        self.times.stood = self.step_began.elapsed();
        self.times.whole = self.began.elapsed();
        Ok(std::mem::take(&mut self.times))
    }

    /// Goes through the steps backwards, from wherever the freeze is.
    fn thaw(&self, server: &mut FreezingServer<'_>) {
        let board = &server.shared.freeze;
        board.thaw_reactors();
        board.forget_frames();
        server.supervisor.open_intakes();
        board.gate.open();
        server.parts.iter().rev().for_each(|part| part.thaw());
        board.thaw_workers();
        server.supervisor.go_on();
        // What it passed over has woken this thread already.
        server.shared.main.wake();
        self.order(server, FreezeOrder::Thaw);
    }

    fn order(&self, server: &FreezingServer<'_>, order: FreezeOrder) {
        let number = self.number;
        for reactor in 0..server.shared.mailboxes.len() {
            let command = Command::Freeze { number, order };
            server.shared.send(reactor, CommandBatch::of(command));
        }
    }
}
