//! Looks: each channel that the node hears is compared with the engine now and then, a thousand a call. Pure
//! state.
//!
//! What was posted when a look began is compared, not what is posted when its answer comes: in a busy channel
//! the two always differ.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::Position;
use crate::cluster::engine::Looked;

/// Channels of one call.
pub(super) const LOOK_CHANNELS_MAX: usize = 1_000;

/// Pause between two calls of a look: a hundred thousand channels take two seconds.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Time after which a message that the engine had must have come on the bus: longer than the wait for a mark
/// and the proof after it.
const SUSPECT_AFTER: Duration = Duration::from_secs(2);

/// What is wrong with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookFinding {
    /// The engine doesn't send its messages to the node, or has begun it anew: it has to be attached.
    Attach,
    /// The log isn't what was posted: it has to be read.
    Behind,
    /// The engine has more than was posted; that may be on its way.
    Ahead(Position),
}

/// Compares a channel with what the engine says of it. `posted` is what was posted when the look was sent.
#[must_use]
pub(super) fn compare(posted: Position, looked: &Looked) -> Option<LookFinding> {
    match looked.newest {
        Some(newest) if looked.has_route => match newest.offset.cmp(&posted.offset) {
            _ if newest.epoch != posted.epoch => Some(LookFinding::Behind),
            std::cmp::Ordering::Less => Some(LookFinding::Behind),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(LookFinding::Ahead(newest)),
        },
        _ => Some(LookFinding::Attach),
    }
}

/// Time after which a channel is looked at again that had to be attached; twice as long each further time.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Channels to look at, with what was posted in each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LookBatch {
    /// The channels.
    pub(super) channels: Vec<(Arc<str>, Position)>,
    /// Whether nothing can be on its way from before the look.
    pub(super) is_fresh: bool,
    /// The time after which those that had to be attached are looked at again.
    pub(super) again_after: Duration,
}

/// Channels that had to be attached.
#[derive(Debug)]
struct LookAgain {
    due: Instant,
    after: Duration,
    channels: Vec<Arc<str>>,
}

/// The looks of a node.
#[derive(Debug)]
pub(super) struct Looks {
    every: Duration,
    next_round: Instant,
    next_batch: Instant,
    /// Channels of the present round that weren't looked at yet, with what was posted when it began.
    channels: VecDeque<(Arc<str>, Position)>,
    /// Whether nothing can be on its way from before the round: it follows a subscribing.
    is_fresh: bool,
    suspects: VecDeque<(Instant, Arc<str>, Position)>,
    again: VecDeque<LookAgain>,
}

impl Looks {
    /// Begins at `now`, with nothing to look at for `every`.
    #[must_use]
    pub(super) fn new(now: Instant, every: Duration) -> Self {
        Self {
            every,
            next_round: now + every,
            next_batch: now,
            channels: VecDeque::new(),
            is_fresh: false,
            suspects: VecDeque::new(),
            again: VecDeque::new(),
        }
    }

