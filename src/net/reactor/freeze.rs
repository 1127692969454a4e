//! The reactor in a freeze: it comes to a stand step by step, and goes on where it was.
//!
//! From the hush on nothing new comes in, and the owner of the events is told nothing: an event that
//! nobody takes any more would be lost. What would make one is looked at in the first turn after the
//! thaw: the next request of a pipeline when an answer goes out, a write that failed, an outbox over
//! its bound, or as empty as somebody waits for. Until then it stays where it is: bytes in the
//! connection, in the outbox, in the kernel.
//!
//! The clock stands meanwhile, so that no deadline counts the time.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use mio::Events;

use super::write_queue::LaterShare;
use super::{EventSink, Reactor};
use crate::net::HandedListener;
use crate::net::freeze::{FreezeOrder, FreezeProgress, UnansweredRequest};
use crate::net::listener::Acceptor;
use crate::net::outbox::Content;
use crate::net::refusals::ReactorRefusal;
use crate::net::slots::{SlotId, SlotPhase, WriteTurn};
use crate::proto::connection::Output;
use crate::proto::http::Response;

/// A freeze under way.
#[derive(Debug)]
pub(super) struct ReactorFreeze {
    number: u64,
    /// Connections with requests that were handed on and aren't answered.
    unanswered: Vec<SlotId>,
    /// The requests of how many connections the owner of the events knows to be unanswered.
    told: Option<usize>,
    rest: CallbackRest,
    is_still: bool,
    /// Connections to look at in the first turn after the thaw.
    put_off: HashSet<SlotId>,
}

/// Whether callbacks run on the reactor's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallbackRest {
    /// They do, where there are no workers.
    Runs,
    /// None does, once those of other threads' jobs have run.
    Ordered,
    /// None does.
    Rests,
}

impl<S: EventSink> Reactor<S> {
    /// Whether the owner of the events is told nothing.
    pub(super) fn is_hushed(&self) -> bool {
        self.freeze.is_some()
    }

    /// The number of the freeze in which the reactor stands still.
    pub(super) fn stands_still(&self) -> Option<u64> {
        let freeze = self.freeze.as_deref()?;
        freeze.is_still.then_some(freeze.number)
    }

    /// The sockets of the connections.
    pub fn sockets(&self) -> Vec<RawFd> {
        let slots = self.carried();
        slots.map(|(_, slot)| slot.socket.as_raw_fd()).collect()
    }

    /// The listening sockets.
    pub fn listeners(&self) -> Vec<HandedListener> {
        self.acceptors.iter().map(Acceptor::handed).collect()
    }

    /// Leaves the stand; the thaw, which comes as a command, does the rest.
    pub(super) fn leave_stand(&mut self) {
        if let Some(freeze) = &mut self.freeze {
            freeze.is_still = false;
        }
    }

    /// Carries out an order; one of a freeze that isn't under way is skipped.
    pub(super) fn freeze(&mut self, number: u64, order: FreezeOrder) {
        if order == FreezeOrder::Hush {
            return self.hush(number);
        }
        let Some(freeze) = &mut self.freeze else {
            return;
        };
        if freeze.number != number {
            return;
        }
        match order {
            FreezeOrder::Hush => {}
            FreezeOrder::Rest => freeze.rest = CallbackRest::Ordered,
            FreezeOrder::Still => {
                freeze.is_still = true;
                self.deliver_all_gathered();
            }
            FreezeOrder::Thaw => self.thaw(),
        }
    }

    fn hush(&mut self, number: u64) {
        let unanswered = self.slots.iter();
        let unanswered = unanswered.filter(|(_, slot)| slot.connection.open_requests() > 0);
        let unanswered = unanswered.map(|(index, _)| self.slots.id_of(index));
        self.freeze = Some(Box::new(ReactorFreeze {
            number,
            unanswered: unanswered.collect(),
            told: None,
            rest: CallbackRest::Runs,
            is_still: false,
            put_off: HashSet::new(),
        }));
        self.context.clock.stop();
    }

    fn thaw(&mut self) {
        let Some(freeze) = self.freeze.take() else {
            return;
        };
        self.context.clock.go_on();
        for id in freeze.put_off {
            self.look_at(id);
        }
        // What the hushed turns left out is done in the next one.
        self.peers[self.id].nudge();
    }

