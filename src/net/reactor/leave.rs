//! The way out of one connection.

use std::net::Shutdown;

use bytes::Bytes;

use super::{EventSink, Reactor};
use crate::net::outbox::Content;
use crate::net::refusals::ReactorRefusal;
use crate::net::slots::{KnownAs, ReadState, SlotPhase, WriteTurn};
use crate::proto::connection::{CloseReason, ConnectionEvent};
use crate::proto::websocket::ControlFrame;

impl<S: EventSink> Reactor<S> {
    /// Starts the end of a connection after its last event: it leaves the directory, and its
    /// outbox is still written.
    pub(super) fn leave(&mut self, index: u32, reason: CloseReason) {
        self.forget(index, reason);
        let cut_at = self
            .context
            .clock
            .now()
            .after(self.context.limits.linger_ms_max);
        let slot = &mut self.slots[index];
        slot.phase = SlotPhase::Flushing;
        slot.cut_at = cut_at;
        if slot.peer_ended && slot.reading != ReadState::Queued && slot.unsent() == 0 {
            self.remove(index);
            return;
        }
        self.writes.note(index, slot, WriteTurn::This);
        self.arm(index);
    }

    /// Takes the connection out of the directory and the topics, and tells its owner.
    fn forget(&mut self, index: u32, reason: CloseReason) {
        let slot = &mut self.slots[index];
        let fd = slot.fd;
        if let CloseReason::Violation(error) = &reason {
            let asked = (Some(fd), self.shared.directory.peer(fd));
            let refusal = ReactorRefusal::Frame;
            self.refusals
                .note(&self.shared.counters, refusal, asked, error);
        }
        self.shared.directory.remove(fd);
        let unfinished = std::mem::take(&mut slot.unfinished);
        if unfinished > 0 {
            self.shared.unfinished.remove(unfinished);
            self.shared.counters.unfinished_bytes.sub(unfinished as u64);
            self.unfinished_holders.set(index, 0);
        }
        self.topics.unsubscribe_all(index);
        if slot.reading == ReadState::Paused {
            self.shared.counters.paused.sub(1);
        }
        if matches!(slot.reading, ReadState::Paused | ReadState::Stopped) {
            // From here on, bytes that are read are thrown away.
            slot.reading = ReadState::Queued;
            self.queue_read(self.slots.id_of(index));
        }
        let slot = &mut self.slots[index];
        let known_as = std::mem::replace(&mut slot.known_as, KnownAs::Nothing);
        if known_as.is_websocket() {
            let counters = &self.shared.counters;
            counters.websockets.sub(1);
            match known_as {
                KnownAs::DeflatingWebSocket => counters.websockets_deflating.sub(1),
                KnownAs::EventStream => counters.event_streams.sub(1),
                _ => {}
            }
            match reason {
                CloseReason::SlowReader => counters.slow_readers.add(1),
                CloseReason::PingTimeout => counters.ping_timeouts.add(1),
                _ => {}
            }
            self.sink.closed(slot.fd, reason);
        }
    }

    /// Shuts the write side of a leaving connection whose outbox is empty; then the socket is read
    /// to its end. If it were closed with unread input, the kernel would send a reset, and the
    /// peer could lose the close code.
    pub(super) fn shut(&mut self, index: u32) {
        if self.says_goodbye(index) {
            return;
        }
        let slot = &mut self.slots[index];
        slot.phase = SlotPhase::Lingering;
        let is_read_to_end = slot.peer_ended && slot.reading != ReadState::Queued;
        if is_read_to_end || slot.socket.shutdown(Shutdown::Write).is_err() {
            self.remove(index);
        }
    }

    /// Ends a connection whose socket failed.
    pub(super) fn lose(&mut self, index: u32) {
        if let Some(ConnectionEvent::Closed(reason)) =
            self.slots[index].connection.abort(CloseReason::Lost)
        {
            self.forget(index, reason);
        }
        self.remove(index);
    }

    /// Gives up a peer that doesn't read: a WebSocket is closed with 4008; an HTTP connection is
    /// cut, since HTTP can't tell it the reason.
    pub(super) fn give_up(&mut self, index: u32) {
        let slot = &self.slots[index];
        if slot.connection.is_websocket() {
            self.evict(index);
            return;
        }
        if slot.phase == SlotPhase::Live {
            self.shared.counters.slow_http_readers.add(1);
            tracing::debug!(fd = slot.fd.0, "cut: the peer reads its answers too slowly");
        }
        self.lose(index);
    }

    /// Closes a WebSocket whose peer doesn't read: unstarted frames are dropped, and Close 4008
    /// tells the reason. A stream of events is cut: its reader comes back, and says what it has.
    pub(super) fn evict(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        let is_stream = slot.known_as == KnownAs::EventStream;
        let Some(ConnectionEvent::Closed(reason)) = slot.connection.abort(CloseReason::SlowReader)
        else {
            // The connection was leaving already, and the peer doesn't even read its last bytes.
            self.remove(index);
            return;
        };
        if is_stream {
            self.forget(index, reason);
            return self.remove(index);
        }
        slot.outbox.drop_unstarted(&mut self.arena);
        let close = ControlFrame::close(4008, "too slow a reader");
        let close = Bytes::copy_from_slice(close.as_bytes());
        slot.outbox.push(&mut self.arena, close, Content::Own);
        self.count_waiting(index);
        tracing::debug!(
            fd = self.slots[index].fd.0,
            "closed with 4008: the peer reads too slowly"
        );
        self.leave(index, reason);
    }

    /// Frees the slot and closes the socket.
    pub(super) fn remove(&mut self, index: u32) {
        let mut slot = self.slots.remove(index);
        slot.outbox.clear(&mut self.arena);
        if slot.tls.is_some() {
            self.shared.counters.tls_connections.sub(1);
        }
        self.shared.budget.remove(slot.budgeted);
        self.shared.strangers.remove(slot.fd);
        if slot.backlogged {
            self.shared.counters.backlogged.sub(1);
        }
        if slot.backlogged || slot.budgeted > 0 {
            self.outbox_holders.set(index, 0);
        }
        if !self.awaited.is_empty() {
            self.awaited.remove(&index);
        }
        if let Some(timer) = slot.timer {
            self.wheel.cancel(timer);
        }
    }
}
