//! Backpressure: how full a queue is, and whether its producers should pause.
//!
//! A queue never refuses an item. Its [`Pressure`] counts items and bytes; above the high
//! watermarks the pressure *is high*, and the producers stop reading from the connections that feed
//! the queue; at the low watermarks the consumer learns that it must wake the producers. A
//! [`Pressure`] never waits and wakes nobody.
//!
//! Producers call [`Pressure::add`] **before** they push, the one consumer calls [`Pressure::take`]
//! after it popped. That order makes it right: a producer that raises the pressure has an item of
//! its own still to be taken, so a `take` that sees the high pressure always follows. (The other way
//! round the consumer could drain to zero between a push and the rise, and nobody would ever be
//! woken.)
//!
//! Invariant: once everything that was added has been taken, the pressure isn't high.

use std::sync::atomic::AtomicUsize as Plain;

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The levels at which pressure begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The pressure is high with more items than this.
    pub items_high: usize,
    /// The pressure is low again with at most this many items; counts as `items_high` if it is above that.
    pub items_low: usize,
    /// The pressure is high with more bytes than this.
    pub bytes_high: usize,
    /// The pressure is low again with at most this many bytes; counts as `bytes_high` if it is above that.
    pub bytes_low: usize,
}

/// The level of one queue, shared by its producers and its one consumer.
#[derive(Debug)]
pub struct Pressure {
    watermarks: Watermarks,
    levels: Apart<Levels>,
    is_high: Apart<AtomicBool>,
}

/// A cache line for `T` alone: producers load `is_high` before each read, and each push writes to
/// the levels, which mustn't slow those loads down.
#[derive(Debug)]
#[repr(align(64))]
struct Apart<T>(T);

#[derive(Debug)]
struct Levels {
    items: AtomicUsize,
    bytes: AtomicUsize,
    items_peak: Plain,
    bytes_peak: Plain,
}

impl Pressure {
    /// Makes the pressure of an empty queue.
    #[must_use]
    pub fn new(watermarks: Watermarks) -> Self {
        let watermarks = Watermarks {
            items_low: watermarks.items_low.min(watermarks.items_high),
            bytes_low: watermarks.bytes_low.min(watermarks.bytes_high),
            ..watermarks
        };
        Self {
            watermarks,
            levels: Apart(Levels {
                items: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                items_peak: Plain::new(0),
                bytes_peak: Plain::new(0),
            }),
            is_high: Apart(AtomicBool::new(false)),
        }
    }

    /// Counts items and bytes that a producer is about to push, and raises the pressure above the
    /// high watermarks.
    ///
    /// When the consumer reaches the low watermarks in the same moment, the pressure may stay low
    /// above the high ones until the next `add`.
    pub fn add(&self, items: usize, bytes: usize) {
        let levels = &self.levels.0;
        let items = raise(&levels.items, &levels.items_peak, items);
        let bytes = raise(&levels.bytes, &levels.bytes_peak, bytes);
        let high = items > self.watermarks.items_high || bytes > self.watermarks.bytes_high;
        if high && !self.is_high.0.load(Ordering::Relaxed) {
            self.is_high.0.store(true, Ordering::Release);
        }
    }

    /// Subtracts items and bytes that the consumer has popped; `true`: the consumer must wake the
    /// producers now.
    #[must_use = "paused producers read again only when they are woken"]
    pub fn take(&self, items: usize, bytes: usize) -> bool {
        let levels = &self.levels.0;
        let items_left = lower(&levels.items, items);
        let bytes_left = lower(&levels.bytes, bytes);
        let low =
            items_left <= self.watermarks.items_low && bytes_left <= self.watermarks.bytes_low;
        low && self.is_high.0.load(Ordering::Relaxed)
            && self.is_high.0.swap(false, Ordering::AcqRel)
    }

    /// Whether the producers of this queue should pause; costs one load.
    ///
    /// A producer that pauses on `true` is woken once the pressure is low, and asks again.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.is_high.0.load(Ordering::Acquire)
    }

    /// Items added and not taken yet.
    #[must_use]
    pub fn items(&self) -> usize {
        self.levels.0.items.load(Ordering::Relaxed)
    }

    /// Bytes added and not taken yet.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.levels.0.bytes.load(Ordering::Relaxed)
    }

    /// Largest number of items at one time since the start.
    #[must_use]
    pub fn items_peak(&self) -> usize {
        self.levels.0.items_peak.load(Ordering::Relaxed)
    }

    /// Largest number of bytes at one time since the start.
    #[must_use]
    pub fn bytes_peak(&self) -> usize {
        self.levels.0.bytes_peak.load(Ordering::Relaxed)
    }
}

fn raise(level: &AtomicUsize, peak: &Plain, by: usize) -> usize {
    let level = level.fetch_add(by, Ordering::Relaxed) + by;
    if level > peak.load(Ordering::Relaxed) {
        peak.fetch_max(level, Ordering::Relaxed);
    }
    level
}

fn lower(level: &AtomicUsize, by: usize) -> usize {
    let before = level.fetch_sub(by, Ordering::Relaxed);
    debug_assert!(before >= by, "taken before it was added");
    before.wrapping_sub(by)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const WATERMARKS: Watermarks = Watermarks {
        items_high: 4,
        items_low: 2,
        bytes_high: 100,
        bytes_low: 50,
    };

    #[test]
    fn pressure_begins_above_the_high_mark_and_ends_at_the_low_one() {
        let pressure = Pressure::new(WATERMARKS);
        pressure.add(4, 0);
        assert!(!pressure.is_high());
        pressure.add(1, 0);
        assert!(pressure.is_high());
        assert!(!pressure.take(2, 0));
        assert!(pressure.is_high(), "three are left");
        assert!(pressure.take(1, 0));
        assert!(!pressure.is_high());
        assert!(!pressure.take(2, 0), "nobody is to be woken twice");
    }

    #[test]
    fn items_and_bytes_press_each_alone_and_both_must_be_low_again() {
        let pressure = Pressure::new(WATERMARKS);
        pressure.add(1, 101);
        assert!(pressure.is_high());
        pressure.add(2, 0);
        assert!(!pressure.take(0, 101), "three items are left");
        assert!(pressure.take(1, 0));
    }

    #[test]
    fn a_low_mark_above_the_high_one_counts_as_the_high_one() {
        let pressure = Pressure::new(Watermarks {
            items_low: 9,
            bytes_low: 999,
            ..WATERMARKS
        });
        pressure.add(6, 0);
        assert!(!pressure.take(1, 0));
        assert!(pressure.take(1, 0));
    }

    #[test]
    fn levels_fall_and_peaks_stay() {
        let pressure = Pressure::new(WATERMARKS);
        pressure.add(2, 30);
        pressure.add(1, 10);
        assert!(!pressure.take(3, 35));
        assert_eq!((pressure.items(), pressure.bytes()), (0, 5));
        assert_eq!((pressure.items_peak(), pressure.bytes_peak()), (3, 40));
    }
}
