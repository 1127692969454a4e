//! One link to an upstream as a pure state machine: frames and time in, frames and events out.
//!
//! Nothing here opens a socket, reads a clock or takes a lock. Whoever owns the socket tells
//! [`Link::connected`], [`Link::receive`] and [`Link::lost`], gives messages by [`Link::feed`] and
//! the time by [`Link::expire`], and then takes [`Link::next_event`] until there is none and
//! [`Link::next_frame`] for as long as the socket takes them.
//!
//! Invariants:
//! - A message counts as settled only by the upstream's own word: its `open_ok`, `pub_ack` or
//!   `pub_err`. What was merely sent is sent again on the next link.
//! - Numbers go out in order and without holes, from the one behind what is settled.
//! - There is at most one socket: [`Event::Connect`] comes only after the last one was lost or let
//!   go by [`Event::Cut`] or [`Event::Close`].

mod event;
mod settings;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) use event::{Event, Lost};
pub use settings::{LinkSettings, LinkState};

use super::backlog::{Backlog, Numbered};
use super::frames::{self, Said};
use crate::base::Tick;

/// Longest pause that an upstream may ask for, in milliseconds.
const BUSY_MS_MAX: u64 = 60_000;

/// Whose messages go over the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Made with the outbox: whoever has it sends the numbers of that outbox.
    pub(super) producer: Arc<str>,
    /// For people.
    pub(super) name: Arc<str>,
}

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No socket until then.
    Waiting { until: Tick },
    /// A socket is being made; given up then.
    Connecting { until: Tick },
    /// `open` is on its way; given up then.
    Opening { until: Tick, is_said: bool },
    /// Messages may go.
    Open {
        heard_at: Tick,
        ping_at: Tick,
        /// The upstream has no room until then.
        busy_until: Tick,
    },
    /// For good.
    Ended,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    identity: Identity,
    settings: LinkSettings,
    phase: Phase,
    backlog: Backlog,
    /// The oldest number that the outbox still has.
    first: u64,
    /// The newest number of the outbox, as far as is known.
    newest: u64,
    /// What was asked for and hasn't come yet.
    wanted_after: Option<u64>,
    /// Numbers that the upstream refused, and that aren't settled yet.
    refused: BTreeMap<u64, String>,
    events: VecDeque<Event>,
    /// Whether what is settled is the upstream's word, and not only where we began.
    has_opened: bool,
    settled_told: u64,
    retry_ms: u64,
    jitter: u64,
    is_stopping: bool,
    resent: u64,
}

impl Link {
    /// A link that begins to connect at once; `seed` spreads its pauses.
    pub(super) fn new(
        now: Tick,
        identity: Identity,
        settings: LinkSettings,
        seed: u64,
        (first, newest): (u64, u64),
    ) -> Self {
        let mut backlog = Backlog::default();
        backlog.begin_behind(first - 1);
        Self {
            identity,
            settings,
            phase: Phase::Waiting { until: now },
            backlog,
            first,
            newest,
            wanted_after: None,
            refused: BTreeMap::new(),
            events: VecDeque::new(),
            has_opened: false,
            settled_told: 0,
            retry_ms: settings.retry_ms_min,
            jitter: seed,
            is_stopping: false,
            resent: 0,
        }
    }

    /// The socket is there, and its handshake done.
    pub(super) fn connected(&mut self, now: Tick) {
        if let Phase::Connecting { .. } = self.phase {
            let until = now.after(self.settings.silence_ms_max);
            self.phase = Phase::Opening {
                until,
                is_said: false,
            };
        }
    }

    /// There is no socket any more, or none could be made.
    pub(super) fn lost(&mut self, now: Tick, why: Lost) {
        if !matches!(self.phase, Phase::Waiting { .. } | Phase::Ended) {
            self.wait(now, why);
        }
    }

    /// Takes a text frame of the upstream.
    pub(super) fn receive(&mut self, now: Tick, text: &str) {
        let taken = match frames::read(text) {
            Ok(said) => self.take(now, said),
            Err(what) => Err(Lost::Violation(what)),
        };
        if let Err(why) = taken {
            self.cut(now, why);
        }
    }

    /// Takes messages that were wanted behind `after`; others are no longer of use.
    pub(super) fn feed(&mut self, now: Tick, after: u64, messages: Vec<Numbered>) {
        if self.wanted_after != Some(after) {
            return;
        }
        self.wanted_after = None;
        if after != self.backlog.newest() {
            return;
        }
        if self.first > after + 1 {
            // Also an empty page says so, and asking again would give the same.
            return self.cut(now, Lost::Trimmed);
        }
        for message in messages {
            if !self.backlog.push(message) {
                // Only the outbox's front ever goes, so a hole is at the front.
                return self.cut(now, Lost::Trimmed);
            }
        }
        self.newest = self.newest.max(self.backlog.newest());
    }

