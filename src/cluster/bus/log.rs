//! The thread that reads the log for the bus, with a connection of its own: pages for channels that are
//! behind, looks, proofs; and it sends what this node has to say to others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::behind::Seam;
use super::look::{LookBatch, LookFinding, Looks, compare};
use super::posting::{Posting, post, post_without_place};
use super::requests::{answer_json, read_request};
use super::state::{BusState, ForeignRequest};
use crate::base::Position;
use crate::chat::{Heard, HeardMessage, Hearing, NodeAnswer};
use crate::cluster::ClusterPromise;
use crate::cluster::engine::{Engine, EngineError, EnginePage, EngineSource, Looked};
use crate::cluster::frame::Frame;
use crate::cluster::life::{adopt, open_adopted};
use crate::cluster::payload::Payload;
use crate::store::{ChannelState, PageRange};

/// Bytes after which a page ends: a moment of the engine's time.
const PAGE_BYTES_MAX: usize = 256 << 10;

/// Messages of a page, beside its bound in bytes.
const PAGE_MESSAGES_MAX: usize = 1_000;

/// Frames that are sent in one step.
const SENT_MAX: usize = 64;

/// The longest wait for replicas in one step.
const REPLICAS_PATIENCE: Duration = Duration::from_millis(250);

/// Reads the log for channels that are behind; one step a [`BusReader::turn`].
pub struct BusReader {
    state: Arc<BusState>,
    source: Arc<dyn EngineSource>,
    hearing: Arc<dyn Hearing>,
    engine: Option<Box<dyn Engine>>,
    looks: Looks,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

/// How a page ended.
#[derive(Debug, PartialEq, Eq)]
enum PageEnd {
    /// The log has more, or it has to be read anew.
    More,
    /// What came live goes on behind it.
    Seam,
    /// The node doesn't hear the channel any more.
    Unheard,
    /// The engine doesn't know the channel, or its era is over.
    Unknown,
}

impl BusReader {
    pub(super) fn new(
        state: Arc<BusState>,
        source: Arc<dyn EngineSource>,
        hearing: Arc<dyn Hearing>,
    ) -> Self {
        let every = Duration::from_millis(state.shared.settings.look_ms.max(1));
        let looks = Looks::new(state.now(), every);
        Self {
            state,
            source,
            hearing,
            engine: None,
            looks,
            backoff: Backoff::default(),
            retry_at: None,
        }
    }

    /// Takes one step; `false` if there was nothing to do.
    pub fn turn(&mut self) -> bool {
        if self.state.takes_distrust() {
            self.engine = None;
        }
        let Some(mut engine) = self.engine.take() else {
            return self.connect();
        };
        match self.step(&mut *engine) {
            Ok(did) => {
                self.engine = Some(engine);
                did
            }
            Err(error) => {
                tracing::warn!(%error, "the log can't be read for the bus");
                self.put_off();
                true
            }
        }
    }

    /// Returns how long there is nothing to do, should nobody ask for anything.
    #[must_use]
    pub fn rest(&self) -> Duration {
        let due = match (&self.engine, self.retry_at) {
            (None, Some(retry_at)) => retry_at,
            _ => self.looks.next_due(),
        };
        due.saturating_duration_since(self.state.now())
    }

    fn connect(&mut self) -> bool {
        let now = self.state.now();
        if self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        match open_adopted(&self.state.shared, &*self.source) {
            Ok(engine) => {
                self.engine = Some(engine);
                self.retry_at = None;
                self.backoff.succeed();
            }
            Err(error) => {
                tracing::debug!(%error, "the engine is out of reach for the bus");
                self.put_off();
            }
        }
        true
    }

    fn put_off(&mut self) {
        let pause = self.backoff.fail(self.state.shared.random());
        self.retry_at = Some(self.state.now() + pause);
    }

    fn step(&mut self, engine: &mut dyn Engine) -> Result<bool, EngineError> {
        let state = Arc::clone(&self.state);
        let sent = self.send(engine)?;
        if state.takes_proof() {
            self.prove_held(engine)?;
            return Ok(true);
        }
        let answered = self.answer_one();
        let looked = self.look(engine)?;
        let read = match state.next_behind() {
            None => false,
            Some(channel) => {
                if let Err(error) = self.read(engine, &channel) {
                    // It has its turn once the engine is there again.
                    state.mark_behind(&channel);
                    return Err(error);
                }
                true
            }
        };
        Ok(sent || answered || looked || read)
    }

