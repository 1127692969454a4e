//! Frames that are held until the call by which they came is known to be safe: pure state.
//!
//! An engine publishes before it syncs, so a frame may be there before its message is. All frames wait in
//! one queue, in the order in which they came. What has no call passes at once, unless a held frame of its
//! channel is before it.
//!
//! Invariant: frames of one channel leave in the order in which they came, and none leaves before a mark
//! has covered its call.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

/// After so long without a mark whoever appended the first held frame is taken for dead: the node proves
/// the frame safe by a write of its own. Long beside a sync, so that it costs nothing as a rule.
pub(super) const MARK_PATIENCE: Duration = Duration::from_millis(500);

/// Bytes that a held frame takes beside its own.
const FRAME_OVERHEAD_BYTES: usize = 80;

/// The hash of a channel's name. Two channels of one hash only wait for each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelHash(u64);

impl ChannelHash {
    /// Hashes a name.
    #[must_use]
    pub(super) fn of(channel: &str) -> Self {
        Self(FixedState::default().hash_one(channel))
    }
}

/// What becomes of a frame that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It may be shown now.
    Passes(Vec<u8>),
    /// It waits.
    Held,
    /// There was no room for it: these are all frames that waited, and this one.
    Overflow(Vec<Vec<u8>>),
}

#[derive(Debug)]
struct HeldFrame {
    /// The call that has to be safe; 0 for a frame that only keeps its place.
    n: u64,
    channel: u64,
    since: Instant,
    bytes: Vec<u8>,
}

/// The frames of one bus that wait, and how far everything is safe.
#[derive(Debug)]
pub(super) struct SafeQueue {
    bytes_max: usize,
    frames: VecDeque<HeldFrame>,
    bytes: usize,
    /// How many held frames each channel has, by its hash.
    held: HashMap<u64, usize, FixedState>,
    safe: u64,
    /// When the last proof was asked for.
    asked: Option<Instant>,
}

impl SafeQueue {
    /// Makes an empty queue of so many bytes at most. Everything up to call `safe` is safe.
    #[must_use]
    pub(super) fn new(bytes_max: usize, safe: u64) -> Self {
        Self {
            bytes_max,
            frames: VecDeque::new(),
            bytes: 0,
            held: HashMap::default(),
            safe,
            asked: None,
        }
    }

    /// Takes a frame of a channel that came by call `n`; 0 for one that needn't be held.
    pub(super) fn take(
        &mut self,
        now: Instant,
        n: u64,
        channel: ChannelHash,
        bytes: Vec<u8>,
    ) -> Taken {
        let ChannelHash(channel) = channel;
        if n <= self.safe && !self.held.contains_key(&channel) {
            return Taken::Passes(bytes);
        }
        if self.bytes + bytes.len() + FRAME_OVERHEAD_BYTES > self.bytes_max {
            let mut frames = self.drain();
            frames.push(bytes);
            return Taken::Overflow(frames);
        }
        self.bytes += bytes.len() + FRAME_OVERHEAD_BYTES;
        *self.held.entry(channel).or_default() += 1;
        self.frames.push_back(HeldFrame {
            n,
            channel,
            since: now,
            bytes,
        });
        Taken::Held
    }

    /// Notes that everything up to call `n` is safe.
    pub(super) fn cover(&mut self, n: u64) {
        self.safe = self.safe.max(n);
    }

    /// Takes the next frame that may be shown.
    pub(super) fn next_safe(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front_if(|frame| frame.n <= self.safe)?;
        self.bytes -= frame.bytes.len() + FRAME_OVERHEAD_BYTES;
        let count = self.held.get_mut(&frame.channel);
        let count = count.expect("a held frame is counted");
        *count -= 1;
        if *count == 0 {
            self.held.remove(&frame.channel);
        }
        Some(frame.bytes)
    }

    /// Whether the node has to prove now that what it holds is safe, since nobody says so; `true` counts
    /// as asked.
    pub(super) fn asks_proof(&mut self, now: Instant) -> bool {
        let Some(first) = self.frames.front() else {
            return false;
        };
        let since = self
            .asked
            .map_or(first.since, |asked| asked.max(first.since));
        let asks = now.saturating_duration_since(since) >= MARK_PATIENCE;
        if asks {
            self.asked = Some(now);
        }
        asks
    }

    /// Takes out everything that waits, in its order.
    pub(super) fn drain(&mut self) -> Vec<Vec<u8>> {
        self.bytes = 0;
        self.held.clear();
        self.frames.drain(..).map(|frame| frame.bytes).collect()
    }

    /// Counts the frames that wait.
    #[must_use]
    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Counts the bytes of the frames that wait.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn bytes(number: usize) -> Vec<u8> {
        number.to_le_bytes().to_vec()
    }

    fn take(queue: &mut SafeQueue, now: Instant, n: u64, channel: &str, bytes: Vec<u8>) -> Taken {
        queue.take(now, n, ChannelHash::of(channel), bytes)
    }

