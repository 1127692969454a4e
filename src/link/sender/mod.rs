//! The sending end of a link as a pure state machine: frames and time in, frames and events out.
//!
//! Nothing here opens a socket, reads a clock or takes a lock. The owner of the socket says
//! [`LinkSender::connected`], [`LinkSender::receive`] and [`LinkSender::lost`], gives messages by
//! [`LinkSender::feed`] and the time by [`LinkSender::expire`], and then takes
//! [`LinkSender::next_event`] until there is none, and [`LinkSender::next_frame`] for as long as the
//! socket takes frames.
//!
//! Invariants:
//! - A message counts as acknowledged only by the receiver's own word: its `open_ok`, `pub_ack` or
//!   `pub_err`. What was merely sent is sent again on the next link.
//! - Numbers go out in order and without holes, from the one behind the newest acknowledged.
//! - There is at most one socket: [`SenderEvent::Connect`] comes only after the last one was lost or
//!   let go by [`SenderEvent::Cut`] or [`SenderEvent::Close`].

mod backoff;
mod event;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

pub use event::{LinkLoss, SenderEvent};

use super::settings::{LinkSettings, LinkState};
use super::window::{NumberedPosting, SendWindow};
use super::wire::{self, ReceiverFrame, RefusalWords, Violation};
use crate::base::Tick;
use backoff::Backoff;

/// Longest pause that a receiver may ask for, in milliseconds. A minute: a receiver that means more
/// is asked again, so that no mistake of its clock stops a link for good.
const BUSY_MS_MAX: u64 = 60_000;

/// The name under which messages go over the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkIdentity {
    /// The producer, made with the outbox, whose numbers are the producer's numbers.
    pub producer: Arc<str>,
    /// The gateway's name, for people.
    pub name: Arc<str>,
}

/// The phase of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkPhase {
    /// There is no socket until this time.
    Waiting { until: Tick },
    /// A socket is being made, until this time at most.
    Connecting { until: Tick },
    /// `open` waits to be sent, or for its answer, until this time at most.
    Opening { until: Tick, is_sent: bool },
    /// Messages may go.
    Open {
        heard_at: Tick,
        ping_at: Tick,
        /// The time until which the receiver has no room.
        busy_until: Tick,
    },
    /// The link has ended for good.
    Ended,
}

/// The sending end of one link, over any number of sockets one after the other.
#[derive(Debug)]
pub struct LinkSender {
    identity: LinkIdentity,
    settings: LinkSettings,
    phase: LinkPhase,
    window: SendWindow,
    /// The oldest number that the outbox still has.
    first: u64,
    /// The newest number of the outbox, as far as is known.
    newest: u64,
    /// The number behind which messages were asked for, until they come.
    wanted_after: Option<u64>,
    /// Numbers that the receiver refused before all of those in front were acknowledged.
    refused: BTreeSet<u64>,
    events: VecDeque<SenderEvent>,
    /// Whether the receiver has said a mark, so that the window doesn't merely begin somewhere.
    has_opened: bool,
    /// The acknowledged number that the owner was told last.
    acked_told: u64,
    backoff: Backoff,
    is_draining: bool,
    resent: u64,
}

impl LinkSender {
    /// Makes a link that begins to connect at once, for an outbox with these oldest and newest
    /// numbers; `seed` spreads its pauses.
    #[must_use]
    pub fn new(
        now: Tick,
        identity: LinkIdentity,
        settings: LinkSettings,
        seed: u64,
        (first, newest): (u64, u64),
    ) -> Self {
        let mut window = SendWindow::default();
        window.restart_behind(first - 1);
        Self {
            identity,
            settings,
            phase: LinkPhase::Waiting { until: now },
            window,
            first,
            newest,
            wanted_after: None,
            refused: BTreeSet::new(),
            events: VecDeque::new(),
            has_opened: false,
            acked_told: 0,
            backoff: Backoff::new(&settings, seed),
            is_draining: false,
            resent: 0,
        }
    }