    /// The outbox's oldest and newest number, which only grow.
    pub(super) fn outbox_is(&mut self, first: u64, newest: u64) {
        self.first = self.first.max(first);
        self.newest = self.newest.max(newest);
    }

    /// Reads nothing new any more; the link ends once what it holds is settled.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Ends it, whatever is left.
    pub(super) fn end(&mut self) {
        let has_socket = !matches!(self.phase, Phase::Waiting { .. } | Phase::Ended);
        self.phase = Phase::Ended;
        if has_socket {
            self.events.push_back(Event::Close);
        }
    }

    /// Tells what time it is.
    pub(super) fn expire(&mut self, now: Tick) {
        if self.is_stopping && self.backlog.is_empty() {
            return self.end();
        }
        match self.phase {
            Phase::Waiting { until } if until <= now => {
                let until = now.after(self.settings.silence_ms_max);
                self.phase = Phase::Connecting { until };
                self.events.push_back(Event::Connect);
            }
            Phase::Connecting { until } | Phase::Opening { until, .. } if until <= now => {
                self.cut(now, Lost::Silent);
            }
            Phase::Open { heard_at, .. } if heard_at.after(self.settings.silence_ms_max) <= now => {
                self.cut(now, Lost::Silent);
            }
            _ => {}
        }
    }

    /// When [`Link::expire`] and [`Link::next_frame`] have something to do at the latest, if
    /// nothing else happens.
    pub(super) fn deadline(&self) -> Tick {
        match self.phase {
            Phase::Waiting { until }
            | Phase::Connecting { until }
            | Phase::Opening { until, .. } => until,
            Phase::Open {
                heard_at,
                ping_at,
                busy_until,
            } => {
                let dead_at = heard_at.after(self.settings.silence_ms_max);
                let busy = busy_until > Tick(0) && self.backlog.has_unsent();
                let send_at = if busy { busy_until } else { Tick::NEVER };
                dead_at.min(ping_at).min(send_at)
            }
            Phase::Ended => Tick::NEVER,
        }
    }

    /// The next frame to send, if there is one now.
    pub(super) fn next_frame(&mut self, now: Tick) -> Option<String> {
        match &mut self.phase {
            Phase::Opening { is_said, .. } if !*is_said => {
                *is_said = true;
                let Identity { producer, name } = &self.identity;
                Some(frames::open(producer, name, self.first))
            }
            Phase::Open { ping_at, .. } if *ping_at <= now => {
                *ping_at = now.after(self.settings.ping_ms);
                Some(frames::PING.to_owned())
            }
            Phase::Open { busy_until, .. } if *busy_until <= now => {
                *busy_until = Tick(0);
                self.next_message()
            }
            _ => None,
        }
    }

