//! The reading side of the cluster's log: the channels that this node hears, from memory, and pages, over
//! connections of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use super::engine::{Engine, EngineError, EnginePage, EngineSource};
use super::life;
use super::payload::Payload;
use super::shared::NodeShared;
use crate::base::sync::lock;
use crate::base::{HashKeys, Position};
use crate::store::{
    ChannelState, LogPage, PageRange, Reader, StateRecord, StoreError, StoreTotals, StoredMessage,
};

/// Connections that stay open while nobody reads: as many as threads read at a time, as a rule.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// The reading side of the cluster's log.
pub(super) struct ClusterReader {
    shared: Arc<NodeShared>,
    source: Arc<dyn EngineSource>,
    /// Open connections that nobody uses, each with the count of lives under which it was opened.
    idle: Mutex<Vec<(u64, Box<dyn Engine>)>>,
    /// The channels that this node hears, as they stood when somebody looked last. Bounded like the
    /// channels of the chat: what isn't heard any more isn't in it.
    heard: Mutex<HashMap<Box<str>, ChannelState>>,
}

impl ClusterReader {
    pub(super) fn new(shared: Arc<NodeShared>, source: Arc<dyn EngineSource>) -> Self {
        Self {
            shared,
            source,
            idle: Mutex::default(),
            heard: Mutex::default(),
        }
    }

    /// Notes that the node hears a channel.
    pub(super) fn enter(&self, channel: &str, state: ChannelState) {
        lock(&self.heard).insert(channel.into(), state);
    }

    /// Notes that the node hears a channel no more.
    pub(super) fn leave(&self, channel: &str) {
        lock(&self.heard).remove(channel);
    }

    /// Whether the node hears a channel.
    pub(super) fn hears(&self, channel: &str) -> bool {
        lock(&self.heard).contains_key(channel)
    }

    /// Asks the engine something that changes nothing, over a connection that nobody uses; a second time
    /// over a new one, if the first had been open for a while.
    pub(super) fn ask<T>(
        &self,
        question: impl Fn(&mut dyn Engine) -> Result<T, EngineError>,
    ) -> Result<T, StoreError> {
        let lives = self.shared.lives();
        let idle = lock(&self.idle).pop();
        if let Some((opened_in, mut engine)) = idle.filter(|(opened_in, _)| *opened_in == lives)
            && let Ok(answer) = question(&mut *engine)
        {
            self.put_back(opened_in, engine);
            return Ok(answer);
        }
        let asked = life::open_adopted(&self.shared, &*self.source)
            .and_then(|mut engine| question(&mut *engine).map(|answer| (answer, engine)));
        match asked {
            Ok((answer, engine)) => {
                self.put_back(self.shared.lives(), engine);
                Ok(answer)
            }
            Err(error) => Err(StoreError::Away(error.to_string().into())),
        }
    }

    fn put_back(&self, opened_in: u64, engine: Box<dyn Engine>) {
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((opened_in, engine));
        }
    }

    /// Notes how a channel stands that the node hears.
    fn follow(&self, channel: &str, state: Option<ChannelState>) {
        if let (Some(state), Some(known)) = (state, lock(&self.heard).get_mut(channel)) {
            *known = state;
        }
    }
}

impl Reader for ClusterReader {
    fn channel(&self, name: &str) -> Option<ChannelState> {
        lock(&self.heard).get(name).copied()
    }

    fn page(&self, channel: &str, range: PageRange) -> Result<LogPage, StoreError> {
        let page = self.ask(|engine| engine.page(channel, range))?;
        self.follow(channel, page.state);
        decoded(channel, page)
    }

    fn each(&self, known: &mut dyn FnMut(StateRecord<'_>)) {
        let heard = lock(&self.heard).clone();
        for (name, state) in &heard {
            known(StateRecord::Channel(name, *state));
        }
    }

    /// Acknowledgements come with each login, and stand nowhere else on this node.
    fn acked(&self, _channel: &str, _reader: &str) -> Option<u64> {
        None
    }

    /// Returns 0 also while the engine is out of reach: what a producer sends again is known there.
    fn mark(&self, producer: &str) -> u64 {
        let mark = self.ask(|engine| engine.producer_mark(producer));
        mark.unwrap_or_else(|error| {
            tracing::warn!(%error, producer, "the mark of a producer can't be read");
            0
        })
    }

    fn read_mark(&self, producer: &str) -> Result<u64, StoreError> {
        self.ask(|engine| engine.producer_mark(producer))
    }

    /// Serial numbers are reserved in blocks, never below a bound.
    fn serials_below(&self) -> u64 {
        0
    }

    fn key(&self) -> [u64; 2] {
        self.shared.hash_keys().get()
    }

    fn shared_keys(&self) -> Option<HashKeys> {
        Some(self.shared.hash_keys())
    }

    /// The engine begins each channel under random bits, which needs no count.
    fn forgotten(&self) -> u64 {
        0
    }

    fn totals(&self) -> StoreTotals {
        let counters = &self.shared.counters;
        StoreTotals {
            channels: lock(&self.heard).len() as u64,
            commits: counters.calls.load(Relaxed),
            records: counters.entries.load(Relaxed),
            ..StoreTotals::default()
        }
    }
}

impl fmt::Debug for ClusterReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterReader").finish_non_exhaustive()
    }
}

/// Reads the messages of a page out of their bytes.
fn decoded(channel: &str, page: EnginePage) -> Result<LogPage, StoreError> {
    let Some(ChannelState { epoch, .. }) = page.state else {
        return Ok(LogPage::default());
    };
    let messages = page.payloads.iter().map(|(offset, payload)| {
        let payload = Payload::decode(payload).map_err(|flaw| {
            let what = format!("message {offset} of {channel}: {flaw}");
            StoreError::Away(what.into())
        })?;
        let offset = *offset;
        Ok(StoredMessage {
            position: Position { epoch, offset },
            body: payload.body.to_owned(),
        })
    });
    Ok(LogPage {
        state: page.state,
        messages: messages.collect::<Result<_, StoreError>>()?,
        more: page.more,
    })
}