    fn shown(queue: &mut SafeQueue) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| queue.next_safe()).collect()
    }

    #[test]
    fn a_frame_waits_for_a_mark_of_its_call_or_of_a_later_one() {
        let (mut queue, now) = (SafeQueue::new(1_000, 4), Instant::now());
        assert_eq!(take(&mut queue, now, 5, "tea", bytes(1)), Taken::Held);
        assert_eq!(take(&mut queue, now, 7, "tea", bytes(2)), Taken::Held);
        queue.cover(4);
        assert_eq!(queue.next_safe(), None);
        queue.cover(6);
        assert_eq!(shown(&mut queue), [bytes(1)]);
        queue.cover(5);
        assert_eq!(queue.next_safe(), None, "an old mark takes nothing back");
        queue.cover(7);
        assert_eq!(shown(&mut queue), [bytes(2)]);
        assert_eq!((queue.frames(), queue.bytes()), (0, 0));
        assert_eq!(
            take(&mut queue, now, 7, "tea", bytes(3)),
            Taken::Passes(bytes(3)),
            "it is covered already"
        );
    }

    #[test]
    fn what_has_no_call_overtakes_other_channels_but_not_its_own() {
        let (mut queue, now) = (SafeQueue::new(1_000, 0), Instant::now());
        assert_eq!(take(&mut queue, now, 1, "tea", bytes(1)), Taken::Held);
        let passes = take(&mut queue, now, 0, "coffee", bytes(2));
        assert_eq!(passes, Taken::Passes(bytes(2)));
        assert_eq!(take(&mut queue, now, 0, "tea", bytes(3)), Taken::Held);
        assert_eq!(take(&mut queue, now, 2, "tea", bytes(4)), Taken::Held);
        queue.cover(1);
        assert_eq!(shown(&mut queue), [bytes(1), bytes(3)]);
        assert_eq!(take(&mut queue, now, 0, "tea", bytes(5)), Taken::Held);
        queue.cover(2);
        assert_eq!(shown(&mut queue), [bytes(4), bytes(5)]);
    }

    #[test]
    fn a_full_queue_gives_up_all_it_has_and_goes_on_empty() {
        let now = Instant::now();
        let mut queue = SafeQueue::new(2 * (8 + FRAME_OVERHEAD_BYTES), 0);
        assert_eq!(take(&mut queue, now, 1, "tea", bytes(1)), Taken::Held);
        assert_eq!(take(&mut queue, now, 2, "tea", bytes(2)), Taken::Held);
        let all = Taken::Overflow(vec![bytes(1), bytes(2), bytes(3)]);
        assert_eq!(take(&mut queue, now, 3, "tea", bytes(3)), all);
        assert_eq!((queue.frames(), queue.bytes()), (0, 0));
        assert_eq!(take(&mut queue, now, 4, "tea", bytes(4)), Taken::Held);
        queue.cover(4);
        assert_eq!(shown(&mut queue), [bytes(4)]);
    }

    #[test]
    fn a_proof_is_asked_for_when_the_first_frame_waits_too_long_and_again_when_none_comes() {
        let (mut queue, start) = (SafeQueue::new(1_000, 0), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!queue.asks_proof(at(5_000)), "nothing waits");
        assert_eq!(take(&mut queue, at(5_000), 1, "tea", bytes(1)), Taken::Held);
        assert_eq!(take(&mut queue, at(5_400), 2, "tea", bytes(2)), Taken::Held);
        assert!(!queue.asks_proof(at(5_499)));
        assert!(queue.asks_proof(at(5_500)));
        assert!(!queue.asks_proof(at(5_999)), "one is on its way");
        assert!(queue.asks_proof(at(6_000)));
        queue.cover(1);
        assert_eq!(shown(&mut queue), [bytes(1)]);
        assert!(!queue.asks_proof(at(6_400)));
        assert!(
            queue.asks_proof(at(6_500)),
            "the second one waits for its own"
        );
    }

    #[derive(Debug, Clone)]
    enum Event {
        Frame { rises: u64, channel: usize },
        Passing { channel: usize },
        Mark { behind: u64 },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..3_u64, 0..4_usize).prop_map(|(rises, channel)| Event::Frame { rises, channel }),
            (0..4_usize).prop_map(|channel| Event::Passing { channel }),
            (0..6_u64).prop_map(|behind| Event::Mark { behind }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_frame_comes_once_in_the_order_of_its_channel_and_never_before_it_is_safe(
            events in vec(event(), 0..200),
            bytes_max in 200..2_000_usize,
        ) {
            let now = Instant::now();
            let mut queue = SafeQueue::new(bytes_max, 0);
            let (mut n, mut safe, mut came) = (1, 0, Vec::new());
            let (mut out, mut dropped) = (Vec::new(), Vec::new());
            for event in events {
                let (channel, own) = match event {
                    Event::Frame { rises, channel } => {
                        n += rises;
                        (channel, n)
                    }
                    Event::Passing { channel } => (channel, 0),
                    Event::Mark { behind } => {
                        safe = safe.max(n.saturating_sub(behind));
                        queue.cover(safe);
                        out.extend(std::iter::from_fn(|| queue.next_safe()));
                        continue;
                    }
                };
                let number = came.len();
                came.push((channel, own));
                match take(&mut queue, now, own, &channel.to_string(), bytes(number)) {
                    Taken::Passes(frame) => out.push(frame),
                    Taken::Held => {}
                    Taken::Overflow(frames) => dropped.extend(frames),
                }
                for frame in &out {
                    let number = usize::from_le_bytes(frame[..].try_into().unwrap());
                    prop_assert!(came[number].1 <= safe, "frame {number} was shown too early");
                }
                prop_assert!(queue.bytes() <= bytes_max);
            }
            queue.cover(u64::MAX);
            out.extend(std::iter::from_fn(|| queue.next_safe()));
            prop_assert_eq!(queue.bytes(), 0);
            for channel in 0..4 {
                let of_channel = |frame: &Vec<u8>| {
                    let number = usize::from_le_bytes(frame[..].try_into().unwrap());
                    (came[number].0 == channel).then_some(number)
                };
                let numbers: Vec<usize> = out.iter().filter_map(of_channel).collect();
                prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
            }
            let mut all: Vec<_> = out.into_iter().chain(dropped).collect();
            all.sort_by_key(|frame| usize::from_le_bytes(frame[..].try_into().unwrap()));
            prop_assert_eq!(all, (0..came.len()).map(bytes).collect::<Vec<_>>());
        }
    }
}
