//! A reactor's mailbox: a queue that never refuses a value, and a merged wake-up.
//!
//! The reactor is *awake* while it runs its turn; only a sender that finds it asleep pays for a
//! wake-up. Just before it polls, the reactor asks [`MailboxReceiver::may_sleep`]; when the poll
//! returns, for whatever reason, it calls [`MailboxReceiver::woke`]. The caller brings the wake-up:
//! a closure around the `mio::Waker`.
//!
//! Invariant: a value that was sent before the reactor sleeps keeps it from sleeping or wakes it.
//! The flag is cleared *before* the queue is looked at; `tests/loom.rs` checks it.

use std::fmt;
use std::sync::{Arc, atomic::AtomicU64};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering, fence};

#[cfg(loom)]
use super::loom_queue as queue;
#[cfg(not(loom))]
use crossbeam_channel as queue;

use crate::base::pressure::Pressure;

/// The reactor is in poll, or about to be.
const ASLEEP: u8 = 0;
/// The reactor runs its turn, and looks at the queue before it sleeps.
const AWAKE: u8 = 1;
/// The reactor is awake, and owes one more turn from the beginning.
const NUDGED: u8 = 2;

/// Whether a reactor must be woken: the merged wake-up without a queue.
#[derive(Debug)]
pub struct WakeFlag(AtomicU8);

impl WakeFlag {
    /// Makes the flag of a reactor that is awake.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "awake is no obvious default")]
    pub fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Tells the reactor that something was pushed; calls `wake` if it has to be woken for that.
    pub fn pushed(&self, wake: impl FnOnce()) {
        // Either this fence comes first, and the reactor sees the push when it looks; or the
        // reactor's, and the load here sees it asleep. A load leaves the cache line shared.
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::Relaxed) == ASLEEP
            && self
                .0
                .compare_exchange(ASLEEP, AWAKE, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            wake();
        }
    }

    /// Makes the reactor run one more turn, which sees all that the caller did before; calls
    /// `wake` if the reactor has to be woken for that.
    pub fn nudge(&self, wake: impl FnOnce()) {
        if self.0.swap(NUDGED, Ordering::AcqRel) == ASLEEP {
            wake();
        }
    }

    /// Whether the reactor may sleep, now that its turn is over; if not, it is still awake.
    ///
    /// Only the reactor calls this. `is_empty` looks at the queue.
    pub fn may_sleep(&self, is_empty: impl FnOnce() -> bool) -> bool {
        let nudged = self.0.swap(ASLEEP, Ordering::AcqRel) == NUDGED;
        fence(Ordering::SeqCst);
        let sleep = !nudged && is_empty();
        if !sleep {
            self.woke();
        }
        sleep
    }

    /// Notes that the reactor is out of poll: it needn't be woken until it asks
    /// [`WakeFlag::may_sleep`]. Only the reactor calls this.
    pub fn woke(&self) {
        self.0.swap(AWAKE, Ordering::AcqRel);
    }
}

/// Makes the two ends of a mailbox.
///
/// `wake` makes the reactor's poll return, now or when it polls next. `pressure`, if there is one,
/// counts each value until [`MailboxReceiver::settle`] takes it off.
pub fn mailbox<T>(
    pressure: Option<Arc<Pressure>>,
    wake: impl Fn() + Send + Sync + 'static,
) -> (MailboxSender<T>, MailboxReceiver<T>) {
    let (sender, receiver) = queue::unbounded();
    let shared = Arc::new(MailboxShared {
        flag: WakeFlag::new(),
        pressure,
        received_total: AtomicU64::new(0),
        wakes_total: AtomicU64::new(0),
        wake: Box::new(wake),
    });
    let receiver = MailboxReceiver {
        queue: receiver,
        shared: shared.clone(),
        items_taken: 0,
        bytes_taken: 0,
    };
    (
        MailboxSender {
            queue: sender,
            shared,
        },
        receiver,
    )
}

