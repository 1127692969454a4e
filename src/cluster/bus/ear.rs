//! The thread that reads the bus: it holds each frame until that is safe, then posts it, or leaves it to the
//! thread that reads the log.
//!
//! It never waits for anybody but the bus itself. Where too much waits for the connections it reads no more;
//! the engine keeps the rest, and cuts the bus if that becomes too much.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::behind::LiveOutcome;
use super::posting::{FramePlace, Posting, place_of, post, post_without_place};
use super::safe::{ChannelHash, SafeQueue, Taken};
use super::state::{BusState, ForeignRequest};
use crate::chat::Hearing;
use crate::cluster::ClusterPromise;
use crate::cluster::call::Life;
use crate::cluster::engine::{Bus, EngineError, EngineSource};
use crate::cluster::frame::Frame;
use crate::cluster::life::{adopt, open_adopted};
use crate::cluster::shared::NodePart;

/// The longest wait for a frame: proofs, tests and the end of the thread are looked at in between.
const FRAME_PATIENCE: Duration = Duration::from_millis(50);

/// The pause between two looks at what waits for the connections.
const PRESSED_PAUSE: Duration = Duration::from_millis(2);

/// Reads the bus; one step a [`BusEar::turn`].
pub struct BusEar {
    state: Arc<BusState>,
    source: Arc<dyn EngineSource>,
    hearing: Arc<dyn Hearing>,
    link: Option<BusLink>,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

/// An open bus.
struct BusLink {
    bus: Box<dyn Bus>,
    /// The life in which it was opened: a mark counts for no other one.
    life: Life,
    lives: u64,
    generation: u64,
    queue: SafeQueue,
    /// When the last turn ended.
    watched: Instant,
}

/// The reason why a bus isn't used any more.
enum BusEnd {
    Engine(EngineError),
    OtherLife,
    OtherGeneration,
    Deaf,
}

impl From<EngineError> for BusEnd {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl BusEar {
    pub(super) fn new(
        state: Arc<BusState>,
        source: Arc<dyn EngineSource>,
        hearing: Arc<dyn Hearing>,
    ) -> Self {
        Self {
            state,
            source,
            hearing,
            link: None,
            backoff: Backoff::default(),
            retry_at: None,
        }
    }

    /// Reads one frame, or waits for one for a moment; or opens the bus, or waits until it may be opened.
    pub fn turn(&mut self) {
        match self.link.take() {
            Some(mut link) => match self.listen(&mut link) {
                Ok(()) => self.link = Some(link),
                Err(end) => self.lose(link, end),
            },
            None => self.connect(),
        }
    }

    fn connect(&mut self) {
        let now = self.state.now();
        if let Some(left) = self.retry_at.map(|at| at.saturating_duration_since(now))
            && !left.is_zero()
        {
            return self.state.shared.clock.pause(left.min(FRAME_PATIENCE));
        }
        match self.open() {
            Ok(link) => {
                self.link = Some(link);
                self.retry_at = None;
                self.state.counters.buses.add(1);
                self.state.begin_bus();
            }
            Err(error) => {
                tracing::debug!(%error, "the bus can't be opened");
                self.put_off();
            }
        }
    }

    /// Subscribes in a life that the node has adopted, and makes sure that it is still the same afterwards.
    fn open(&self) -> Result<BusLink, EngineError> {
        let shared = &self.state.shared;
        let mut engine = open_adopted(shared, &*self.source)?;
        let (belief, generation) = (shared.belief(), shared.generation());
        let bus = self.source.bus(generation)?;
        adopt(shared, &mut *engine)?;
        if shared.lives() != belief.lives {
            return Err(EngineError::Away("another life began meanwhile".into()));
        }
        Ok(BusLink {
            bus,
            lives: belief.lives,
            generation,
            queue: SafeQueue::new(shared.settings.held_bytes_max, belief.seen),
            life: belief.life,
            watched: self.state.now(),
        })
    }

    fn listen(&mut self, link: &mut BusLink) -> Result<(), BusEnd> {
        let (state, shared) = (&*self.state, &self.state.shared);
        // In this order: what was seen in another life is seen after that began.
        let seen = shared.seen();
        if shared.lives() != link.lives {
            return Err(BusEnd::OtherLife);
        } else if shared.generation() != link.generation {
            return Err(BusEnd::OtherGeneration);
        }
        link.queue.cover(seen);
        if self.hearing.is_pressed() {
            shared.clock.pause(PRESSED_PAUSE);
            let pause = state.now().saturating_duration_since(link.watched);
            state.pulse(|pulse| pulse.note_pause(pause));
            state.counters.pressed_ms.add(pause.as_millis() as u64);
        } else if let Some(bytes) = link.bus.next(FRAME_PATIENCE)? {
            if state.pulse(|pulse| pulse.note_heard()) {
                shared.set_ready(NodePart::Bus, true);
                self.backoff.succeed();
            }
            self.hear(link, bytes)?;
        }
        while let Some(bytes) = link.queue.next_safe() {
            self.show(bytes);
        }
        self.state
            .counters
            .held_frames
            .set(link.queue.frames() as u64);
        self.state
            .counters
            .held_bytes
            .set(link.queue.bytes() as u64);
        self.watch(link)
    }