    /// Says that the socket is there, and its handshake done.
    pub fn connected(&mut self, now: Tick) {
        if let LinkPhase::Connecting { .. } = self.phase {
            let until = now.after(self.settings.silence_ms_max);
            self.phase = LinkPhase::Opening {
                until,
                is_sent: false,
            };
        }
    }

    /// Says that there is no socket any more, or that none could be made.
    pub fn lost(&mut self, now: Tick, why: LinkLoss) {
        if !matches!(self.phase, LinkPhase::Waiting { .. } | LinkPhase::Ended) {
            self.wait(now, why);
        }
    }

    /// Takes a text frame of the receiver.
    pub fn receive(&mut self, now: Tick, text: &str) {
        let taken = match ReceiverFrame::read(text) {
            Ok(frame) => self.receive_frame(now, frame),
            Err(Violation(what)) => Err(LinkLoss::Violation(what)),
        };
        if let Err(why) = taken {
            self.cut(now, why);
        }
    }

    /// Takes the messages that were wanted behind `after`; drops any others.
    pub fn feed(&mut self, now: Tick, after: u64, messages: Vec<NumberedPosting>) {
        if self.wanted_after != Some(after) {
            return;
        }
        self.wanted_after = None;
        if after != self.window.newest() {
            return;
        }
        if self.first > after + 1 {
            // Asking again would give the same, be it an empty page.
            return self.cut(now, LinkLoss::Trimmed);
        }
        for message in messages {
            if !self.window.push(message) {
                // Only the outbox's front ever goes, so a hole is at the front.
                return self.cut(now, LinkLoss::Trimmed);
            }
        }
        self.newest = self.newest.max(self.window.newest());
    }

    /// Takes the outbox's oldest and newest number, which only grow.
    pub fn update_outbox(&mut self, first: u64, newest: u64) {
        self.first = self.first.max(first);
        self.newest = self.newest.max(newest);
    }

    /// Asks for no further messages; the link ends once all that it holds is acknowledged.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Ends the link, whatever is left.
    pub fn end(&mut self) {
        let has_socket = !matches!(self.phase, LinkPhase::Waiting { .. } | LinkPhase::Ended);
        self.phase = LinkPhase::Ended;
        if has_socket {
            self.events.push_back(SenderEvent::Close);
        }
    }

    /// Takes the time, and does what is due.
    pub fn expire(&mut self, now: Tick) {
        if self.is_draining && self.window.is_empty() {
            return self.end();
        }
        match self.phase {
            LinkPhase::Waiting { until } if until <= now => {
                let until = now.after(self.settings.silence_ms_max);
                self.phase = LinkPhase::Connecting { until };
                self.events.push_back(SenderEvent::Connect);
            }
            LinkPhase::Connecting { until } | LinkPhase::Opening { until, .. } if until <= now => {
                self.cut(now, LinkLoss::Silent);
            }
            LinkPhase::Open { heard_at, .. }
                if heard_at.after(self.settings.silence_ms_max) <= now =>
            {
                self.cut(now, LinkLoss::Silent);
            }
            _ => {}
        }
    }

    /// Returns the time at which [`LinkSender::expire`] or [`LinkSender::next_frame`] has something
    /// to do, if nothing else happens before.
    #[must_use]
    pub fn deadline(&self) -> Tick {
        match self.phase {
            LinkPhase::Waiting { until }
            | LinkPhase::Connecting { until }
            | LinkPhase::Opening { until, .. } => until,
            LinkPhase::Open {
                heard_at,
                ping_at,
                busy_until,
            } => {
                let dead_at = heard_at.after(self.settings.silence_ms_max);
                let busy = busy_until > Tick(0) && self.window.has_unsent();
                let send_at = if busy { busy_until } else { Tick::NEVER };
                dead_at.min(ping_at).min(send_at)
            }
            LinkPhase::Ended => Tick::NEVER,
        }
    }

