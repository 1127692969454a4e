//! What the two threads of the bus share, and what others ask of them. None of the locks in here is held
//! over a call to the engine, to the chat, or over a wait for anything but an answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::alive::BusPulse;
use super::behind::{BehindTable, LiveFrame, LiveOutcome, Seam};
use super::numbers::BusCounters;
use super::requests::{REQUESTS_MAX, RequestError, RequestTable, read_answer, request_json};
use crate::base::sync::lock;
use crate::base::{Epoch, Position};
use crate::chat::{CatchUpOrders, NodeAnswer, NodeRequest};
use crate::cluster::frame::Frame;
use crate::cluster::shared::NodeShared;

/// The longest sleep of the thread that reads the log, should nobody wake it.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Requests and answers that wait for the engine at the most: as many of each as there may be.
pub(super) const OUTGOING_FRAMES_MAX: usize = 2 * REQUESTS_MAX;

/// A request of another node.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignRequest {
    pub(super) generation: u64,
    pub(super) number: u64,
    pub(super) text: Box<str>,
}

/// The state that the threads of the bus share, and the way to them for everybody else.
#[derive(Debug)]
pub struct BusState {
    pub(super) shared: Arc<NodeShared>,
    /// What the bus counts.
    pub counters: BusCounters,
    behind: Mutex<BehindTable>,
    /// Channels in it: where there is none, nobody takes the lock.
    behind_channels: AtomicUsize,
    pulse: Mutex<BusPulse>,
    asks_test: AtomicBool,
    asks_proof: AtomicBool,
    asks_look: AtomicBool,
    /// Whether the connection to the engine is to be opened anew: nobody hears what it sends.
    distrusts_connection: AtomicBool,
    requests: Mutex<RequestTable>,
    answered: Condvar,
    foreign: Mutex<VecDeque<ForeignRequest>>,
    outgoing: Mutex<VecDeque<(u64, Vec<u8>)>>,
    is_awake: Mutex<bool>,
    woken: Condvar,
    is_stopped: AtomicBool,
}