    fn send(&self, engine: &mut dyn Engine) -> Result<bool, EngineError> {
        let state = &*self.state;
        let tests = state.takes_test();
        if tests {
            // Noted before, since it may be heard before this returns.
            state.pulse(|pulse| pulse.note_sent(state.now()));
            let generation = state.shared.generation();
            engine.send(generation, &Frame::Test(generation).bytes())?;
        }
        let mut sent = 0;
        while sent < SENT_MAX
            && let Some((generation, frame)) = state.next_outgoing()
        {
            engine.send(generation, &frame)?;
            sent += 1;
        }
        Ok(tests || sent > 0)
    }

    /// Proves that all that was appended so far is safe, by a write of this node; `None` if it can't be
    /// proved now.
    fn prove(&self, engine: &mut dyn Engine) -> Result<Option<u64>, EngineError> {
        let shared = &self.state.shared;
        // What is counted before the write is before it.
        let stands = engine.life()?;
        adopt(shared, engine)?;
        if shared.settings.promise == ClusterPromise::Replicated {
            let replicas = shared.settings.replicas;
            if engine.wait(replicas, REPLICAS_PATIENCE)? < replicas {
                return Ok(None);
            }
        }
        let Some(stands) = stands else {
            return Ok(None);
        };
        let counts = shared.note_safe(&stands.life, stands.n);
        Ok(counts.then_some(stands.n))
    }

    /// Whether what was read before may be shown. Then it counts as seen: were it lost by the engine, a
    /// life that begins without it is known by that.
    fn vouches_for_page(&self, engine: &mut dyn Engine) -> Result<bool, EngineError> {
        let shared = &self.state.shared;
        if shared.settings.promise == ClusterPromise::Replicated {
            // A replica may not have it yet: a failover would take it back.
            return Ok(self.prove(engine)?.is_some());
        }
        let stands = engine.life()?;
        let is_present = stands.is_some_and(|stands| shared.note_safe(&stands.life, stands.n));
        if !is_present {
            adopt(shared, engine)?;
        }
        Ok(is_present)
    }

    fn prove_held(&self, engine: &mut dyn Engine) -> Result<(), EngineError> {
        self.state.counters.proofs.add(1);
        if let Some(n) = self.prove(engine)? {
            // The bus hears it behind all that it covers, and at once.
            engine.mark_safe(n, &[self.state.shared.generation()])?;
        }
        Ok(())
    }

    fn answer_one(&self) -> bool {
        let state = &*self.state;
        let Some(ForeignRequest {
            generation,
            number,
            text,
        }) = state.next_request()
        else {
            return false;
        };
        let answer = match read_request(&text) {
            Some(request) => self.hearing.request(request),
            None => NodeAnswer {
                status: 501,
                body: "{}".into(),
            },
        };
        let text = &answer_json(&answer);
        state.send(generation, Frame::Answer { number, text }.bytes());
        true
    }

    fn look(&mut self, engine: &mut dyn Engine) -> Result<bool, EngineError> {
        let (state, now) = (&*self.state, self.state.now());
        let is_fresh = state.takes_look();
        if is_fresh || self.looks.is_due(now) {
            let mut channels = Vec::new();
            (self.hearing).channels(&mut |name, posted| channels.push((Arc::clone(name), posted)));
            self.looks.begin(now, channels, is_fresh);
        }
        while let Some((channel, newest)) = self.looks.next_suspect(now) {
            let posted = self.hearing.posted(&channel);
            if posted.is_some_and(|posted| is_missing(posted, newest)) {
                self.note_behind(&channel);
            }
        }
        let hearing = Arc::clone(&self.hearing);
        let batch = self.looks.batch(now, |channel| hearing.posted(channel));
        if batch.channels.is_empty() {
            return Ok(false);
        }
        let names: Vec<&str> = batch.channels.iter().map(|(name, _)| &**name).collect();
        let looked = match engine.look(&state.shared.caller(), &names) {
            Ok(looked) => looked,
            Err(error) => {
                // All of it once more, when the engine is there again.
                state.ask_look();
                return Err(error);
            }
        };
        self.compare(now, batch, &looked);
        Ok(true)
    }

    fn compare(&mut self, now: Instant, batch: LookBatch, looked: &[Looked]) {
        let (state, hearing) = (Arc::clone(&self.state), Arc::clone(&self.hearing));
        state.counters.looks.add(batch.channels.len() as u64);
        let mut unheard = Vec::new();
        for ((channel, posted), looked) in batch.channels.iter().zip(looked) {
            match compare(*posted, looked) {
                None => {}
                Some(LookFinding::Attach) => unheard.push(Arc::clone(channel)),
                Some(LookFinding::Behind) => self.note_behind(channel),
                Some(LookFinding::Ahead(newest)) => {
                    let posted = hearing.posted(channel);
                    match posted.is_some_and(|posted| is_missing(posted, newest)) {
                        true if batch.is_fresh => self.note_behind(channel),
                        true => self.looks.note_ahead(now, channel, newest),
                        false => {}
                    }
                }
            }
        }
        if !unheard.is_empty() {
            state.counters.looks_attached.add(unheard.len() as u64);
            hearing.attach(&unheard);
            self.looks.look_again(now, batch.again_after, unheard);
        }
    }

