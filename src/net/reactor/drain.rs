//! The end of all connections: a drain answers and closes them gracefully, a stop cuts them.

use super::write_queue::LaterShare;
use super::{EventSink, Reactor, TimerPurpose, send};
use crate::net::command::Command;
use crate::net::slots::{ReadState, SlotId, SlotPhase};
use crate::proto::connection::{CloseReason, ConnectionEvent};

/// WebSockets that all reactors together tell to leave in a second, so that the clients don't all
/// reconnect at once. A round number; above 5,000 WebSockets [`SPREAD_MS_MAX`] raises it.
const FAREWELLS_A_SECOND: u64 = 500;

/// The longest time over which farewells are spread, in milliseconds: a third of the default
/// `stop_ms_max`, so that the close handshakes have the rest.
const SPREAD_MS_MAX: u64 = 10_000;

/// Time between two groups of farewells, in milliseconds: a group has ten WebSockets at 500 a
/// second, so the clients notice no steps.
const FAREWELL_STEP_MS: u64 = 20;

/// Close code of RFC 6455 §7.4.1 for a server that failed.
const INTERNAL_ERROR: u16 = 1011;

/// A stop under way.
#[derive(Debug)]
pub(super) struct Drain {
    /// WebSockets that got no farewell yet.
    waiting: Vec<SlotId>,
    /// WebSockets in one group.
    step: usize,
}

impl<S: EventSink> Reactor<S> {
    /// Stops accepting; requests under way are answered, and WebSockets are told to leave.
    pub(super) fn drain(&mut self) {
        if self.drain.is_some() {
            return;
        }
        // Connections in the kernel's queue would be reset; accept and answer them. Since
        // `self.drain` is set, they stay with this reactor: the others may end before it.
        self.drain = Some(Drain {
            waiting: Vec::new(),
            step: 0,
        });
        self.context.drain_since = Some(self.context.clock.now());
        self.accept_from_all_listeners();
        while self.has_more_to_accept {
            self.accept_rest();
        }
        self.acceptors.clear();
        if self.id == 0 {
            for peer in &self.peers[1..] {
                send(peer, Command::Drain);
            }
        }
        let waiting: Vec<SlotId> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.connection.is_websocket())
            .map(|(index, _)| self.slots.id_of(index))
            .collect();
        self.drain = Some(Drain {
            step: step_of(waiting.len(), self.peers.len()),
            waiting,
        });
        for index in self.slots.indices() {
            // Idle HTTP connections have an earlier deadline during a drain.
            self.arm(index);
        }
        self.say_farewells();
    }

    /// Sends farewells to the next group. The list made by [`Reactor::drain`] is complete, since
    /// no connection becomes a WebSocket during a drain.
    pub(super) fn say_farewells(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        let first = drain.waiting.len().saturating_sub(drain.step);
        let group = drain.waiting.split_off(first);
        let more = !drain.waiting.is_empty();
        for id in group {
            self.say_farewell(id);
        }
        if more {
            self.set_timer(FAREWELL_STEP_MS, TimerPurpose::Farewells);
        }
    }

    /// Stops reading from a WebSocket and sends its worker the farewell: the worker first handles
    /// the earlier messages and then closes it.
    pub(super) fn say_farewell(&mut self, id: SlotId) {
        let Some(slot) = self.slots.find(id) else {
            return;
        };
        if slot.phase != SlotPhase::Live || !slot.connection.is_open() || slot.gone {
            // The connection is leaving, and the peer's Close or end has to be read.
            return;
        }
        if slot.reading == ReadState::Paused {
            self.shared.counters.paused.sub(1);
        }
        slot.reading = ReadState::Stopped;
        self.sink.farewell(slot.fd);
    }

    /// Closes all WebSockets at once, with what can be written without waiting, since the reactor
    /// can't go on.
    pub(super) fn part(&mut self) {
        for index in self.slots.indices() {
            let fd = self.slots[index].fd;
            if self.slots[index].connection.is_open() {
                self.disconnect(fd, INTERNAL_ERROR, "the server failed");
            }
        }
        self.stop();
    }

    /// Cuts all connections that are left, once the large deliveries that were begun are written.
    pub(super) fn stop(&mut self) {
        self.write_all(&mut LaterShare::of_all());
        self.stopped = true;
        for index in self.slots.indices() {
            let slot = &mut self.slots[index];
            if slot.phase == SlotPhase::Live {
                self.shared.counters.cut.add(1);
                self.shared
                    .counters
                    .unanswered
                    .add(slot.connection.unanswered() as u64);
            }
            if let Some(ConnectionEvent::Closed(reason)) = slot.connection.abort(CloseReason::Lost)
            {
                self.leave(index, reason);
            }
            if self.slots.contains(index) {
                self.remove(index);
            }
        }
        self.sink.end_turn();
    }
}

/// Returns how many of `connections` form a group, so that all get their farewell in time.
fn step_of(connections: usize, reactors: usize) -> usize {
    let connections = connections as u64;
    let spread_ms = (connections * reactors as u64 * 1_000 / FAREWELLS_A_SECOND).min(SPREAD_MS_MAX);
    let steps = (spread_ms / FAREWELL_STEP_MS).max(1);
    connections.div_ceil(steps) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn farewells_are_spread_over_at_most_ten_seconds() {
        for connections in [0, 1, 5, 500, 5_000, 100_000] {
            for reactors in [1, 4] {
                let steps = connections / step_of(connections, reactors).max(1);
                assert!(
                    steps as u64 * FAREWELL_STEP_MS <= SPREAD_MS_MAX,
                    "{connections}"
                );
            }
        }
        assert_eq!(step_of(500, 1), 10, "500 a second in steps of 20 ms");
        assert_eq!(step_of(100_000, 1), 200, "all in 10 s");
    }
}