struct MailboxShared {
    flag: WakeFlag,
    pressure: Option<Arc<Pressure>>,
    /// Values received since the start; written by the receiver only.
    received_total: AtomicU64,
    wakes_total: AtomicU64,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl MailboxShared {
    fn wake(&self) {
        self.wakes_total.fetch_add(1, Ordering::Relaxed);
        (self.wake)();
    }
}

struct Letter<T> {
    value: T,
    bytes: usize,
}

/// The sending side, for any thread.
pub struct MailboxSender<T> {
    queue: queue::Sender<Letter<T>>,
    shared: Arc<MailboxShared>,
}

impl<T> MailboxSender<T> {
    /// Puts `value`, which counts as `bytes`, into the mailbox; wakes the reactor if it sleeps.
    ///
    /// Never waits.
    ///
    /// # Errors
    ///
    /// The receiver is gone; the value comes back.
    pub fn send(&self, value: T, bytes: usize) -> Result<(), T> {
        // Before the push, as `base::pressure` asks for.
        if let Some(pressure) = &self.shared.pressure {
            pressure.add(1, bytes);
        }
        match self.queue.send(Letter { value, bytes }) {
            Ok(()) => {
                self.shared.flag.pushed(|| self.shared.wake());
                Ok(())
            }
            Err(queue::SendError(letter)) => {
                if let Some(pressure) = &self.shared.pressure {
                    // Nobody has to be woken: nothing will ever be read from this mailbox.
                    let _ = pressure.take(1, bytes);
                }
                Err(letter.value)
            }
        }
    }

    /// Makes the reactor run one more turn without sending it anything.
    ///
    /// A consumer wakes the paused reactors in this way when [`Pressure::take`] returned `true`.
    pub fn nudge(&self) {
        self.shared.flag.nudge(|| self.shared.wake());
    }

    /// Whether the mailbox's pressure is high, so that its senders should pause.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.shared
            .pressure
            .as_ref()
            .is_some_and(|pressure| pressure.is_high())
    }

    /// Returns the mailbox's pressure, for metrics.
    #[must_use]
    pub fn pressure(&self) -> Option<&Arc<Pressure>> {
        self.shared.pressure.as_ref()
    }

    /// Counts the values that the reactor has received since the start.
    #[must_use]
    pub fn received_total(&self) -> u64 {
        self.shared.received_total.load(Ordering::Relaxed)
    }

    /// Counts the calls of `wake` since the start.
    #[must_use]
    pub fn wakes_total(&self) -> u64 {
        self.shared.wakes_total.load(Ordering::Relaxed)
    }
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<T> fmt::Debug for MailboxSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxSender")
            .field("pressure", &self.shared.pressure)
            .finish_non_exhaustive()
    }
}

/// The reactor's side.
pub struct MailboxReceiver<T> {
    queue: queue::Receiver<Letter<T>>,
    shared: Arc<MailboxShared>,
    items_taken: usize,
    bytes_taken: usize,
}

impl<T> MailboxReceiver<T> {
    /// Takes the next value, if there is one.
    pub fn try_recv(&mut self) -> Option<T> {
        let letter = self.queue.try_recv().ok()?;
        self.items_taken += 1;
        self.bytes_taken += letter.bytes;
        Some(letter.value)
    }

    /// Whether no value waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the values received since the last call off the pressure; `true`: the producers must
    /// be woken. The reactor calls this once a turn, when it has carried the values out.
    #[must_use = "paused producers read again only when they are woken"]
    pub fn settle(&mut self) -> bool {
        if self.items_taken == 0 {
            return false;
        }
        let received = &self.shared.received_total;
        let total = received.load(Ordering::Relaxed) + self.items_taken as u64;
        received.store(total, Ordering::Relaxed);
        let relieved = (self.shared.pressure.as_ref())
            .is_some_and(|pressure| pressure.take(self.items_taken, self.bytes_taken));
        (self.items_taken, self.bytes_taken) = (0, 0);
        relieved
    }

    /// Whether the reactor may sleep, asked just before it polls; if not, another turn is due.
    #[must_use = "to sleep when it may not is to miss a wake-up"]
    pub fn may_sleep(&self) -> bool {
        debug_assert_eq!(self.items_taken, 0, "settle before sleeping");
        self.shared.flag.may_sleep(|| self.queue.is_empty())
    }

    /// Notes that the reactor is out of poll, for whatever reason: senders needn't wake it now.
    pub fn woke(&self) {
        self.shared.flag.woke();
    }
}