    /// Does with a connection what was put off.
    fn look_at(&mut self, id: SlotId) {
        let Some(slot) = self.slots.find(id) else {
            return;
        };
        if slot.phase == SlotPhase::Live {
            self.pump(id.index, &mut []);
        }
        if let Some(slot) = self.slots.find(id) {
            self.writes.note(id.index, slot, WriteTurn::This);
        }
    }

    /// Has a connection looked at in the first turn after the thaw.
    pub(super) fn put_off(&mut self, index: u32) {
        let id = self.slots.id_of(index);
        if let Some(freeze) = &mut self.freeze {
            freeze.put_off.insert(id);
        }
    }

    /// Runs a turn in which nothing comes in.
    pub(super) fn hushed_turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.shared.counters.turns.add(1);
        self.writes.begin_turn();
        self.note_all(events)?;
        self.apply_all();
        self.end_turn(false);
        Ok(())
    }

    /// Does what is left of a turn, as `settle` does it otherwise.
    pub(super) fn settle_hushed(&mut self) {
        let mut later = LaterShare::of_a_turn(self.writes_later_max(true));
        if self.stands_still().is_some() {
            // Large deliveries stay in the outboxes.
            later = LaterShare::of_a_turn(0);
        }
        let may_serve = self.rest_callbacks();
        let mut has_served = false;
        loop {
            self.sink.end_turn();
            self.apply_own();
            self.write_all(&mut later);
            if !self.writes.is_due() && !self.sink.has_pending() {
                if has_served || !may_serve || !self.sink.serve_waiting() {
                    break;
                }
                has_served = true;
            }
        }
        self.tell_progress();
    }

    /// Goes on to rest, if that is ordered; whether callbacks still run.
    fn rest_callbacks(&mut self) -> bool {
        let Some(freeze) = &mut self.freeze else {
            return false;
        };
        match freeze.rest {
            CallbackRest::Runs => return true,
            CallbackRest::Ordered if self.sink.rest() => {
                freeze.rest = CallbackRest::Rests;
                self.sink.frozen(freeze.number, FreezeProgress::Rests);
            }
            CallbackRest::Ordered => self.peers[self.id].nudge(),
            CallbackRest::Rests => {}
        }
        false
    }

    fn tell_progress(&mut self) {
        let Some(freeze) = &mut self.freeze else {
            return;
        };
        let slots = &mut self.slots;
        freeze.unanswered.retain(|id| {
            let slot = slots.find(*id);
            slot.is_some_and(|slot| slot.connection.open_requests() > 0)
        });
        let count = freeze.unanswered.len();
        if freeze.told.replace(count) == Some(count) {
            return;
        }
        let now = self.context.clock.now();
        let ages = freeze.unanswered.iter().filter_map(|id| {
            let slot = slots.find(*id)?;
            let age_ms = now.since(slot.connection.at_work_since()?);
            let fd = slot.fd;
            Some(UnansweredRequest { fd, age_ms })
        });
        let unanswered = ages.max_by_key(|request| request.age_ms);
        let progress = FreezeProgress::Hushed { unanswered };
        self.sink.frozen(freeze.number, progress);
    }

    /// Whether a hushed reactor has something to do before the next command or event comes.
    pub(super) fn has_more_while_hushed(&self) -> bool {
        let serves = (self.freeze.as_ref()).is_some_and(|one| one.rest == CallbackRest::Runs);
        self.writes.has_later() || (serves && self.sink.has_waiting())
    }

    /// Gives an answer out as far as it leaves now; what stands behind it has to wait.
    pub(super) fn answer_hushed(&mut self, index: u32, serial: u32, response: Response) {
        self.slots[index].connection.answer(serial, response);
        let mut rules = self.context.rules();
        loop {
            let slot = &mut self.slots[index];
            rules.room = self.context.room_beside(slot.outbox.bytes());
            let Some(output) = slot.connection.next_output(&rules) else {
                break;
            };
            if let Some(error) = slot.connection.take_refused() {
                let asked = (Some(slot.fd), self.shared.directory.peer(slot.fd));
                let refusal = ReactorRefusal::Http(error);
                self.refusals
                    .note(&self.shared.counters, refusal, asked, &error);
            }
            if let Output::Http(bytes) = output {
                slot.outbox.push(&mut self.arena, bytes, Content::Http);
                self.writes.note(index, slot, WriteTurn::This);
            }
        }
        let slot = &self.slots[index];
        if slot.budgeted > 0 || slot.connection.waiting_bytes() > 0 {
            self.count_waiting(index);
        }
        self.put_off(index);
    }
}
