//! Channels that miss something, and what came live for them meanwhile: pure state.
//!
//! A channel that is behind takes turns with the others; its turn reads a page of the log. What comes on the
//! bus for it meanwhile is kept, and is posted behind the last page. Where that becomes too much it is let go
//! of and read, too.
//!
//! A live frame counts the reads of its channel that had begun when it came: what a later read of the whole
//! log doesn't explain is no part of that log.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::base::{Epoch, Position};

/// Bytes that a frame takes beside its own.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// A frame of a channel that is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LiveFrame {
    /// The frame.
    pub(super) bytes: Vec<u8>,
    /// The place in the log behind which it belongs; `None` for one that has none.
    pub(super) after: Option<Position>,
    /// Reads of its channel that had begun when it came.
    reads: u64,
}

/// What becomes of a frame that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LiveOutcome {
    /// Its channel isn't behind: it may be posted.
    Passes(Vec<u8>),
    /// It is kept.
    Kept,
    /// There was no room: these frames have no place in the log, all others are read from there.
    Overflow(Vec<Vec<u8>>),
}

/// The next step of a channel whose log was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seam {
    /// This frame is to be posted.
    Frame(LiveFrame),
    /// The channel isn't behind any more.
    Closed,
    /// It has to be read again, in its turn.
    Again,
}

#[derive(Debug, Default)]
struct BehindChannel {
    frames: VecDeque<LiveFrame>,
    bytes: usize,
    reads: u64,
    is_queued: bool,
    /// Whether something was let go of since the last read began.
    has_dropped: bool,
}

/// The channels that are behind.
#[derive(Debug)]
pub(super) struct BehindTable {
    channel_bytes_max: usize,
    bytes_max: usize,
    channels: HashMap<Arc<str>, BehindChannel, FixedState>,
    /// Those whose next page is to be read, in the order of their turns.
    queue: VecDeque<Arc<str>>,
    bytes: usize,
}