    /// Takes the next frame to send, if there is one now.
    pub fn next_frame(&mut self, now: Tick) -> Option<String> {
        match &mut self.phase {
            LinkPhase::Opening { is_sent, .. } if !*is_sent => {
                *is_sent = true;
                let LinkIdentity { producer, name } = &self.identity;
                Some(wire::open(producer, name, self.first))
            }
            LinkPhase::Open { ping_at, .. } if *ping_at <= now => {
                *ping_at = now.after(self.settings.ping_ms);
                Some(wire::PING.to_owned())
            }
            LinkPhase::Open { busy_until, .. } if *busy_until <= now => {
                *busy_until = Tick(0);
                self.next_message()
            }
            _ => None,
        }
    }

    /// Takes the next event.
    pub fn next_event(&mut self) -> Option<SenderEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        // Also of a link that is dead by now: what was acknowledged stays so.
        if self.has_opened && self.acked_told < self.window.acked() {
            self.acked_told = self.window.acked();
            let n = self.acked_told;
            return Some(SenderEvent::Acked { n });
        }
        self.want()
    }

    /// Returns the state of the link.
    #[must_use]
    pub fn state(&self) -> LinkState {
        match self.phase {
            LinkPhase::Waiting { .. } | LinkPhase::Ended => LinkState::Dead,
            LinkPhase::Connecting { .. } => LinkState::Connecting,
            LinkPhase::Opening { .. } => LinkState::Opening,
            LinkPhase::Open { .. } => LinkState::Open,
        }
    }

    /// Whether the link will never do anything again.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == LinkPhase::Ended && self.events.is_empty()
    }

    /// Counts the messages that went out again, each time.
    #[must_use]
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Counts the messages that the link holds, none of them acknowledged.
    #[must_use]
    pub fn held(&self) -> usize {
        self.window.len()
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, LinkPhase::Open { .. })
    }

    fn receive_frame(&mut self, now: Tick, frame: ReceiverFrame) -> Result<(), LinkLoss> {
        match (&mut self.phase, frame) {
            (LinkPhase::Opening { is_sent: true, .. }, ReceiverFrame::OpenOk { next, refused }) => {
                self.open(now, next, refused)
            }
            (LinkPhase::Open { heard_at, .. }, frame) => {
                *heard_at = now;
                self.receive_while_open(now, frame)
            }
            (LinkPhase::Opening { .. }, ReceiverFrame::Kick { code }) => {
                Err(LinkLoss::Kicked(code))
            }
            (LinkPhase::Opening { .. }, ReceiverFrame::Pong | ReceiverFrame::Other) => Ok(()),
            (LinkPhase::Opening { .. }, frame) => {
                Err(LinkLoss::Violation(format!("{frame:?} before open_ok")))
            }
            // The last words of a socket that was let go.
            (LinkPhase::Waiting { .. } | LinkPhase::Connecting { .. } | LinkPhase::Ended, _) => {
                Ok(())
            }
        }
    }

    fn open(
        &mut self,
        now: Tick,
        next: u64,
        refused: Vec<(u64, RefusalWords)>,
    ) -> Result<(), LinkLoss> {
        if next > self.newest + 1 {
            let newest = self.newest;
            return Err(LinkLoss::OldOutbox { next, newest });
        }
        if next < self.first {
            let to = self.first;
            self.events
                .push_back(SenderEvent::Jumped { from: next, to });
        }
        let next = next.max(self.first);
        // Before the acknowledgement that covers them.
        let still_here = self.first..next;
        for (n, why) in refused {
            if still_here.contains(&n) {
                self.events.push_back(SenderEvent::Refused { n, why });
            }
        }
        self.window.restart_behind(next - 1);
        self.wanted_after = None;
        (self.has_opened, self.acked_told) = (true, 0);
        self.backoff.reset();
        self.phase = LinkPhase::Open {
            heard_at: now,
            ping_at: now.after(self.settings.ping_ms),
            busy_until: Tick(0),
        };
        self.events.push_back(SenderEvent::Opened { next });
        Ok(())
    }

    fn receive_while_open(&mut self, now: Tick, frame: ReceiverFrame) -> Result<(), LinkLoss> {
        // Not only what is on the way: after `pub_busy` messages that were taken before it may
        // still be acknowledged.
        let seen = self.window.seen();
        let wrong = |what: &str, n: u64| {
            let what = format!("{what} {n}, but the newest that was sent is {seen}");
            Err(LinkLoss::Violation(what))
        };
        match frame {
            ReceiverFrame::Ack { n } if n > seen => return wrong("pub_ack", n),
            ReceiverFrame::Refused { n, .. } if n > seen => return wrong("pub_err", n),
            ReceiverFrame::Ack { n } => self.acknowledge(n),
            ReceiverFrame::Refused { n, why } => self.refuse(n, why),
            ReceiverFrame::Busy { after_ms } => {
                self.window.rewind();
                self.refused.clear();
                if let LinkPhase::Open { busy_until, .. } = &mut self.phase {
                    *busy_until = now.after(after_ms.min(BUSY_MS_MAX));
                }
            }
            ReceiverFrame::Kick { code } => return Err(LinkLoss::Kicked(code)),
            ReceiverFrame::OpenOk { .. } => {
                return Err(LinkLoss::Violation("a second open_ok".into()));
            }
            ReceiverFrame::Pong | ReceiverFrame::Other => {}
        }
        Ok(())
    }

    /// Takes the refusal of `n`, which is acknowledged once everything before it is.
    fn refuse(&mut self, n: u64, why: RefusalWords) {
        if n > self.window.acked() && self.refused.insert(n) {
            self.events.push_back(SenderEvent::Refused { n, why });
        }
        self.acknowledge(self.window.acked());
    }

    /// Takes everything up to `n` as acknowledged, and refused numbers right behind it too.
    fn acknowledge(&mut self, n: u64) {
        let mut n = n.max(self.window.acked());
        while self.refused.contains(&(n + 1)) {
            n += 1;
        }
        self.refused = self.refused.split_off(&(n + 1));
        self.window.acknowledge(n);
    }

    fn next_message(&mut self) -> Option<String> {
        if self.window.on_way() >= self.settings.on_way_max {
            return None;
        }
        let (message, again) = self.window.next_unsent()?;
        self.resent += u64::from(again);
        Some(wire::publish(message.n, &message.posting))
    }

    /// Asks for messages once half of them are gone, so that the receiver never waits for a page.
    fn want(&mut self) -> Option<SenderEvent> {
        let (held, on_way_max) = (self.window.len(), self.settings.on_way_max);
        let has_room = held <= on_way_max / 2 && self.window.bytes() < self.settings.held_bytes_max;
        if !self.is_open() || self.is_draining || self.wanted_after.is_some() || !has_room {
            return None;
        }
        let after = self.window.newest();
        self.wanted_after = Some(after);
        Some(SenderEvent::Want {
            after,
            count: on_way_max - held,
        })
    }

    /// Gives the socket up, and waits for the next try.
    fn cut(&mut self, now: Tick, why: LinkLoss) {
        if !matches!(self.phase, LinkPhase::Waiting { .. } | LinkPhase::Ended) {
            self.events.push_back(SenderEvent::Cut);
            self.wait(now, why);
        }
    }

    fn wait(&mut self, now: Tick, why: LinkLoss) {
        if matches!(why, LinkLoss::Kicked(_) | LinkLoss::OldOutbox { .. }) {
            self.backoff.slow_down();
        }
        let retry_ms = self.backoff.next_ms();
        self.window.rewind();
        self.refused.clear();
        self.wanted_after = None;
        self.phase = LinkPhase::Waiting {
            until: now.after(retry_ms),
        };
        self.events.push_back(SenderEvent::Lost { why, retry_ms });
    }
}

#[cfg(test)]
mod tests;