    /// The next thing that happened.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        // Also of a link that is dead by now: what the upstream settled stays so.
        if self.has_opened && self.settled_told < self.backlog.settled() {
            self.settled_told = self.backlog.settled();
            let n = self.settled_told;
            return Some(Event::Settled { n });
        }
        self.want()
    }

    /// How far it is.
    pub(super) fn state(&self) -> LinkState {
        match self.phase {
            Phase::Waiting { .. } | Phase::Ended => LinkState::Dead,
            Phase::Connecting { .. } => LinkState::Connecting,
            Phase::Opening { .. } => LinkState::Opening,
            Phase::Open { .. } => LinkState::Open,
        }
    }

    /// Whether it will never do anything again.
    pub(super) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended && self.events.is_empty()
    }

    /// Messages that went out more than once.
    pub(super) fn resent(&self) -> u64 {
        self.resent
    }

    /// Messages that it holds, and that aren't settled.
    pub(super) fn held(&self) -> usize {
        self.backlog.len()
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    fn take(&mut self, now: Tick, said: Said) -> Result<(), Lost> {
        match (&mut self.phase, said) {
            (Phase::Opening { is_said: true, .. }, Said::OpenOk { next, refused }) => {
                self.open(now, next, refused)
            }
            (Phase::Open { heard_at, .. }, said) => {
                *heard_at = now;
                self.answered(now, said)
            }
            (Phase::Opening { .. }, Said::Kick { code }) => Err(Lost::Kicked(code)),
            (Phase::Opening { .. }, Said::Pong | Said::Other) => Ok(()),
            (Phase::Opening { .. }, said) => {
                Err(Lost::Violation(format!("{said:?} before open_ok")))
            }
            // What a socket that was let go had still to say.
            (Phase::Waiting { .. } | Phase::Connecting { .. } | Phase::Ended, _) => Ok(()),
        }
    }

    fn open(&mut self, now: Tick, next: u64, refused: Vec<(u64, String)>) -> Result<(), Lost> {
        if next > self.newest + 1 {
            let newest = self.newest;
            return Err(Lost::OldOutbox { next, newest });
        }
        if next < self.first {
            let to = self.first;
            self.events.push_back(Event::Jumped { from: next, to });
        }
        let next = next.max(self.first);
        // Before they are said to be settled.
        let still_here = self.first..next;
        for (n, code) in refused {
            if still_here.contains(&n) {
                self.events.push_back(Event::Refused { n, code });
            }
        }
        self.backlog.begin_behind(next - 1);
        self.wanted_after = None;
        (self.has_opened, self.settled_told) = (true, 0);
        self.retry_ms = self.settings.retry_ms_min;
        self.phase = Phase::Open {
            heard_at: now,
            ping_at: now.after(self.settings.ping_ms),
            busy_until: Tick(0),
        };
        self.events.push_back(Event::Opened { next });
        Ok(())
    }

    fn answered(&mut self, now: Tick, said: Said) -> Result<(), Lost> {
        // After `pub_busy` what was on the way before it may still be settled.
        let seen = self.backlog.seen();
        let wrong = |what: &str, n: u64| {
            let what = format!("{what} {n}, but the newest that was sent is {seen}");
            Err(Lost::Violation(what))
        };
        match said {
            Said::Ack { n } if n > seen => return wrong("pub_ack", n),
            Said::Refused { n, .. } if n > seen => return wrong("pub_err", n),
            Said::Ack { n } => self.settle(n),
            Said::Refused { n, code } => {
                if n > self.backlog.settled() && !self.refused.contains_key(&n) {
                    self.events.push_back(Event::Refused {
                        n,
                        code: code.clone(),
                    });
                    self.refused.insert(n, code);
                }
                self.settle(self.backlog.settled());
            }
            Said::Busy { after_ms } => {
                self.backlog.unsend();
                self.refused.clear();
                if let Phase::Open { busy_until, .. } = &mut self.phase {
                    *busy_until = now.after(after_ms.min(BUSY_MS_MAX));
                }
            }
            Said::Kick { code } => return Err(Lost::Kicked(code)),
            Said::OpenOk { .. } => return Err(Lost::Violation("a second open_ok".into())),
            Said::Pong | Said::Other => {}
        }
        Ok(())
    }

    /// Everything up to `n` is settled, and refused ones right behind it too.
    fn settle(&mut self, n: u64) {
        let mut n = n.max(self.backlog.settled());
        while self.refused.contains_key(&(n + 1)) {
            n += 1;
        }
        self.refused = self.refused.split_off(&(n + 1));
        self.backlog.settle(n);
    }

    fn next_message(&mut self) -> Option<String> {
        if self.backlog.sent() - self.backlog.settled() >= self.settings.on_way_max as u64 {
            return None;
        }
        let (message, again) = self.backlog.next_unsent()?;
        self.resent += u64::from(again);
        Some(frames::publish(message.n, &message.posting))
    }

    /// Asks for messages before the last ones are gone, so that the upstream never waits.
    fn want(&mut self) -> Option<Event> {
        let (held, on_way_max) = (self.backlog.len(), self.settings.on_way_max);
        let has_room =
            held <= on_way_max / 2 && self.backlog.bytes() < self.settings.held_bytes_max;
        if !self.is_open() || self.is_stopping || self.wanted_after.is_some() || !has_room {
            return None;
        }
        let after = self.backlog.newest();
        self.wanted_after = Some(after);
        Some(Event::Want {
            after,
            count: on_way_max - held,
        })
    }

    /// Gives the socket up.
    fn cut(&mut self, now: Tick, why: Lost) {
        if !matches!(self.phase, Phase::Waiting { .. } | Phase::Ended) {
            self.events.push_back(Event::Cut);
            self.wait(now, why);
        }
    }

    fn wait(&mut self, now: Tick, why: Lost) {
        let is_hopeless = matches!(why, Lost::Kicked(_) | Lost::OldOutbox { .. });
        if is_hopeless {
            self.retry_ms = self.settings.retry_ms_max;
        }
        let retry_ms = self.jittered(self.retry_ms);
        self.retry_ms = (self.retry_ms + self.retry_ms / 2).min(self.settings.retry_ms_max);
        self.backlog.unsend();
        self.refused.clear();
        self.wanted_after = None;
        self.phase = Phase::Waiting {
            until: now.after(retry_ms),
        };
        self.events.push_back(Event::Lost { why, retry_ms });
    }

    /// Up to a fifth more or less, so that gateways that lost one upstream don't come back as one.
    fn jittered(&mut self, ms: u64) -> u64 {
        self.jitter = self
            .jitter
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let spread = ms / 5;
        ms - spread + (self.jitter >> 33) % (2 * spread + 1)
    }
}

#[cfg(test)]
mod tests;
