//! The relay: a thread of the gateway that gives the push process pages of the outbox, and has
//! written down what upstreams have acknowledged.
//!
//! The relay has a thread of its own since it reads from the disk, for which neither a callback nor
//! the disk thread may wait. All events reach the relay through a [`RelayHandle`].

mod handle;
mod seat;
mod settings;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

pub(super) use handle::{RelayEvent, RelayHandle, RelayOrder};
pub(super) use settings::RelaySettings;

use super::ack_tracker::AckTracker;
use super::dead_letter::DeadLetter;
use super::numbers::Numbers;
use super::outbox::{OUTBOX, Outbox, OutboxJob};
use super::push::pipe::{Assignment, FromPush, OutboxPage, PUSH_VERSION, ToPush};
use crate::base::clock::unix_ms;
use crate::base::vital::may_die_here;
use crate::base::{ForeignText, RolloutPart};
use crate::link::NumberedPosting;
use crate::server::process::{ProcessLink, TaskError};
use crate::store::PageRange;
use seat::{RelaySeats, WantedPage};

/// Bytes of a page; one message may exceed the bound. A quarter of what the push process holds for
/// an upstream by default, so that pages overlap with the sending of the ones before.
const PAGE_BYTES_MAX: usize = 256 * 1024;

/// Pause before the disk or the pipe is tried again after a refusal: as long as an upstream asks for
/// when it is busy.
const RETRY: Duration = Duration::from_millis(500);

/// Longest wait at a stop or a reload for the disk to write what it was given. Both must end; messages
/// whose acknowledgement is lost are only sent again.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// The relay, as the state of its thread.
pub(super) struct Relay {
    outbox: Arc<Outbox>,
    process: ProcessLink,
    settings: RelaySettings,
    numbers: Arc<Numbers>,
    acks: AckTracker,
    seats: RelaySeats,
    /// The push process that runs, once it has said hello.
    incarnation: Option<u64>,
    /// Whether the push process has still to be told its upstreams.
    must_begin: bool,
    /// The number of the present assignment of the push process.
    assignment: u64,
    /// Dropped once the push process goes by the present assignment.
    part: Option<RolloutPart>,
    handle: RelayHandle,
    events: Receiver<RelayEvent>,
    /// The time at which acknowledgements are written down.
    ack_at: Option<Instant>,
    /// The time at which refused things are tried again.
    retry_at: Option<Instant>,
    /// Dead letters to be tried again: the upstream, and the number of the message.
    unstored: Vec<(usize, u64)>,
}

impl Relay {
    /// Makes the relay of an outbox; [`Relay::run`] is its thread.
    pub(super) fn new(
        outbox: Arc<Outbox>,
        process: ProcessLink,
        settings: RelaySettings,
        numbers: Arc<Numbers>,
        (handle, events): (RelayHandle, Receiver<RelayEvent>),
    ) -> Self {
        let mut seats = RelaySeats::default();
        seats.set(&settings.targets, true);
        let upstreams = seats.acknowledged(&outbox).into_iter();
        let upstreams = upstreams.map(|(_, upstream)| upstream);
        let acks = AckTracker::new(upstreams, outbox.kept().0 - 1);
        Self {
            seats,
            acks,
            outbox,
            process,
            settings,
            numbers,
            incarnation: None,
            must_begin: false,
            assignment: 0,
            part: None,
            handle,
            events,
            // At once: upstreams that left the settings may have kept messages back until now.
            ack_at: Some(Instant::now()),
            retry_at: None,
            unstored: Vec::new(),
        }
    }

