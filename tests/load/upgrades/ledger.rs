//! What was said, answered and heard in the rooms, and how far those who talk may be ahead of those who
//! listen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::chat_client::Position;

/// One that is stored on disk, and one that is kept in memory.
pub const ROOMS: [&str; 2] = ["tea", "mem-tea"];

/// Messages that may be said before the listeners have heard them: who reads too slowly is sent away,
/// upgrades or not.
const UNHEARD_MAX: u64 = 64;

/// What a talker said: its `count`th message to the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Said {
    pub talker: u64,
    pub count: u64,
}

impl Said {
    pub fn message(self, room: usize) -> Value {
        let data = json!({"talker": self.talker, "count": self.count});
        json!({"to": {"room": ROOMS[room]}, "data": data})
    }

    pub fn of(frame: &Value) -> Self {
        let number = |name: &str| frame["data"][name].as_u64().unwrap();
        Self {
            talker: number("talker"),
            count: number("count"),
        }
    }
}

/// A message at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub room: usize,
    pub offset: u64,
    pub said: Said,
}

impl Placed {
    pub fn of(frame: &Value) -> Self {
        let channel = frame["channel"].as_str().unwrap();
        let room = ROOMS.iter().position(|room| *room == channel);
        Self {
            room: room.unwrap_or_else(|| panic!("another channel: {frame}")),
            offset: frame["offset"].as_u64().unwrap(),
            said: Said::of(frame),
        }
    }
}

/// The messages of the rooms as the listeners heard them, each listener the same.
#[derive(Default)]
pub struct Ledger {
    rooms: [Vec<(Box<[u8]>, Said)>; ROOMS.len()],
    epochs: [Option<String>; ROOMS.len()],
}

impl Ledger {
    /// The frame with this offset, if anybody has heard it yet.
    pub fn frame(&self, room: usize, offset: u64) -> Option<&[u8]> {
        let message = self.rooms[room].get(offset as usize - 1);
        message.map(|(frame, _)| &**frame)
    }

    /// Enters the frame that is the first one with its offset, and gives its room.
    pub fn enter(&mut self, text: &[u8]) -> usize {
        let frame: Value = serde_json::from_slice(text).unwrap();
        let Placed { room, offset, said } = Placed::of(&frame);
        let next = self.rooms[room].len() as u64 + 1;
        assert_eq!(offset, next, "a hole, a repeat or two orders: {frame}");
        let epoch = Position::of(&frame).epoch;
        let first = self.epochs[room].get_or_insert_with(|| epoch.clone());
        assert_eq!(*first, epoch, "the channel began anew: {frame}");
        self.rooms[room].push((text.into(), said));
        room
    }

    pub fn messages(&self) -> u64 {
        self.rooms.iter().map(|room| room.len() as u64).sum()
    }

    /// Judges the whole: what was answered stands where the answer said, and everything stands there once,
    /// in the order in which its talker said it.
    pub fn judge(&self, answered: &[Placed], relayed: &[Said]) {
        for placed in answered {
            let there = self.rooms[placed.room].get(placed.offset as usize - 1);
            let there = there.map(|(_, said)| *said);
            assert_eq!(there, Some(placed.said), "{placed:?} was answered");
        }
        let mut newest: HashMap<u64, u64> = HashMap::new();
        for (_, said) in self.rooms.iter().flatten() {
            let newest = newest.entry(said.talker).or_default();
            *newest += 1;
            assert_eq!(said.count, *newest, "{said:?} is out of order");
        }
        let said = answered.iter().map(|placed| placed.said);
        for said in said.chain(relayed.iter().copied()) {
            assert!(said.count <= newest[&said.talker], "{said:?} is lost");
        }
        let said = answered.len() + relayed.len();
        assert_eq!(self.messages(), said as u64, "what nobody said");
    }

    /// Whoever came back in between has heard the same as everybody.
    pub fn agrees(&self, heard: &Placed) {
        let (_, said) = &self.rooms[heard.room][heard.offset as usize - 1];
        assert_eq!(*said, heard.said, "two orders: {heard:?}");
    }
}

/// Has everybody end what he does when it is dropped, so that nobody goes on for ever once somebody has found a
/// fault.
pub struct Ending<'a>(pub &'a Board);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The same for those who listen.
pub struct Finishing<'a>(pub &'a Board);

impl Drop for Finishing<'_> {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// What all threads of the test look at.
#[derive(Default)]
pub struct Board {
    listeners: u64,
    /// What a talker waits between two messages.
    between: Duration,
    is_over: AtomicBool,
    is_finished: AtomicBool,
    said: AtomicU64,
    /// By all listeners together.
    heard: AtomicU64,
    longest_gap_us: AtomicU64,
    lock: Mutex<()>,
    moved: Condvar,
}

impl Board {
    pub fn new(listeners: usize) -> Self {
        Self {
            listeners: listeners as u64,
            ..Self::default()
        }
    }

    /// The same where talkers pause between two messages.
    pub fn with_pauses(listeners: usize, between: Duration) -> Self {
        Self {
            between,
            ..Self::new(listeners)
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Nothing new is begun any more.
    pub fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    pub fn is_finished(&self) -> bool {
        self.is_finished.load(Relaxed)
    }

    /// Everything was heard.
    pub fn finish(&self) {
        self.is_finished.store(true, Relaxed);
    }

    /// Counts a message that was said, and waits until not too many of them are on their way.
    pub fn said_one(&self) {
        let said = self.said.fetch_add(1, Relaxed) + 1;
        self.wait_for(said.saturating_sub(UNHEARD_MAX));
        std::thread::sleep(self.between);
    }

    /// Waits until each listener has heard so many messages more.
    pub fn wait_for_more(&self, count: u64) {
        self.wait_for(self.heard.load(Relaxed) / self.listeners + count);
    }

    /// Waits until each listener has heard everything that was said.
    pub fn wait_for_all(&self) {
        self.wait_for(self.said.load(Relaxed));
    }

    fn wait_for(&self, messages: u64) {
        let guard = self.lock.lock().unwrap();
        let waits = |(): &mut ()| self.heard.load(Relaxed) < messages * self.listeners;
        let (_guard, timeout) = self
            .moved
            .wait_timeout_while(guard, PATIENCE, waits)
            .unwrap();
        let heard = self.heard.load(Relaxed);
        let missing = messages * self.listeners - heard.min(messages * self.listeners);
        assert!(!timeout.timed_out(), "{missing} deliveries are missing");
    }

    /// Takes what the listeners heard in a turn.
    pub fn heard_more(&self, deliveries: u64) {
        self.heard.fetch_add(deliveries, Relaxed);
        let _guard = self.lock.lock().unwrap();
        self.moved.notify_all();
    }

    /// Takes the time between two messages to one listener.
    pub fn saw_gap(&self, gap: Duration) {
        self.longest_gap_us
            .fetch_max(gap.as_micros() as u64, Relaxed);
    }

    /// The longest time since the last call in which a listener heard nothing.
    pub fn take_longest_gap(&self) -> Duration {
        Duration::from_micros(self.longest_gap_us.swap(0, Relaxed))
    }
}
