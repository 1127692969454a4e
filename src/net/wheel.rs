//! A hashed timer wheel over [`Tick`]: any number of deadlines, each set and cancelled in O(1).
//!
//! A deadline hangs in the bucket of its millisecond, in a doubly linked list through one slab, so
//! cancelling leaves nothing behind. A timer of `T = u64` takes 32 bytes (plus the slab's slack);
//! the wheel itself takes 66 KiB, whatever hangs in it. It never reads a clock.
//!
//! Once a turn, call [`Wheel::pop_expired`] until it gives nothing, then ask
//! [`Wheel::next_deadline`] how long to sleep.
//!
//! Invariant: no timer is due before `cursor`, and none fires before its deadline.

use std::num::NonZeroU32;

use slab::Slab;

use crate::base::Tick;

/// Buckets, one a millisecond; a deadline further away than that waits for a later revolution.
///
/// A power of two, so that the remainder is a mask and the bitmap has whole words. 16,384 of them
/// span 16 s for 66 KiB: a ping's default deadline of 25 s is passed over once before it is due.
const BUCKETS: u64 = 16_384;
const WORDS: usize = BUCKETS as usize / 64;
/// The index of no node, at the end of a list. A slab of nodes never grows to that index.
const NONE: u32 = u32::MAX;
/// Nodes and buckets that one [`Wheel::next_deadline`] looks at before it returns a lower bound.
/// A round number that bounds the time of one call; a lower bound only wakes the reactor early.
const LOOK_MAX: usize = 64;

/// The name of a timer; it names nothing once the timer fired or was cancelled.
///
/// Its serial number comes round after 4,294,967,295 insertions, so a name must not be kept that
/// long after its timer fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WheelTimer {
    index: u32,
    serial: NonZeroU32,
}

/// The niche in `serial` is what lets the slab mark free places without eight more bytes.
#[derive(Debug)]
struct Node<T> {
    value: T,
    due: u64,
    prev: u32,
    next: u32,
    serial: NonZeroU32,
}

/// Timers that each carry a `T`.
#[derive(Debug)]
pub struct Wheel<T> {
    nodes: Slab<Node<T>>,
    heads: Box<[u32]>,
    /// A bit for each bucket that isn't empty.
    occupied: Box<[u64]>,
    /// The latest time that [`Wheel::pop_expired`] was told; nothing is inserted at or before it.
    now: u64,
    /// The tick whose bucket is looked at next. At most `now` while a sweep is under way, later
    /// than `now` otherwise: it may run far ahead over ticks at which nothing is due.
    cursor: u64,
    /// The next node to look at in the cursor's bucket.
    scan: u32,
    /// The last tick of the sweep: `now`, or one revolution after its beginning.
    sweep_end: u64,
    serial: NonZeroU32,
}

impl<T> Wheel<T> {
    /// Makes an empty wheel whose time is `now`.
    #[must_use]
    pub fn new(now: Tick) -> Self {
        let now = before_never(now);
        Self {
            nodes: Slab::new(),
            heads: vec![NONE; BUCKETS as usize].into(),
            occupied: vec![0; WORDS].into(),
            now,
            cursor: now + 1,
            scan: NONE,
            sweep_end: now,
            serial: NonZeroU32::MIN,
        }
    }

