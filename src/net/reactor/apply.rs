//! Commands: the reactor carries out what the other threads ask of it.

use std::sync::Arc;

use bytes::Bytes;

use super::event_streams::SharedEvents;
use super::read::owned;
use super::{Awaited, EventSink, OwnCommands, Reactor, send_all};
use crate::base::Fd;
use crate::net::command::{AwaitedBy, Command, CommandBatch, SharedFrame};
use crate::net::outbox::Content;
use crate::net::refusals::ReactorRefusal;
use crate::net::slots::{KnownAs, ReadState};
use crate::proto::http::Response;

/// Batches of commands that are carried out in one turn; the rest keeps the reactor awake.
///
/// A round number. There has to be a bound, since threads that send without a pause would
/// otherwise keep the reactor in one turn for ever.
const BATCHES_A_TURN_MAX: usize = 4_096;

/// Messages given to outboxes in one turn, and commands carried out, each of which counts as several; the
/// rest of the mailbox waits for the next one. They take about a millisecond, or as much longer as the
/// last batch is longer.
const GIVEN_A_TURN_MAX: u64 = 8_192;

/// Messages that a command counts as: an answer is written in its turn, which takes so many times as long
/// as to give a message to an outbox.
const GIVEN_A_COMMAND: u64 = 16;

/// The close code "try again later" of the registry that RFC 6455 §11.7 founded.
const TRY_AGAIN_LATER: u16 = 1013;

impl<S: EventSink> Reactor<S> {
    /// Carries out the commands in the mailbox, at most `BATCHES_A_TURN_MAX` batches, and those with
    /// no more work than `GIVEN_A_TURN_MAX`, if there are several.
    pub(super) fn apply_all(&mut self) {
        if S::OWN_COMMANDS == OwnCommands::First {
            self.apply_own();
        }
        let before = self.commands_done();
        for _ in 0..BATCHES_A_TURN_MAX {
            let Some(batch) = self.mailbox.try_recv() else {
                break;
            };
            drop(self.apply(batch));
            if self.commands_done() - before >= GIVEN_A_TURN_MAX {
                break;
            }
        }
        if self.mailbox.settle() {
            for peer in &self.peers {
                peer.nudge();
            }
        }
        if S::OWN_COMMANDS == OwnCommands::Behind {
            self.apply_own();
        }
    }

    /// Counts what was carried out so far: each receiver of a publish once, a command as often as its write
    /// takes longer.
    fn commands_done(&self) -> u64 {
        let counters = &self.shared.counters;
        counters.commands.get() * GIVEN_A_COMMAND + counters.deliveries.get()
    }

    /// Carries out the commands that handlers on this thread gave; where they mustn't overtake what
    /// is left in the mailbox, puts them behind it.
    pub(super) fn apply_own(&mut self) {
        while let Some(batch) = self.sink.take_commands() {
            if S::OWN_COMMANDS == OwnCommands::First || self.mailbox.is_empty() {
                let emptied = self.apply(batch);
                self.sink.reuse(emptied);
            } else {
                send_all(&self.peers[self.id], batch);
            }
        }
    }

    /// Carries out a batch; gives back its list, emptied.
    fn apply(&mut self, batch: CommandBatch) -> Vec<Command> {
        let CommandBatch {
            mut commands,
            frames,
        } = batch;
        self.shared.counters.commands.add(commands.len() as u64);
        for command in commands.drain(..) {
            match command {
                Command::Push { fd, start, end } => {
                    let frames = frames.slice(start as usize..end as usize);
                    self.push(fd, frames, Content::Own);
                }
                Command::PushLarge { fd, frame } => self.push(fd, frame, Content::Whole),
                other => self.apply_one(other),
            }
        }
        commands
    }

    fn apply_one(&mut self, command: Command) {
        match command {
            Command::Publish { topic, frame } => {
                self.deliver_gathered_of(&topic);
                self.publish(&topic, &frame);
            }
            Command::Deliver { topic, frames, way } => self.deliver(&topic, frames, way),
            Command::Broadcast(frame) => self.broadcast(&frame),
            Command::Subscribe {
                fd,
                topic,
                frames_first,
            } => {
                self.subscribe(fd, &topic, frames_first);
            }
            Command::Unsubscribe { fd, topic } => self.unsubscribe(fd, &topic),
            Command::Disconnect { fd, code, reason } => self.disconnect(fd, code, &reason),
            Command::AwaitBuffer { fd, bytes_max, by } => self.await_buffer(fd, bytes_max, by),
            Command::Answer {
                fd,
                serial,
                response,
            } => self.answer(fd, serial, *response),
            Command::Settings(order) => self.take_settings(*order),
            Command::Adopt(arrival) => self.take_in(*arrival),
            Command::StartTimer {
                timer,
                after_ms,
                repeats,
            } => {
                self.start_user_timer(timer, after_ms, repeats);
            }
            Command::ClearTimer(timer) => self.clear_user_timer(timer),
            Command::Renew => self.sink.renew(),
            Command::Encrypted(order) => self.order_encrypted(order),
            Command::Drain => self.drain(),
            Command::PeerEnded => self.peers_left = self.peers_left.saturating_sub(1),
            Command::Stop => self.stop(),
            Command::Freeze { number, order } => self.freeze(number, order),
            Command::Push { .. } | Command::PushLarge { .. } => {
                unreachable!("pushes are carried out with their batch's frames")
            }
        }
    }

    fn slot_of(&self, fd: Fd) -> Option<u32> {
        self.shared.directory.slots().slot_of(fd)
    }

    /// Whether there is a WebSocket in this slot that takes messages.
    pub(super) fn is_open(&self, index: u32) -> bool {
        self.slots.contains(index) && self.slots[index].connection.is_open()
    }