impl BusState {
    pub(super) fn new(shared: Arc<NodeShared>) -> Self {
        let settings = &shared.settings;
        let behind = BehindTable::new(settings.behind_channel_bytes_max, settings.behind_bytes_max);
        let now = shared.clock.now();
        Self {
            shared,
            counters: BusCounters::default(),
            behind: Mutex::new(behind),
            behind_channels: AtomicUsize::new(0),
            pulse: Mutex::new(BusPulse::new(now)),
            asks_test: AtomicBool::new(false),
            asks_proof: AtomicBool::new(false),
            asks_look: AtomicBool::new(false),
            distrusts_connection: AtomicBool::new(false),
            requests: Mutex::default(),
            answered: Condvar::new(),
            foreign: Mutex::default(),
            outgoing: Mutex::default(),
            is_awake: Mutex::new(false),
            woken: Condvar::new(),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Begins a request to the node of a generation; returns the number under which its answer is awaited.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMany`].
    pub fn begin_request(
        &self,
        generation: u64,
        request: &NodeRequest,
    ) -> Result<u64, RequestError> {
        let now = self.shared.clock.now();
        let patience = Duration::from_millis(self.shared.settings.request_ms_max);
        let mut requests = lock(&self.requests);
        let begun = requests.begin(now, patience);
        self.counters
            .requests_awaited
            .set(requests.awaited() as u64);
        drop(requests);
        let number = begun?;
        let frame = Frame::Request {
            generation: self.shared.generation(),
            number,
            text: &request_json(request),
        };
        self.send(generation, frame.bytes());
        Ok(number)
    }

    /// Takes the outcome of a request; `None` while it waits.
    pub fn request_outcome(&self, number: u64) -> Option<Result<NodeAnswer, RequestError>> {
        lock(&self.requests).outcome(number, self.shared.clock.now())
    }

    /// Asks the node of a generation, and waits for its answer, no longer than a request may take. Not to be
    /// called on a thread that others wait for.
    ///
    /// # Errors
    ///
    /// [`RequestError`].
    pub fn request(
        &self,
        generation: u64,
        request: &NodeRequest,
    ) -> Result<NodeAnswer, RequestError> {
        let number = self.begin_request(generation, request)?;
        let mut requests = lock(&self.requests);
        loop {
            let outcome = requests.outcome(number, self.shared.clock.now());
            if let Some(outcome) = outcome {
                return outcome;
            }
            let waited = self.answered.wait_timeout(requests, SLEEP_MAX);
            requests = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the threads, soon.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the threads are to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    pub(super) fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// Sends a frame to a generation, soon. Of too many the oldest goes: it is one for which nobody waits
    /// any more.
    pub(super) fn send(&self, generation: u64, frame: Vec<u8>) {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.len() >= OUTGOING_FRAMES_MAX {
            outgoing.pop_front();
            self.counters.outgoing_dropped.add(1);
        }
        outgoing.push_back((generation, frame));
        drop(outgoing);
        self.wake();
    }

    pub(super) fn next_outgoing(&self) -> Option<(u64, Vec<u8>)> {
        lock(&self.outgoing).pop_front()
    }

    /// Takes the answer to a request of this node.
    pub(super) fn take_answer(&self, number: u64, text: &str) {
        let is_awaited =
            read_answer(text).is_some_and(|answer| lock(&self.requests).answer(number, answer));
        match is_awaited {
            true => self.answered.notify_all(),
            false => self.counters.answers_late.add(1),
        }
    }

    /// Takes a request of another node; one too many isn't answered.
    pub(super) fn take_request(&self, request: ForeignRequest) {
        let mut foreign = lock(&self.foreign);
        if foreign.len() >= REQUESTS_MAX {
            return self.counters.requests_refused.add(1);
        }
        foreign.push_back(request);
        drop(foreign);
        self.counters.requests.add(1);
        self.wake();
    }

    pub(super) fn next_request(&self) -> Option<ForeignRequest> {
        lock(&self.foreign).pop_front()
    }

    /// Begins with a bus that was opened just now.
    pub(super) fn begin_bus(&self) {
        *lock(&self.pulse) = BusPulse::new(self.now());
        self.ask_look();
    }

    pub(super) fn pulse<T>(&self, ask: impl FnOnce(&mut BusPulse) -> T) -> T {
        ask(&mut lock(&self.pulse))
    }

    pub(super) fn ask_test(&self) {
        self.ask(&self.asks_test);
    }

    pub(super) fn ask_proof(&self) {
        self.ask(&self.asks_proof);
    }

    /// Has each channel looked at; everything that was sent before is heard, or lost.
    pub(super) fn ask_look(&self) {
        self.ask(&self.asks_look);
    }

    /// Notes that what the node sends itself isn't heard: it may as well not have been sent.
    pub(super) fn distrust_connection(&self) {
        self.distrusts_connection.store(true, Ordering::Release);
    }

    pub(super) fn takes_test(&self) -> bool {
        self.asks_test.swap(false, Ordering::AcqRel)
    }

    pub(super) fn takes_proof(&self) -> bool {
        self.asks_proof.swap(false, Ordering::AcqRel)
    }

    pub(super) fn takes_look(&self) -> bool {
        self.asks_look.swap(false, Ordering::AcqRel)
    }

    pub(super) fn takes_distrust(&self) -> bool {
        self.distrusts_connection.swap(false, Ordering::AcqRel)
    }

    fn ask(&self, what: &AtomicBool) {
        if !what.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Whether a channel may be behind; `false` is certain.
    pub(super) fn may_be_behind(&self) -> bool {
        self.behind_channels.load(Ordering::Acquire) > 0
    }

    pub(super) fn mark_behind(&self, channel: &str) {
        self.table(|table| table.mark(channel));
        self.wake();
    }

    /// Marks a channel as behind, with a frame that has shown it.
    pub(super) fn mark_behind_with(&self, channel: &str, after: Option<Position>, frame: Vec<u8>) {
        self.table(|table| {
            table.mark(channel);
            table.take(channel, after, frame)
        });
        self.wake();
    }

    pub(super) fn take_live(
        &self,
        channel: &str,
        after: Option<Position>,
        frame: Vec<u8>,
    ) -> LiveOutcome {
        self.table(|table| table.take(channel, after, frame))
    }

    pub(super) fn next_behind(&self) -> Option<Arc<str>> {
        match self.may_be_behind() {
            true => self.table(BehindTable::next),
            false => None,
        }
    }

    pub(super) fn first_place(&self, channel: &str, epoch: Epoch) -> Option<u64> {
        self.table(|table| table.first_place(channel, epoch))
    }

    pub(super) fn close_seam(&self, channel: &str) -> Seam {
        self.table(|table| table.close(channel))
    }

    pub(super) fn put_back(&self, channel: &str, frame: LiveFrame) -> bool {
        self.table(|table| table.put_back(channel, frame))
    }

    pub(super) fn forget_behind(&self, channel: &str) -> Vec<Vec<u8>> {
        self.table(|table| table.forget(channel))
    }

    fn table<T>(&self, change: impl FnOnce(&mut BehindTable) -> T) -> T {
        let mut table = lock(&self.behind);
        let changed = change(&mut table);
        let (channels, bytes) = (table.channels(), table.bytes());
        self.behind_channels.store(channels, Ordering::Release);
        drop(table);
        self.counters.behind_channels.set(channels as u64);
        self.counters.behind_bytes.set(bytes as u64);
        changed
    }

    /// Wakes the thread that reads the log.
    pub(super) fn wake(&self) {
        *lock(&self.is_awake) = true;
        self.woken.notify_one();
    }

    /// Waits until there is something for the thread that reads the log, for `rest` at most.
    pub(super) fn sleep(&self, rest: Duration) {
        let is_awake = lock(&self.is_awake);
        let rest = rest.min(SLEEP_MAX);
        let waited = (self.woken).wait_timeout_while(is_awake, rest, |is_awake| !*is_awake);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

impl CatchUpOrders for BusState {
    fn catch_up(&self, channel: &str) {
        self.mark_behind(channel);
    }
}