    /// Sets a timer for a deadline.
    ///
    /// A deadline at or before the wheel's time, which is the latest `now` that
    /// [`Wheel::pop_expired`] was given, counts as one millisecond after it. So a timer that is set
    /// from inside the loop over `pop_expired` never fires in the same loop. A timer at
    /// [`Tick::NEVER`] stays until it is cancelled.
    pub fn insert(&mut self, deadline: Tick, value: T) -> WheelTimer {
        let due = deadline.0.max(self.now + 1);
        let bucket = bucket(due);
        let serial = self.serial;
        self.serial = serial.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let next = self.heads[bucket];
        let node = Node {
            value,
            due,
            prev: NONE,
            next,
            serial,
        };
        let index = u32::try_from(self.nodes.insert(node))
            .ok()
            .filter(|&index| index != NONE)
            .expect("4 billion timers would take 128 GiB");
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.prev = index;
        }
        self.heads[bucket] = index;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        if due <= self.cursor {
            self.set_cursor(due);
        }
        WheelTimer { index, serial }
    }

    /// Takes a timer back before it fires; `None` if it has fired or was cancelled.
    pub fn cancel(&mut self, id: WheelTimer) -> Option<T> {
        let node = self.nodes.get(id.index as usize)?;
        (node.serial == id.serial).then(|| self.remove(id.index))
    }

    /// The moment at which a timer fires; `None` if it has fired or was cancelled.
    #[must_use]
    pub fn due(&self, id: WheelTimer) -> Option<Tick> {
        let node = self.nodes.get(id.index as usize)?;
        (node.serial == id.serial).then_some(Tick(node.due))
    }

    /// Takes out one timer whose deadline is at or before `now`; call it until it gives `None`.
    ///
    /// Timers come in the order of their deadlines, unless time jumped further than 16,384 ms: then
    /// in no order. However far time jumped, the loop passes the buckets once. A timer that is set
    /// meanwhile fires in a later millisecond. A `now` before the latest one counts as the latest.
    pub fn pop_expired(&mut self, now: Tick) -> Option<T> {
        self.move_to(before_never(now));
        while self.cursor <= self.sweep_end {
            while let Some(node) = self.nodes.get(self.scan as usize) {
                let index = self.scan;
                self.scan = node.next;
                if node.due <= self.now {
                    return Some(self.remove(index));
                }
            }
            self.advance(self.sweep_end);
        }
        if self.cursor <= self.now {
            self.set_cursor(self.now + 1);
        }
        None
    }

    /// Returns a moment before which no timer fires, to sleep until; `None` if there is no timer.
    ///
    /// The moment is never late. It is exact when the next timer is within 16 s and not hidden
    /// behind many timers of later revolutions; otherwise it may be early, but moves on after the
    /// next [`Wheel::pop_expired`], since the wheel remembers how far it has looked. It is at or
    /// before the wheel's time only while a loop over `pop_expired` was left unfinished.
    pub fn next_deadline(&mut self) -> Option<Tick> {
        if self.nodes.is_empty() {
            return None;
        }
        if self.cursor > self.now {
            self.look_ahead();
        }
        Some(Tick(self.cursor))
    }

    /// Counts the timers that are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no timer is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Lets time pass. Nodes that were skipped in the cursor's bucket may be due by now.
    fn move_to(&mut self, now: u64) {
        if now > self.now {
            self.now = now;
            self.sweep_end = now.min(self.cursor.saturating_add(BUCKETS - 1));
            self.set_cursor(self.cursor);
        }
    }

    /// Moves the cursor to the next timer's tick, or as far as [`LOOK_MAX`] steps lead.
    fn look_ahead(&mut self) {
        for _ in 0..LOOK_MAX {
            match self.nodes.get(self.scan as usize) {
                Some(node) if node.due == self.cursor => break,
                Some(node) => self.scan = node.next,
                None if self.cursor - self.now > BUCKETS => break,
                None => self.advance(u64::MAX - 1),
            }
        }
    }

    /// Moves the cursor to the next bucket that isn't empty, or just beyond `end`.
    fn advance(&mut self, end: u64) {
        let next = match self.steps_to_occupied(self.cursor) {
            Some(steps) => self.cursor.saturating_add(steps).min(end + 1),
            None => end + 1,
        };
        self.set_cursor(next);
    }

    fn set_cursor(&mut self, tick: u64) {
        self.cursor = tick;
        self.scan = self.heads[bucket(tick)];
    }

    /// Ticks from `tick` to the next one whose bucket isn't empty: 1 to [`BUCKETS`].
    fn steps_to_occupied(&self, tick: u64) -> Option<u64> {
        let start = bucket(tick.wrapping_add(1));
        let mut word = start / 64;
        let mut bits = self.occupied[word] & (!0 << (start % 64));
        // The first word comes a second time, for its bits before `start`.
        for _ in 0..=WORDS {
            if bits != 0 {
                let found = word as u64 * 64 + u64::from(bits.trailing_zeros());
                return Some((found.wrapping_sub(start as u64) % BUCKETS) + 1);
            }
            word = (word + 1) % WORDS;
            bits = self.occupied[word];
        }
        None
    }

    fn remove(&mut self, index: u32) -> T {
        let node = self.nodes.remove(index as usize);
        if let Some(next) = self.nodes.get_mut(node.next as usize) {
            next.prev = node.prev;
        }
        if let Some(prev) = self.nodes.get_mut(node.prev as usize) {
            prev.next = node.next;
        } else {
            let bucket = bucket(node.due);
            self.heads[bucket] = node.next;
            if node.next == NONE {
                self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            }
        }
        if self.scan == index {
            self.scan = node.next;
        }
        debug_assert!(
            self.cursor <= node.due || node.due <= self.now,
            "a timer was passed over"
        );
        node.value
    }
}