    fn push(&mut self, fd: Fd, frames: bytes::Bytes, content: Content) {
        match self.slot_of(fd) {
            Some(index) if self.is_open(index) => {
                self.send(index, frames, content);
            }
            _ => self.shared.counters.pushes_late.add(1),
        }
    }

    pub(super) fn publish(&mut self, topic: &str, frame: &SharedFrame) {
        // A copy, since sending may end a member, which moves the others.
        let mut receivers = std::mem::take(&mut self.receivers);
        receivers.extend(self.topics.members(topic).iter().map(|member| member.slot));
        let turn = self.writes.turn_of(receivers.len());
        let mut delivered = 0;
        let has_one_form =
            frame.deflated.is_none() && self.shared.counters.event_streams.get() == 0;
        match has_one_form {
            true => {
                for index in receivers.drain(..) {
                    delivered += u64::from(self.deliver_to(turn, index, &frame.plain));
                }
            }
            false => {
                let mut events = SharedEvents::default();
                for index in receivers.drain(..) {
                    let form = self.form_for(index, frame, &mut events);
                    delivered += u64::from(self.deliver_to(turn, index, &form));
                }
            }
        }
        self.shared.counters.deliveries.add(delivered);
        self.receivers = receivers;
    }

    /// Picks the form of a frame that a peer understands.
    fn form_for(&mut self, index: u32, frame: &SharedFrame, events: &mut SharedEvents) -> Bytes {
        let known_as = self.slots.get_mut(index).map(|slot| slot.known_as);
        match known_as {
            Some(KnownAs::EventStream) => self.shared_events(&frame.plain, events),
            Some(KnownAs::DeflatingWebSocket) => frame.smallest().clone(),
            _ => frame.plain.clone(),
        }
    }

    fn broadcast(&mut self, frame: &SharedFrame) {
        let turn = self.writes.turn_of(self.slots.len());
        let mut events = SharedEvents::default();
        let mut delivered = 0;
        for index in self.slots.indices() {
            let form = self.form_for(index, frame, &mut events);
            delivered += u64::from(self.deliver_to(turn, index, &form));
        }
        self.shared.counters.deliveries.add(delivered);
    }

    fn subscribe(&mut self, fd: Fd, topic: &Arc<str>, frames_first: bytes::Bytes) {
        let Some(index) = self.slot_of(fd) else {
            return;
        };
        if !self.is_open(index) {
            return;
        }
        // A member that subscribes once more has still to get what waits, ahead of `frames_first`.
        self.hand_out(index, topic);
        self.keep_latest(index, topic);
        if !frames_first.is_empty() && self.is_open(index) {
            self.send(index, frames_first, Content::Whole);
        }
        // Sending may have ended the connection; its slot must not join a topic on behalf of the
        // slot's next connection.
        if !self.is_open(index) {
            return;
        }
        match self.topics.subscribe(index, topic) {
            Ok(true) => self.skip_gathered(index, topic),
            Ok(false) => {}
            Err(error) => {
                let asked = (Some(fd), self.shared.directory.peer(fd));
                let refusal = ReactorRefusal::Topics;
                self.refusals
                    .note(&self.shared.counters, refusal, asked, &error);
                // If it stayed open, the client would wait for messages that never come.
                self.disconnect(fd, TRY_AGAIN_LATER, "over capacity");
            }
        }
    }

    fn unsubscribe(&mut self, fd: Fd, topic: &str) {
        if let Some(index) = self.slot_of(fd) {
            // What was said before it left is still for it.
            self.hand_out(index, topic);
            self.keep_latest(index, topic);
            self.topics.unsubscribe(index, topic);
        }
    }

    pub(super) fn disconnect(&mut self, fd: Fd, code: u16, reason: &str) {
        let Some(index) = self.slot_of(fd) else {
            return;
        };
        if !self.slots[index].connection.is_websocket() {
            tracing::debug!(fd = fd.0, reason, "cut");
            return self.lose(index);
        }
        self.hand_out_all(index);
        if !self.slots.contains(index) {
            return;
        }
        let rules = self.context.rules();
        let Some(output) = self.slots[index].connection.close(&rules, code, reason) else {
            return;
        };
        let (frame, content) = owned(output);
        self.shared.directory.unestablish(fd);
        // A back end may send thousands away at once.
        let turn = self.writes.turn_of(1);
        self.send_in(turn, index, frame, content);
        if !self.slots.contains(index) {
            // The socket had failed, and the write has shown it only now.
            return;
        }
        // A farewell had stopped the reading; read again, to find the peer's Close.
        let slot = &mut self.slots[index];
        if slot.reading == ReadState::Stopped {
            slot.reading = ReadState::Queued;
            self.queue_read(self.slots.id_of(index));
        }
        self.arm(index);
    }

    fn await_buffer(&mut self, fd: Fd, bytes_max: usize, by: AwaitedBy) {
        if let Some(index) = self.slot_of(fd) {
            let id = self.slots.id_of(index);
            self.awaited_news.push(Awaited {
                id,
                fd,
                bytes_max,
                by,
            });
        }
    }

    fn answer(&mut self, fd: Fd, serial: u32, response: Response) {
        let Some(index) = self.slot_of(fd) else {
            return;
        };
        if self.is_hushed() {
            return self.answer_hushed(index, serial, response);
        }
        self.slots[index].connection.answer(serial, response);
        self.pump(index, &mut []);
        if self.slots.contains(index) {
            let slot = &self.slots[index];
            if slot.budgeted > 0 || slot.connection.waiting_bytes() > 0 {
                self.count_waiting(index);
            }
            self.resume_reading(index);
        }
    }
}