    /// Runs until the handle says stop; then all that was given to the disk is done.
    pub(super) fn run(mut self) {
        loop {
            let soon = [self.ack_at, self.retry_at].into_iter().flatten().min();
            let event = match soon {
                Some(at) => self.events.recv_deadline(at),
                None => self
                    .events
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut next = match event {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while let Some(event) = next {
                may_die_here();
                if matches!(event, RelayEvent::Stop) {
                    return self.finish();
                }
                self.receive(event);
                next = self.events.try_recv().ok();
            }
            self.retry();
            self.send_pages();
            self.write_acks();
        }
    }

    fn receive(&mut self, event: RelayEvent) {
        match event {
            RelayEvent::PushMessage(message) => match FromPush::decode(&message) {
                Some(message) => self.receive_from_push(message),
                None => tracing::error!("the push process sent something that is no message"),
            },
            RelayEvent::OutboxGrown => self.handle.clear_grown(),
            RelayEvent::AckRefused => {
                self.acks.resubmit(self.outbox.kept().0 - 1);
                self.ack_at = Some(Instant::now() + RETRY);
            }
            RelayEvent::DeadLetterStored { upstream, n } => {
                self.acks.dead_letter_stored(upstream, n);
                self.numbers.counters.dead.fetch_add(1, Ordering::Relaxed);
                self.write_acks_soon();
            }
            RelayEvent::DeadLetterRefused { upstream, n } => {
                self.unstored.push((upstream, n));
                self.retry_soon();
            }
            RelayEvent::Settings(order) => self.take_settings(*order),
            RelayEvent::Rest { number } => self.rest(number),
            RelayEvent::Stop => {}
        }
    }

    fn receive_from_push(&mut self, message: FromPush) {
        match message {
            FromPush::Hello {
                incarnation,
                version,
            } => {
                let is_ours = version == PUSH_VERSION;
                self.incarnation = is_ours.then_some(incarnation);
                self.must_begin = is_ours;
                self.seats.begin_anew();
                self.numbers.begun();
            }
            // From a process that another program has started; its upstreams may have other numbers.
            _ if self.incarnation.is_none() => {}
            FromPush::Want {
                upstream,
                after,
                count,
            } => {
                if let Some(seat) = self.seats.find(upstream) {
                    seat.wanted = Some(WantedPage { after, count });
                }
            }
            FromPush::Acked { upstream, n } => {
                self.acks.acknowledge(upstream, n);
                self.numbers.acked(upstream, n);
                self.write_acks_soon();
            }
            FromPush::Refused { upstream, n, why } => {
                if self.acks.refuse(upstream, n, why) {
                    self.store_dead_letter(upstream, n);
                }
            }
            FromPush::Report(report) => self.numbers.reported(report),
            FromPush::Begun { number } if number == self.assignment => self.part = None,
            FromPush::Begun { .. } => {}
        }
    }

    /// Has a message that was refused for good written among the dead letters.
    fn store_dead_letter(&mut self, upstream: usize, n: u64) {
        let Some(why) = self.acks.refusal(upstream, n) else {
            return;
        };
        let Some(url) = self.seats.url_of(upstream) else {
            return;
        };
        let Ok(page) = self.read(n - 1, 1) else {
            self.unstored.push((upstream, n));
            return self.retry_soon();
        };
        let Some(message) = page.into_iter().find(|message| message.n == n) else {
            // All upstreams have acknowledged the message, so this one did too.
            return self.acks.dead_letter_stored(upstream, n);
        };
        tracing::error!(
            upstream = url,
            n,
            code = %ForeignText(&why.code),
            message = %ForeignText(&why.message),
            "a message was refused for good; `tidings outbox dead` shows it"
        );
        let letter = DeadLetter {
            upstream: url,
            n,
            why,
            ts: unix_ms(),
            posting: &message.posting,
        };
        self.outbox.disk.submit(OutboxJob::StoreDeadLetter {
            upstream,
            n,
            id: format!("{upstream}-{n}"),
            json: letter.json(),
            ts: letter.ts,
            idempotency_key: letter.idempotency_key(self.outbox.reader.key()),
        });
    }

    /// Tries again what the disk or the pipe refused.
    fn retry(&mut self) {
        if self.retry_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.retry_at = None;
        for (upstream, n) in std::mem::take(&mut self.unstored) {
            self.store_dead_letter(upstream, n);
        }
    }

    /// Gives the push process the messages that it waits for, as far as there are any.
    fn send_pages(&mut self) {
        let Some(incarnation) = self.incarnation else {
            return;
        };
        if self.must_begin && !self.begin(incarnation) {
            return;
        }
        let wanted: Vec<(usize, WantedPage)> = (self.seats.iter_mut())
            .filter_map(|seat| Some((seat.number, seat.wanted?)))
            .collect();
        for (upstream, WantedPage { after, count }) in wanted {
            let kept = self.outbox.kept();
            if kept.1 <= after {
                continue;
            }
            let Ok(messages) = self.read(after, count) else {
                self.retry_soon();
                continue;
            };
            let page = ToPush::Page(OutboxPage {
                incarnation,
                upstream,
                after,
                kept,
                messages,
            });
            if self.send(&page)
                && let Some(seat) = self.seats.find(upstream)
            {
                seat.wanted = None;
            }
        }
    }

    /// Goes on by other settings. What was acknowledged so far is written down first, since an upstream
    /// that leaves may come back; and what was to go has gone, so that one that comes learns the oldest
    /// number that stays.
    fn take_settings(&mut self, order: RelayOrder) {
        let RelayOrder { settings, part } = order;
        self.flush();
        let keeps_links =
            settings.link == self.settings.link && settings.name == self.settings.name;
        self.seats.set(&settings.targets, keeps_links);
        self.settings = settings;
        let upstreams = self.seats.acknowledged(&self.outbox);
        self.acks.set_upstreams(upstreams.clone());
        self.numbers.set_upstreams(upstreams);
        // Those that have left keep nothing back any more.
        self.ack_at = Some(Instant::now());
        self.assignment += 1;
        self.must_begin = self.incarnation.is_some();
        self.part = Some(part);
    }

    fn begin(&mut self, incarnation: u64) -> bool {
        let settings = self.settings.clone();
        let begin = ToPush::Begin(Assignment {
            incarnation,
            number: self.assignment,
            log_level: settings.log_level,
            producer: settings.producer,
            name: settings.name,
            settings: settings.link,
            drain_ms_max: settings.drain_ms_max,
            targets: self.seats.targets(),
            kept: self.outbox.kept(),
        });
        let is_sent = self.send(&begin);
        self.must_begin = !is_sent;
        is_sent
    }

    /// Sends a message to the push process; `false` if the pipe takes none now.
    fn send(&mut self, message: &ToPush) -> bool {
        match self.process.send(message.encode()) {
            // A process that stops goes on with what it has.
            Ok(()) | Err(TaskError::Stopping) => true,
            Err(error) => {
                tracing::debug!(%error, "the push process takes nothing now");
                self.retry_soon();
                false
            }
        }
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<NumberedPosting>, ()> {
        let range = PageRange {
            after: Some(after),
            before: None,
            limit,
            bytes_max: PAGE_BYTES_MAX,
        };
        let page = self.outbox.reader.page(OUTBOX, range).map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, after, "the outbox can't be read");
        })?;
        let numbered = page.messages.into_iter().map(|message| NumberedPosting {
            n: message.position.offset,
            posting: message.body.data,
        });
        Ok(numbered.collect())
    }