const fn bucket(tick: u64) -> usize {
    (tick % BUCKETS) as usize
}

/// Brings a time below [`Tick::NEVER`], at which no timer fires.
const fn before_never(now: Tick) -> u64 {
    if now.0 == u64::MAX {
        u64::MAX - 1
    } else {
        now.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn drain<T>(wheel: &mut Wheel<T>, now: u64) -> Vec<T> {
        std::iter::from_fn(|| wheel.pop_expired(Tick(now))).collect()
    }

    #[test]
    fn a_timer_takes_32_bytes() {
        let free_or_node = size_of::<Option<Node<u64>>>();
        assert_eq!((free_or_node, size_of::<Option<WheelTimer>>()), (32, 8));
        // The slab's entry is a node or the index of the next free place, as here.
        #[allow(dead_code)]
        enum Entry {
            Vacant(usize),
            Occupied(Node<u64>),
        }
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn the_same_bucket_of_a_later_revolution_stays() {
        let mut wheel = Wheel::new(Tick(0));
        wheel.insert(Tick(5 + BUCKETS), "later");
        wheel.insert(Tick(5), "now");
        assert_eq!(drain(&mut wheel, 5), ["now"]);
        assert_eq!(drain(&mut wheel, 4 + BUCKETS), [""; 0]);
        assert_eq!(drain(&mut wheel, 5 + BUCKETS), ["later"]);
    }

    #[test]
    fn a_timer_set_for_the_past_by_the_loop_itself_fires_a_millisecond_later() {
        let mut wheel = Wheel::new(Tick(0));
        wheel.insert(Tick(10), 0);
        let mut turn = |now: u64| {
            let mut fired = 0;
            while let Some(count) = wheel.pop_expired(Tick(now)) {
                wheel.insert(Tick(3), count + 1);
                fired += 1;
            }
            (fired, wheel.next_deadline())
        };
        assert_eq!(turn(10), (1, Some(Tick(11))));
        assert_eq!(turn(10), (0, Some(Tick(11))));
        assert_eq!(turn(11), (1, Some(Tick(12))));
    }

    #[test]
    fn an_id_of_a_fired_timer_does_not_hit_the_one_in_its_place() {
        let mut wheel = Wheel::new(Tick(0));
        let fired = wheel.insert(Tick(1), "first");
        drain(&mut wheel, 1);
        let stranger = wheel.insert(Tick(2), "second");
        assert_eq!(fired.index, stranger.index);
        assert_eq!(wheel.cancel(fired), None);
        assert_eq!(wheel.cancel(stranger), Some("second"));
        assert_eq!(wheel.cancel(stranger), None);
    }

    #[test]
    fn never_never_comes() {
        let mut wheel = Wheel::new(Tick(7));
        let id = wheel.insert(Tick::NEVER, ());
        assert_eq!(wheel.pop_expired(Tick::NEVER), None);
        assert_eq!(wheel.next_deadline(), Some(Tick::NEVER));
        assert_eq!(wheel.cancel(id), Some(()));
        assert_eq!((wheel.len(), wheel.next_deadline()), (0, None));
    }

    /// Sleeps as a reactor does and counts how often it gets up until nothing is left.
    fn wake_ups_until_empty(wheel: &mut Wheel<u64>) -> usize {
        let (mut now, mut wake_ups) = (0, 0);
        while let Some(Tick(next)) = wheel.next_deadline() {
            assert!(next > now, "no time passed at {now}");
            (now, wake_ups) = (next, wake_ups + 1);
            for deadline in drain(wheel, now) {
                assert_eq!(deadline, now, "woken late");
            }
        }
        wake_ups
    }

    #[test]
    fn sleeping_until_the_next_deadline_wakes_about_once_a_timer() {
        let mut wheel = Wheel::new(Tick(0));
        for index in 0..10_000 {
            // Every bucket is full of timers of the second and third revolution.
            let deadline = 20_000 + index * 7 % 25_000;
            wheel.insert(Tick(deadline), deadline);
        }
        let wake_ups = wake_ups_until_empty(&mut wheel);
        assert!((10_000..10_600).contains(&wake_ups), "{wake_ups}");
    }

    #[test]
    fn a_day_of_waiting_for_one_timer_costs_a_wake_up_a_revolution() {
        let mut wheel = Wheel::new(Tick(0));
        wheel.insert(Tick(86_400_000), 86_400_000);
        let wake_ups = wake_ups_until_empty(&mut wheel);
        assert!(wake_ups <= 86_400_000 / BUCKETS as usize + 1, "{wake_ups}");
    }

    #[derive(Debug, Clone)]
    enum Op {
        /// Relative to the time, down to the past.
        Insert(i64),
        /// Any id ever given, also of timers long gone.
        Cancel(prop::sample::Index),
        /// How far, and how many to pop at most before the loop is left.
        Pass(u64, usize),
        /// Ask for the next deadline, as a reactor does before it sleeps.
        Ask,
    }

    fn op() -> impl Strategy<Value = Op> {
        let span = BUCKETS as i64;
        let ahead = prop_oneof![-3..40_i64, -3..span + 3, span - 2..span + 2, -3..4 * span];
        let pass = prop_oneof![
            0..40_u64,
            0..BUCKETS,
            BUCKETS - 2..BUCKETS + 2,
            0..5 * BUCKETS
        ];
        let pops = prop_oneof![4 => Just(usize::MAX), 1 => 0..3_usize];
        prop_oneof![
            4 => ahead.prop_map(Op::Insert),
            1 => any::<prop::sample::Index>().prop_map(Op::Cancel),
            2 => (pass, pops).prop_map(|(ms, pops)| Op::Pass(ms, pops)),
            2 => Just(Op::Ask),
        ]
    }

    /// What a wheel must do, by an ordered map of due tick and serial number.
    #[derive(Default)]
    struct Model {
        timers: BTreeMap<(u64, usize), ()>,
        ids: Vec<(WheelTimer, (u64, usize))>,
        now: u64,
    }

    impl Model {
        fn insert(&mut self, wheel: &mut Wheel<(u64, usize)>, deadline: u64) {
            let key = (deadline.max(self.now + 1), self.ids.len());
            self.timers.insert(key, ());
            self.ids.push((wheel.insert(Tick(deadline), key), key));
        }

        fn pass(&mut self, wheel: &mut Wheel<(u64, usize)>, ms: u64, pops: usize) {
            self.now += ms;
            for pop in 0..pops {
                let Some(key) = wheel.pop_expired(Tick(self.now)) else {
                    let overdue = self.timers.range(..=(self.now, usize::MAX)).next();
                    assert_eq!(overdue, None, "missed at {}", self.now);
                    return;
                };
                assert!(key.0 <= self.now, "{key:?} fired early, at {}", self.now);
                assert_eq!(self.timers.remove(&key), Some(()), "{key:?} fired twice");
                // Some are put back at once for a time gone by.
                if pop < 5 && key.1 % 3 == 0 {
                    self.insert(wheel, key.0);
                }
            }
            // The time is only known to the wheel once it was told.
            if pops == 0 {
                self.now -= ms;
            }
        }
    }

    proptest! {
        #[test]
        fn a_wheel_does_what_an_ordered_map_does(
            start in prop_oneof![0..3_u64, 0..1_u64 << 40],
            ops in prop::collection::vec(op(), 1..120),
        ) {
            let mut wheel = Wheel::new(Tick(start));
            let mut model = Model { now: start, ..Model::default() };
            for op in ops {
                match op {
                    Op::Insert(ahead) => {
                        let deadline = model.now.saturating_add_signed(ahead);
                        model.insert(&mut wheel, deadline);
                    }
                    Op::Cancel(index) if !model.ids.is_empty() => {
                        let (id, key) = *index.get(&model.ids);
                        let expected = model.timers.remove(&key).map(|()| key);
                        prop_assert_eq!(wheel.cancel(id), expected);
                    }
                    Op::Cancel(_) => {}
                    Op::Pass(ms, pops) => model.pass(&mut wheel, ms, pops),
                    Op::Ask => {
                        let first = model.timers.keys().next().map(|&(due, _)| Tick(due));
                        let next = wheel.next_deadline();
                        prop_assert_eq!(next.is_some(), first.is_some());
                        prop_assert!(next <= first, "{:?} is later than {:?}", next, first);
                    }
                }
                prop_assert_eq!(wheel.len(), model.timers.len());
            }
            model.pass(&mut wheel, 6 * BUCKETS, usize::MAX);
        }

        #[test]
        fn timers_fire_in_the_order_of_their_deadlines(
            deadlines in prop::collection::vec(1..=BUCKETS, 1..200),
        ) {
            let mut wheel = Wheel::new(Tick(0));
            for &deadline in &deadlines {
                wheel.insert(Tick(deadline), deadline);
            }
            let mut sorted = deadlines;
            sorted.sort_unstable();
            prop_assert_eq!(drain(&mut wheel, BUCKETS), sorted);
        }
    }
}
