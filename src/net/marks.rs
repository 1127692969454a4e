//! Pressure marks: how full a queue is, and whether those who feed it should pause.
//!
//! A queue always takes what it is given. Its [`Gauge`] counts items and bytes; above the high
//! marks it is *pressed*, and the producers stop reading from what feeds it; at the low marks the
//! consumer says that they must be woken. The gauge itself never waits and wakes nobody.
//!
//! Producers call [`Gauge::add`] **before** they push, the one consumer calls [`Gauge::take`]
//! after it popped. That order is what makes it right: whoever presses the gauge has an item of
//! its own still to be taken, so a `take` that sees the press always follows. (The other way round
//! the consumer could drain to zero between a push and its press, and nobody would ever be woken.)
//!
//! Invariant: once everything that was added has been taken, the gauge isn't pressed.

use std::sync::atomic::AtomicUsize as Plain;

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where pressure begins and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// Pressed with more items than this.
    pub items_high: usize,
    /// Relieved with at most this many items; counts as `items_high` if it is above that.
    pub items_low: usize,
    /// Pressed with more bytes than this.
    pub bytes_high: usize,
    /// Relieved with at most this many bytes; counts as `bytes_high` if it is above that.
    pub bytes_low: usize,
}

/// The level of one queue, shared by its producers and its one consumer.
#[derive(Debug)]
pub struct Gauge {
    marks: Marks,
    levels: Apart<Levels>,
    pressed: Apart<AtomicBool>,
}

/// Keeps what every producer asks for each read off the cache line that every push writes to.
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

impl Gauge {
    /// An empty gauge.
    #[must_use]
    pub fn new(marks: Marks) -> Self {
        let marks = Marks {
            items_low: marks.items_low.min(marks.items_high),
            bytes_low: marks.bytes_low.min(marks.bytes_high),
            ..marks
        };
        Self {
            marks,
            levels: Apart(Levels {
                items: AtomicUsize::new(0),
                bytes: AtomicUsize::new(0),
                items_peak: Plain::new(0),
                bytes_peak: Plain::new(0),
            }),
            pressed: Apart(AtomicBool::new(false)),
        }
    }

    /// Counts what a producer is about to push, and presses the gauge above the high marks.
    ///
    /// When the consumer relieves the gauge in the same moment, it may stay unpressed above the
    /// high marks until the next `add`.
    pub fn add(&self, items: usize, bytes: usize) {
        let levels = &self.levels.0;
        let items = raise(&levels.items, &levels.items_peak, items);
        let bytes = raise(&levels.bytes, &levels.bytes_peak, bytes);
        let high = items > self.marks.items_high || bytes > self.marks.bytes_high;
        if high && !self.pressed.0.load(Ordering::Relaxed) {
            self.pressed.0.store(true, Ordering::Release);
        }
    }

    /// Takes off the count what the consumer has popped; `true`: it must wake the producers now.
    #[must_use = "paused producers read again only when they are woken"]
    pub fn take(&self, items: usize, bytes: usize) -> bool {
        let levels = &self.levels.0;
        let items_left = lower(&levels.items, items);
        let bytes_left = lower(&levels.bytes, bytes);
        let low = items_left <= self.marks.items_low && bytes_left <= self.marks.bytes_low;
        low && self.pressed.0.load(Ordering::Relaxed)
            && self.pressed.0.swap(false, Ordering::AcqRel)
    }

    /// Whether whoever feeds this queue should pause; one load.
    ///
    /// A producer that pauses on `true` is woken after the gauge was relieved, and asks again.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.pressed.0.load(Ordering::Acquire)
    }

    /// Items that were added and not taken.
    #[must_use]
    pub fn items(&self) -> usize {
        self.levels.0.items.load(Ordering::Relaxed)
    }

    /// Bytes that were added and not taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.levels.0.bytes.load(Ordering::Relaxed)
    }

    /// The most items that there ever were.
    #[must_use]
    pub fn items_peak(&self) -> usize {
        self.levels.0.items_peak.load(Ordering::Relaxed)
    }

    /// The most bytes that there ever were.
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

    const MARKS: Marks = Marks {
        items_high: 4,
        items_low: 2,
        bytes_high: 100,
        bytes_low: 50,
    };

    #[test]
    fn pressure_begins_above_the_high_mark_and_ends_at_the_low_one() {
        let gauge = Gauge::new(MARKS);
        gauge.add(4, 0);
        assert!(!gauge.is_pressed());
        gauge.add(1, 0);
        assert!(gauge.is_pressed());
        assert!(!gauge.take(2, 0));
        assert!(gauge.is_pressed(), "three are left");
        assert!(gauge.take(1, 0));
        assert!(!gauge.is_pressed());
        assert!(!gauge.take(2, 0), "nobody is to be woken twice");
    }

    #[test]
    fn items_and_bytes_press_each_alone_and_both_must_be_low_again() {
        let gauge = Gauge::new(MARKS);
        gauge.add(1, 101);
        assert!(gauge.is_pressed());
        gauge.add(2, 0);
        assert!(!gauge.take(0, 101), "three items are left");
        assert!(gauge.take(1, 0));
    }

    #[test]
    fn a_low_mark_above_the_high_one_counts_as_the_high_one() {
        let gauge = Gauge::new(Marks {
            items_low: 9,
            bytes_low: 999,
            ..MARKS
        });
        gauge.add(6, 0);
        assert!(!gauge.take(1, 0));
        assert!(gauge.take(1, 0));
    }

    #[test]
    fn levels_fall_and_peaks_stay() {
        let gauge = Gauge::new(MARKS);
        gauge.add(2, 30);
        gauge.add(1, 10);
        assert!(!gauge.take(3, 35));
        assert_eq!((gauge.items(), gauge.bytes()), (0, 5));
        assert_eq!((gauge.items_peak(), gauge.bytes_peak()), (3, 40));
    }
}