    fn watch(&self, link: &mut BusLink) -> Result<(), BusEnd> {
        let (state, now) = (&*self.state, self.state.now());
        link.watched = now;
        if link.queue.asks_proof(now) {
            state.ask_proof();
        }
        let (asks_test, is_deaf) = state.pulse(|pulse| (pulse.asks_test(now), pulse.is_deaf(now)));
        if asks_test {
            state.ask_test();
        }
        match is_deaf {
            true => Err(BusEnd::Deaf),
            false => Ok(()),
        }
    }

    fn hear(&self, link: &mut BusLink, bytes: Vec<u8>) -> Result<(), BusEnd> {
        let state = &*self.state;
        state.counters.frames.add(1);
        let Some(frame) = Frame::parse(&bytes) else {
            state.counters.frames_unreadable.add(1);
            return Ok(());
        };
        match frame {
            Frame::Safe(n) => match state.shared.note_safe(&link.life, n) {
                true => link.queue.cover(n),
                false => return Err(BusEnd::OtherLife),
            },
            Frame::Request {
                generation,
                number,
                text,
            } => state.take_request(ForeignRequest {
                generation,
                number,
                text: text.into(),
            }),
            Frame::Answer { number, text } => state.take_answer(number, text),
            Frame::Generations => state.shared.note_generations(),
            Frame::Test(_) => {}
            _ => {
                let place = place_of(&frame).expect("it is of a channel");
                let n = match state.shared.settings.promise {
                    ClusterPromise::Fast => 0,
                    ClusterPromise::Synced | ClusterPromise::Replicated => place.n,
                };
                let channel = ChannelHash::of(place.channel);
                self.hold(link, n, channel, bytes);
            }
        }
        Ok(())
    }

    fn hold(&self, link: &mut BusLink, n: u64, channel: ChannelHash, bytes: Vec<u8>) {
        match link.queue.take(self.state.now(), n, channel, bytes) {
            Taken::Passes(bytes) => self.show(bytes),
            Taken::Held => {}
            Taken::Overflow(frames) => {
                let channels = self.let_go(frames);
                self.state.counters.held_overflows.add(1);
                tracing::warn!(
                    channels,
                    "too much waits until it is safe: it is read from the log"
                );
            }
        }
    }

    /// Lets frames go that were held: what has a place is read from the log. Returns how many frames have.
    fn let_go(&self, frames: Vec<Vec<u8>>) -> usize {
        let mut placed = 0;
        for bytes in frames {
            let Some(place) = Frame::parse(&bytes).as_ref().and_then(place_of) else {
                continue;
            };
            match place.after {
                Some(_) => {
                    placed += 1;
                    self.state.mark_behind(place.channel);
                }
                None => post_without_place(&self.state, &*self.hearing, [bytes]),
            }
        }
        placed
    }

    /// Posts a frame that is safe, or leaves it to the thread that reads the log of its channel.
    fn show(&self, bytes: Vec<u8>) {
        let (state, hearing) = (&*self.state, &*self.hearing);
        let Some(bytes) = self.keep_if_behind(bytes) else {
            return;
        };
        let Some(frame) = Frame::parse(&bytes) else {
            return;
        };
        if post(state, hearing, &frame) == Posting::Misfit
            && let Some(FramePlace { channel, after, .. }) = place_of(&frame)
        {
            let channel = channel.to_owned();
            state.mark_behind_with(&channel, after, bytes);
        }
    }

    /// Keeps a frame whose channel is behind; returns any other one.
    fn keep_if_behind(&self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let (state, hearing) = (&*self.state, &*self.hearing);
        if !state.may_be_behind() {
            return Some(bytes);
        }
        let place = place_of(&Frame::parse(&bytes)?)?;
        let (channel, after) = (place.channel.to_owned(), place.after);
        match state.take_live(&channel, after, bytes) {
            LiveOutcome::Passes(bytes) => Some(bytes),
            LiveOutcome::Kept => None,
            LiveOutcome::Overflow(frames) => {
                state.counters.behind_overflows.add(1);
                post_without_place(state, hearing, frames);
                None
            }
        }
    }

    fn lose(&mut self, mut link: BusLink, end: BusEnd) {
        let state = &*self.state;
        state.shared.set_ready(NodePart::Bus, false);
        // What has a place is found by the look that follows, or is gone with its life.
        let frames = link.queue.drain();
        let held = frames.len();
        let is_without_place = |bytes: &Vec<u8>| {
            let place = Frame::parse(bytes)
                .as_ref()
                .and_then(place_of)
                .map(|place| place.after);
            place == Some(None)
        };
        post_without_place(
            state,
            &*self.hearing,
            frames.into_iter().filter(is_without_place),
        );
        match end {
            BusEnd::Engine(error) => tracing::warn!(%error, held, "the bus was lost"),
            BusEnd::OtherLife => tracing::warn!(held, "the engine has begun another life"),
            BusEnd::OtherGeneration => tracing::warn!(held, "the node has another generation"),
            BusEnd::Deaf => {
                state.counters.buses_deaf.add(1);
                state.distrust_connection();
                tracing::warn!(held, "nothing is heard on the bus: it is opened anew");
            }
        }
        self.put_off();
    }

    fn put_off(&mut self) {
        let pause = self.backoff.fail(self.state.shared.random());
        self.retry_at = Some(self.state.now() + pause);
    }
}