    fn note_behind(&self, channel: &str) {
        self.state.counters.looks_behind.add(1);
        self.state.mark_behind(channel);
    }

    fn read(&mut self, engine: &mut dyn Engine, channel: &Arc<str>) -> Result<(), EngineError> {
        let (state, hearing) = (Arc::clone(&self.state), Arc::clone(&self.hearing));
        let Some(posted) = hearing.posted(channel) else {
            self.forget(channel);
            return Ok(());
        };
        let range = PageRange {
            after: Some(posted.offset),
            before: None,
            limit: PAGE_MESSAGES_MAX,
            bytes_max: PAGE_BYTES_MAX,
        };
        let page = engine.page(channel, range)?;
        state.counters.pages.add(1);
        if !self.vouches_for_page(engine)? {
            state.mark_behind(channel);
            return Ok(());
        }
        match self.post_page(channel, posted, page) {
            PageEnd::More => state.mark_behind(channel),
            PageEnd::Seam => self.close_seam(channel),
            PageEnd::Unheard => self.forget(channel),
            PageEnd::Unknown => {
                self.forget(channel);
                hearing.attach(std::slice::from_ref(channel));
                self.looks.look_again_soon(state.now(), channel);
            }
        }
        Ok(())
    }

    fn forget(&self, channel: &str) {
        let (state, hearing) = (&*self.state, &*self.hearing);
        post_without_place(state, hearing, state.forget_behind(channel));
    }

    fn post_page(&self, channel: &str, posted: Position, page: EnginePage) -> PageEnd {
        let Some(log) = page.state else {
            return PageEnd::Unknown;
        };
        if log.epoch != posted.epoch {
            return self.begin_epoch(channel, log);
        }
        if log.newest < posted.offset {
            tracing::warn!(
                newest = log.newest,
                posted = posted.offset,
                "a log is shorter than it was"
            );
        }
        if log.floor > posted.offset {
            self.reset(channel, log, log.floor);
        }
        for (offset, payload) in page.payloads {
            let epoch = log.epoch;
            let Ok(payload) = Payload::decode(&payload) else {
                self.state.counters.messages_unreadable.add(1);
                self.reset(channel, log, offset);
                continue;
            };
            let heard = self.hearing.message(&HeardMessage {
                channel,
                position: Some(Position { epoch, offset }),
                message: Arc::new(payload.kept()),
                except: &payload.except,
            });
            match heard {
                Heard::Posted => self.state.counters.pages_posted.add(1),
                Heard::Old => {}
                Heard::Behind(_) | Heard::OtherEpoch(_) => return PageEnd::More,
                Heard::Unknown => return PageEnd::Unheard,
            }
        }
        match page.more {
            true => PageEnd::More,
            false => PageEnd::Seam,
        }
    }

    /// Goes over to the epoch of the log: where what came live in it begins, or at its end.
    fn begin_epoch(&self, channel: &str, log: ChannelState) -> PageEnd {
        let first = self.state.first_place(channel, log.epoch);
        let start = first.map_or(log.newest, |first| first.clamp(log.floor, log.newest));
        self.reset(channel, log, start);
        match start < log.newest {
            true => PageEnd::More,
            false => PageEnd::Seam,
        }
    }

    fn reset(&self, channel: &str, log: ChannelState, offset: u64) {
        self.state.counters.resets.add(1);
        let epoch = log.epoch;
        self.hearing.reset(channel, Position { epoch, offset });
    }

    /// Posts what came live for a channel whose log was read to its end.
    fn close_seam(&self, channel: &str) {
        let (state, hearing) = (&*self.state, &*self.hearing);
        while let Seam::Frame(live) = state.close_seam(channel) {
            let Some(frame) = Frame::parse(&live.bytes) else {
                continue;
            };
            if post(state, hearing, &frame) == Posting::Misfit && !state.put_back(channel, live) {
                state.counters.frames_stale.add(1);
            }
        }
    }
}

/// Whether a channel at `posted` doesn't have everything up to `newest`.
fn is_missing(posted: Position, newest: Position) -> bool {
    posted.epoch != newest.epoch || posted.offset < newest.offset
}