    /// Has acknowledgements written down, and then lets go of the messages that all upstreams have
    /// acknowledged.
    fn write_acks(&mut self) {
        if self.ack_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.ack_at = None;
        for (upstream, n) in self.acks.take_acks() {
            self.outbox.disk.submit(OutboxJob::Ack { upstream, n });
        }
        if let Some(through) = self.acks.take_trim() {
            self.outbox.disk.submit(OutboxJob::Trim { through });
        }
    }

    fn write_acks_soon(&mut self) {
        let soon = Instant::now() + Duration::from_millis(self.settings.ack_delay_ms);
        self.ack_at.get_or_insert(soon);
    }

    fn retry_soon(&mut self) {
        let soon = Instant::now() + RETRY;
        self.retry_at.get_or_insert(soon);
    }

    /// Rests with all acknowledgements given to the disk.
    fn rest(&mut self, number: u64) {
        self.ack_at = Some(Instant::now());
        self.write_acks();
        self.handle.rest_here(number);
    }

    /// Has everything written down, and waits until it is.
    fn flush(&mut self) {
        self.ack_at = Some(Instant::now());
        self.write_acks();
        let (sender, flushed) = crossbeam_channel::bounded(1);
        self.outbox.disk.submit(OutboxJob::Flush(sender));
        if flushed.recv_timeout(FLUSH_MAX).is_err() {
            tracing::error!("the disk took too long; messages may be sent again");
        }
    }

    fn finish(mut self) {
        self.flush();
        for upstream in self.acks.upstreams() {
            tracing::debug!(upstream = %upstream.name, offset = upstream.ack_offset(), "acknowledged");
        }
    }
}