impl BehindTable {
    /// Makes an empty table; so many bytes are kept for one channel, and for all, at most.
    #[must_use]
    pub(super) fn new(channel_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            channel_bytes_max,
            bytes_max,
            channels: HashMap::default(),
            queue: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Notes that a channel misses something; one that did so before is read again.
    pub(super) fn mark(&mut self, channel: &str) {
        let name = match self.channels.get_key_value(channel) {
            Some((_, behind)) if behind.is_queued => return,
            Some((name, _)) => Arc::clone(name),
            None => channel.into(),
        };
        let behind = self.channels.entry(Arc::clone(&name)).or_default();
        behind.is_queued = true;
        self.queue.push_back(name);
    }

    /// Takes a frame of a channel.
    pub(super) fn take(
        &mut self,
        channel: &str,
        after: Option<Position>,
        bytes: Vec<u8>,
    ) -> LiveOutcome {
        let Some(behind) = self.channels.get_mut(channel) else {
            return LiveOutcome::Passes(bytes);
        };
        if behind.has_dropped && after.is_some() {
            return LiveOutcome::Kept;
        }
        let size = bytes.len() + FRAME_OVERHEAD_BYTES;
        let reads = behind.reads;
        behind.frames.push_back(LiveFrame {
            bytes,
            after,
            reads,
        });
        behind.bytes += size;
        self.bytes += size;
        if behind.bytes <= self.channel_bytes_max && self.bytes <= self.bytes_max {
            return LiveOutcome::Kept;
        }
        behind.has_dropped = true;
        self.bytes -= std::mem::take(&mut behind.bytes);
        LiveOutcome::Overflow(without_place(behind.frames.drain(..)))
    }

    /// Takes the channel whose turn it is: a read of its log begins.
    pub(super) fn next(&mut self) -> Option<Arc<str>> {
        loop {
            let channel = self.queue.pop_front()?;
            // A channel that was forgotten meanwhile is passed over.
            if let Some(behind) = self.channels.get_mut(&channel) {
                behind.is_queued = false;
                behind.has_dropped = false;
                behind.reads += 1;
                return Some(channel);
            }
        }
    }

    /// Returns the place in the log, in this epoch, behind which the kept frames begin.
    #[must_use]
    pub(super) fn first_place(&self, channel: &str, epoch: Epoch) -> Option<u64> {
        let places = self.channels.get(channel)?.frames.iter();
        let of_epoch = places.filter_map(|frame| frame.after.filter(|after| after.epoch == epoch));
        of_epoch.map(|after| after.offset).min()
    }

    /// Goes on at the seam, once a channel's log was read to its end.
    pub(super) fn close(&mut self, channel: &str) -> Seam {
        let Some(behind) = self.channels.get_mut(channel) else {
            return Seam::Closed;
        };
        if behind.is_queued {
            return Seam::Again;
        } else if behind.has_dropped {
            self.mark(channel);
            return Seam::Again;
        }
        match behind.frames.pop_front() {
            Some(frame) => {
                behind.bytes -= frame.bytes.len() + FRAME_OVERHEAD_BYTES;
                self.bytes -= frame.bytes.len() + FRAME_OVERHEAD_BYTES;
                Seam::Frame(frame)
            }
            None => {
                self.channels.remove(channel);
                Seam::Closed
            }
        }
    }

    /// Takes a frame back that doesn't follow what was read. One that came before the last read began is
    /// no part of the log, and is let go of: `false`. Any other one is kept, and the channel is read again.
    pub(super) fn put_back(&mut self, channel: &str, frame: LiveFrame) -> bool {
        let Some(behind) = self.channels.get_mut(channel) else {
            return false;
        };
        if frame.reads < behind.reads {
            return false;
        }
        let size = frame.bytes.len() + FRAME_OVERHEAD_BYTES;
        behind.bytes += size;
        self.bytes += size;
        behind.frames.push_front(frame);
        self.mark(channel);
        true
    }

    /// Forgets a channel that isn't heard any more, or begins anew. Returns the frames that have no place
    /// in a log.
    pub(super) fn forget(&mut self, channel: &str) -> Vec<Vec<u8>> {
        let Some(behind) = self.channels.remove(channel) else {
            return Vec::new();
        };
        self.bytes -= behind.bytes;
        without_place(behind.frames.into_iter())
    }

    /// Counts the channels that are behind.
    #[must_use]
    pub(super) fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Counts the bytes of all frames that are kept.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

fn without_place(frames: impl Iterator<Item = LiveFrame>) -> Vec<Vec<u8>> {
    let without = frames.filter(|frame| frame.after.is_none());
    without.map(|frame| frame.bytes).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const EPOCH: Epoch = Epoch::from_bits(7);

    fn after(offset: u64) -> Option<Position> {
        Some(Position {
            epoch: EPOCH,
            offset,
        })
    }

    fn table() -> BehindTable {
        BehindTable::new(1_000, 1_500)
    }

    fn frame(table: &mut BehindTable, channel: &str) -> LiveFrame {
        match table.close(channel) {
            Seam::Frame(frame) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_frames_of_channels_that_are_behind_are_kept_and_they_come_behind_the_log() {
        let mut table = table();
        let passes = table.take("tea", after(0), vec![1]);
        assert_eq!(passes, LiveOutcome::Passes(vec![1]));
        table.mark("tea");
        table.mark("tea");
        assert_eq!(table.take("tea", after(4), vec![5]), LiveOutcome::Kept);
        assert_eq!(table.take("tea", None, vec![0]), LiveOutcome::Kept);
        assert_eq!(table.next().as_deref(), Some("tea"));
        assert_eq!(table.next(), None, "marked twice, it has one turn");
        assert_eq!(table.first_place("tea", EPOCH), Some(4));
        assert_eq!(table.first_place("tea", Epoch::from_bits(8)), None);
        assert_eq!(frame(&mut table, "tea").bytes, [5]);
        assert_eq!(table.take("tea", after(5), vec![6]), LiveOutcome::Kept);
        assert_eq!(frame(&mut table, "tea").bytes, [0]);
        assert_eq!(frame(&mut table, "tea").bytes, [6]);
        assert_eq!(table.close("tea"), Seam::Closed);
        let passes = table.take("tea", after(6), vec![7]);
        assert_eq!(passes, LiveOutcome::Passes(vec![7]));
        assert_eq!((table.channels(), table.bytes()), (0, 0));
    }

    #[test]
    fn channels_take_turns() {
        let mut table = table();
        ["tea", "coffee", "milk"]
            .iter()
            .for_each(|channel| table.mark(channel));
        assert_eq!(table.next().as_deref(), Some("tea"));
        table.mark("tea");
        assert_eq!(table.close("tea"), Seam::Again, "it has another page");
        assert!(table.forget("milk").is_empty());
        let turns: Vec<_> = std::iter::from_fn(|| table.next()).collect();
        assert_eq!(turns, ["coffee".into(), Arc::<str>::from("tea")]);
    }

    #[test]
    fn too_much_for_a_channel_is_let_go_of_and_read() {
        let mut table = table();
        table.mark("tea");
        assert_eq!(table.next().as_deref(), Some("tea"));
        for place in [after(1), after(2), None] {
            assert_eq!(table.take("tea", place, vec![0; 200]), LiveOutcome::Kept);
        }
        let lost = LiveOutcome::Overflow(vec![vec![0; 200]]);
        assert_eq!(table.take("tea", after(3), vec![0; 200]), lost);
        assert_eq!(table.bytes(), 0);
        assert_eq!(table.take("tea", after(4), vec![0; 10]), LiveOutcome::Kept);
        assert_eq!(
            table.bytes(),
            0,
            "the log has it: nothing is kept until it is read"
        );
        assert_eq!(table.close("tea"), Seam::Again);
        assert_eq!(table.next().as_deref(), Some("tea"));
        assert_eq!(table.take("tea", after(5), vec![5]), LiveOutcome::Kept);
        assert_eq!(frame(&mut table, "tea").bytes, [5]);
        assert_eq!(table.close("tea"), Seam::Closed);
    }

    #[test]
    fn too_much_for_all_channels_is_let_go_of_where_it_comes() {
        let mut table = table();
        ["tea", "coffee"]
            .iter()
            .for_each(|channel| table.mark(channel));
        assert_eq!(table.take("tea", after(1), vec![0; 800]), LiveOutcome::Kept);
        let lost = LiveOutcome::Overflow(vec![]);
        assert_eq!(table.take("coffee", after(1), vec![0; 800]), lost);
        assert_eq!(table.bytes(), 864);
        assert!(table.forget("tea").is_empty());
        assert_eq!((table.channels(), table.bytes()), (1, 0));
    }

    #[test]
    fn what_a_later_read_doesnt_explain_is_let_go_of() {
        let mut table = table();
        table.mark("tea");
        assert_eq!(table.take("tea", after(8), vec![9]), LiveOutcome::Kept);
        table.next();
        assert_eq!(table.take("tea", after(9), vec![10]), LiveOutcome::Kept);
        let early = frame(&mut table, "tea");
        assert!(
            !table.put_back("tea", early),
            "the log was read after it came"
        );
        let late = frame(&mut table, "tea");
        assert!(
            table.put_back("tea", late),
            "it may have come after the read"
        );
        assert_eq!(table.close("tea"), Seam::Again);
        table.next();
        let late = frame(&mut table, "tea");
        assert!(!table.put_back("tea", late));
        assert_eq!(table.close("tea"), Seam::Closed);
        assert_eq!(table.bytes(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A log that grows, whose messages come live as well, some of them not: whatever is dropped, each
        /// message is posted once, in order, and the seam closes.
        #[test]
        fn pages_and_live_frames_give_each_message_once_in_order(
            steps in vec((0..4_u8, 1..40_u64, 10..300_usize), 1..200),
        ) {
            let mut table = table();
            let (mut log, mut posted) = (0, 0_u64);
            let mut reading = None;
            for (kind, many, size) in steps.into_iter().chain((0..3_000).map(|_| (3, 0, 0))) {
                match kind {
                    // Messages that are lost on the bus.
                    0 => {
                        log += many;
                        table.mark("tea");
                    }
                    1 | 2 => {
                        log += 1;
                        if let LiveOutcome::Passes(_) = table.take("tea", after(log - 1), vec![0; size]) {
                            match log == posted + 1 {
                                true => posted = log,
                                false => table.mark("tea"),
                            }
                        }
                    }
                    _ => match reading.take() {
                        // A read that begins sees the log of that moment, ten messages of it.
                        None => reading = table.next().map(|_| (posted + 10).min(log)),
                        Some(end) => {
                            posted = posted.max(end);
                            if end < log {
                                table.mark("tea");
                            }
                            while let Seam::Frame(frame) = table.close("tea") {
                                let offset = frame.after.unwrap().offset + 1;
                                if offset == posted + 1 {
                                    posted = offset;
                                } else if offset > posted {
                                    prop_assert!(table.put_back("tea", frame), "{offset} was lost");
                                }
                            }
                        }
                    },
                }
                prop_assert!(table.bytes() <= 1_500);
            }
            prop_assert_eq!((posted, table.channels(), table.bytes()), (log, 0, 0));
        }
    }
}