/// Takes the values that nobody will receive off the pressure, which others may wait for.
impl<T> Drop for MailboxReceiver<T> {
    fn drop(&mut self) {
        while self.try_recv().is_some() {}
        let _ = self.settle();
    }
}

impl<T> fmt::Debug for MailboxReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxReceiver")
            .field("pressure", &self.shared.pressure)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::pressure::Watermarks;

    fn silent<T>(pressure: Option<Arc<Pressure>>) -> (MailboxSender<T>, MailboxReceiver<T>) {
        mailbox(pressure, || {})
    }

    #[test]
    fn only_the_first_of_many_sends_wakes_a_sleeper() {
        let (sender, mut receiver) = silent(None);
        sender.send(0, 0).unwrap();
        assert_eq!(sender.wakes_total(), 0, "it was awake");
        assert!(!receiver.may_sleep(), "something is there");
        assert_eq!(receiver.try_recv(), Some(0));
        assert!(!receiver.settle());
        assert!(receiver.may_sleep());
        for value in 1..=100 {
            sender.send(value, 0).unwrap();
        }
        assert_eq!(sender.wakes_total(), 1);
        receiver.woke();
        let received: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).collect();
        assert_eq!(received, (1..=100).collect::<Vec<_>>());
        assert!(!receiver.settle());
        assert_eq!(sender.received_total(), 101);
    }

    #[test]
    fn a_reactor_that_woke_by_itself_is_not_woken_again() {
        let (sender, receiver) = silent(None);
        assert!(receiver.may_sleep());
        receiver.woke();
        sender.send((), 0).unwrap();
        assert_eq!(sender.wakes_total(), 0);
        assert!(!receiver.may_sleep());
    }

    #[test]
    fn a_nudge_costs_a_sleeper_one_wake_up_and_an_awake_one_another_turn() {
        let (sender, receiver) = silent::<()>(None);
        sender.nudge();
        assert_eq!(sender.wakes_total(), 0);
        assert!(!receiver.may_sleep());
        assert!(receiver.may_sleep(), "one turn was asked for");
        sender.nudge();
        sender.nudge();
        assert_eq!(sender.wakes_total(), 1);
    }

    #[test]
    fn pressure_lasts_from_the_send_to_the_end_of_the_turn() {
        let marks = Watermarks {
            items_high: 9,
            items_low: 9,
            bytes_high: 10,
            bytes_low: 0,
        };
        let pressure = Arc::new(Pressure::new(marks));
        let (sender, mut receiver) = silent(Some(pressure.clone()));
        sender.send("large", 11).unwrap();
        assert!(sender.is_high());
        assert_eq!(receiver.try_recv(), Some("large"));
        assert!(sender.is_high(), "it is being worked off");
        assert!(receiver.settle());
        assert!(!sender.is_high());
        assert_eq!((pressure.items(), pressure.bytes_peak()), (0, 11));
    }

    #[test]
    fn a_mailbox_without_a_reader_gives_the_value_back_and_presses_nobody() {
        let marks = Watermarks {
            items_high: 0,
            items_low: 0,
            bytes_high: 0,
            bytes_low: 0,
        };
        let (sender, receiver) = silent(Some(Arc::new(Pressure::new(marks))));
        sender.send("unread", 1).unwrap();
        assert!(sender.is_high());
        drop(receiver);
        assert!(!sender.is_high());
        assert_eq!(sender.send("refused", 1), Err("refused"));
        assert!(!sender.is_high());
    }

    #[test]
    fn nothing_sent_by_four_threads_is_lost_between_polls() {
        const EACH: usize = 5_000;
        let mut poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (sender, mut receiver) = mailbox(None, move || waker.wake().unwrap());
        let mut received = 0;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let sender = sender.clone();
                scope.spawn(move || (0..EACH).for_each(|value| sender.send(value, 1).unwrap()));
            }
            let mut events = mio::Events::with_capacity(4);
            while received < 4 * EACH {
                if receiver.may_sleep() {
                    poll.poll(&mut events, Some(Duration::from_secs(10)))
                        .unwrap();
                    assert!(!events.is_empty(), "slept through {received}");
                    receiver.woke();
                }
                received += std::iter::from_fn(|| receiver.try_recv()).count();
                let _ = receiver.settle();
            }
        });
        assert_eq!(sender.received_total(), received as u64);
    }
}