    /// Whether a round is due.
    #[must_use]
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next_round && self.channels.is_empty()
    }

    /// Begins a round over these channels; what is left of the one before is let go of. A `fresh` one follows
    /// a subscribing.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        channels: impl IntoIterator<Item = (Arc<str>, Position)>,
        is_fresh: bool,
    ) {
        self.channels = channels.into_iter().collect();
        self.next_round = now + self.every;
        self.next_batch = now;
        self.is_fresh = is_fresh;
    }

    /// Takes what the next call looks at; `posted` says what was posted in a channel, if the node still hears
    /// it.
    pub(super) fn batch(
        &mut self,
        now: Instant,
        posted: impl Fn(&str) -> Option<Position>,
    ) -> LookBatch {
        if let Some(again) = self.again.pop_front_if(|again| again.due <= now) {
            let channels = again.channels.into_iter();
            let heard = channels.filter_map(|name| posted(&name).map(|posted| (name, posted)));
            return LookBatch {
                channels: heard.collect(),
                is_fresh: true,
                again_after: (again.after * 2).min(self.every),
            };
        } else if now < self.next_batch {
            return LookBatch::default();
        }
        let count = self.channels.len().min(LOOK_CHANNELS_MAX);
        self.next_batch = now + LOOK_PAUSE;
        LookBatch {
            channels: self.channels.drain(..count).collect(),
            is_fresh: self.is_fresh,
            again_after: AGAIN_AFTER,
        }
    }

    /// Has channels looked at again after a while, since they have to be attached first.
    pub(super) fn look_again(&mut self, now: Instant, after: Duration, channels: Vec<Arc<str>>) {
        let due = now + after;
        let place = self.again.partition_point(|other| other.due <= due);
        let again = LookAgain {
            due,
            after,
            channels,
        };
        self.again.insert(place, again);
    }

    /// Has a channel looked at again soon.
    pub(super) fn look_again_soon(&mut self, now: Instant, channel: &Arc<str>) {
        self.look_again(now, AGAIN_AFTER, vec![Arc::clone(channel)]);
    }

    /// Notes a channel of which the engine had more than was posted, and which may be on its way.
    pub(super) fn note_ahead(&mut self, now: Instant, channel: &Arc<str>, newest: Position) {
        let due = now + SUSPECT_AFTER;
        self.suspects.push_back((due, Arc::clone(channel), newest));
    }

    /// Takes a channel of which everything that the engine had when it was looked at must have come.
    pub(super) fn next_suspect(&mut self, now: Instant) -> Option<(Arc<str>, Position)> {
        let due = self.suspects.pop_front_if(|(due, ..)| *due <= now);
        due.map(|(_, channel, newest)| (channel, newest))
    }

    /// When there may be something to do next.
    #[must_use]
    pub(super) fn next_due(&self) -> Instant {
        let round = match self.channels.is_empty() {
            true => self.next_round,
            false => self.next_batch,
        };
        let suspect = self.suspects.front().map(|(due, ..)| *due);
        let again = self.again.front().map(|again| again.due);
        suspect.into_iter().chain(again).fold(round, Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;

    fn at(epoch: u32, offset: u64) -> Position {
        let epoch = Epoch::from_bits(epoch);
        Position { epoch, offset }
    }

    fn looked(has_route: bool, newest: Option<Position>) -> Looked {
        Looked { has_route, newest }
    }

    fn batch(looks: &mut Looks, now: Instant) -> Vec<(Arc<str>, Position)> {
        looks.batch(now, |_| None).channels
    }

    #[test]
    fn a_look_finds_what_differs_and_nothing_else() {
        let posted = at(1, 5);
        for (looked, finding) in [
            (looked(true, Some(at(1, 5))), None),
            (looked(false, Some(at(1, 5))), Some(LookFinding::Attach)),
            (looked(true, None), Some(LookFinding::Attach)),
            (looked(true, Some(at(1, 4))), Some(LookFinding::Behind)),
            (looked(true, Some(at(2, 5))), Some(LookFinding::Behind)),
            (
                looked(true, Some(at(1, 6))),
                Some(LookFinding::Ahead(at(1, 6))),
            ),
        ] {
            assert_eq!(compare(posted, &looked), finding, "{looked:?}");
        }
    }

    #[test]
    fn a_round_takes_a_thousand_channels_a_call_with_a_pause() {
        let start = Instant::now();
        let mut looks = Looks::new(start, Duration::from_secs(30));
        assert!(!looks.is_due(start) && looks.is_due(start + Duration::from_secs(30)));
        let channels = (0..2_500).map(|number: u64| (number.to_string().into(), at(1, number)));
        looks.begin(start, channels, false);
        let mut calls = Vec::new();
        let mut now = start;
        while looks.next_due() < start + Duration::from_secs(30) {
            now = now.max(looks.next_due());
            calls.push(batch(&mut looks, now).len());
            assert!(batch(&mut looks, now).is_empty(), "the pause isn't over");
        }
        assert_eq!(calls, [1_000, 1_000, 500]);
        assert!(looks.is_due(start + Duration::from_secs(30)));
    }

    #[test]
    fn what_the_engine_has_more_is_behind_only_once_it_must_have_come() {
        let start = Instant::now();
        let at_ms = |ms| start + Duration::from_millis(ms);
        let mut looks = Looks::new(start, Duration::from_secs(30));
        let tea: Arc<str> = "tea".into();
        looks.note_ahead(start, &tea, at(1, 6));
        assert_eq!(looks.next_due(), at_ms(2_000));
        assert_eq!(looks.next_suspect(at_ms(1_999)), None);
        let suspect = Some((Arc::clone(&tea), at(1, 6)));
        assert_eq!(looks.next_suspect(at_ms(2_000)), suspect);
        assert_eq!(looks.next_suspect(at_ms(9_000)), None);
    }

    #[test]
    fn what_had_to_be_attached_is_looked_at_again_later_each_time() {
        let start = Instant::now();
        let at_ms = |ms| start + Duration::from_millis(ms);
        let mut looks = Looks::new(start, Duration::from_secs(1));
        let posted = |name: &str| (name == "tea").then(|| at(1, 6));
        looks.look_again_soon(start, &"tea".into());
        looks.look_again_soon(start, &"coffee".into());
        assert_eq!(looks.next_due(), at_ms(250));
        assert!(looks.batch(at_ms(249), posted).channels.is_empty());
        let tea = looks.batch(at_ms(250), posted);
        let expected = LookBatch {
            channels: vec![("tea".into(), at(1, 6))],
            is_fresh: true,
            again_after: Duration::from_millis(500),
        };
        assert_eq!(tea, expected);
        let gone = looks.batch(at_ms(250), posted);
        assert!(gone.channels.is_empty(), "it isn't heard any more");
        let mut after = tea.again_after;
        for again_after in [1_000, 1_000] {
            looks.look_again(start, after, vec!["tea".into()]);
            after = looks.batch(start + after, posted).again_after;
            assert_eq!(after.as_millis(), again_after);
        }
    }
}
