//! A connection to a model.

use std::sync::MutexGuard;
use std::time::Duration;

use super::calls::needs_room;
use super::faults::CallFault;
use super::{Model, ModelEngine};
use crate::base::Position;
use crate::cluster::call::{Answer, Call, Caller, Life};
use crate::cluster::engine::{
    CallBounds, Engine, EngineError, EngineFacts, EnginePage, LastCall, LifeState, Looked, Tidied,
};
use crate::cluster::frame::Frame;
use crate::store::PageRange;

/// A connection, which ends with the first error, or with the engine's life.
#[derive(Debug)]
pub(super) struct ModelConnection {
    model: Model,
    owner: u64,
    start: u64,
    is_over: bool,
    bounds: CallBounds,
}

impl ModelEngine {
    pub(super) fn is_away(&self, owner: u64) -> bool {
        self.faults.get(&owner).is_some_and(|faults| faults.is_away)
    }

    pub(super) fn make(
        &mut self,
        call: &Call,
        bounds: &CallBounds,
        now_ms: u64,
        is_broken: bool,
    ) -> Answer {
        let before = self.state.clone();
        let made = self.state.make(call, bounds, now_ms, is_broken);
        if self.state.n() != before.n() {
            self.keep_tail(before);
        }
        self.inboxes.post(made.posted, &self.faults);
        made.answer
    }
}

impl ModelConnection {
    pub(super) fn open(model: &Model, owner: u64) -> Result<Self, EngineError> {
        let engine = model.engine();
        if engine.is_away(owner) {
            return Err(EngineError::Away("nobody listens there".into()));
        }
        Ok(Self {
            model: model.clone(),
            owner,
            start: engine.starts,
            is_over: false,
            bounds: CallBounds::default(),
        })
    }

    fn engine(&mut self) -> Result<MutexGuard<'_, ModelEngine>, EngineError> {
        let engine = self.model.engine();
        if self.is_over || engine.starts != self.start || engine.is_away(self.owner) {
            self.is_over = true;
            return Err(EngineError::Lost("the connection was cut".into()));
        }
        Ok(engine)
    }

    fn post(&mut self, nodes: &[u64], frame: &[u8]) -> Result<(), EngineError> {
        let mut engine = self.engine()?;
        let posted = nodes.iter().map(|node| (*node, frame.to_vec())).collect();
        let ModelEngine {
            inboxes, faults, ..
        } = &mut *engine;
        inboxes.post(posted, faults);
        Ok(())
    }
}

impl Engine for ModelConnection {
    fn facts(&mut self) -> Result<EngineFacts, EngineError> {
        let model = self.model.clone();
        let engine = self.engine()?;
        let unix_ms = model.unix_ms(&engine);
        Ok(engine.facts(unix_ms))
    }

    fn life(&mut self) -> Result<Option<LifeState>, EngineError> {
        Ok(self.engine()?.state.life.clone())
    }

    fn adopt(
        &mut self,
        facts: &EngineFacts,
        known: &Life,
        seen: u64,
        trusted: bool,
    ) -> Result<LifeState, EngineError> {
        Ok(self.engine()?.state.adopt(facts, known, seen, trusted))
    }

    fn renew(&mut self) -> Result<Option<LifeState>, EngineError> {
        let mut engine = self.engine()?;
        Ok(engine.state.life.as_mut().map(|life| {
            life.life.era += 1;
            life.clone()
        }))
    }

    fn set_bounds(&mut self, bounds: &CallBounds) {
        self.bounds = *bounds;
    }

    fn call(&mut self, call: &Call) -> Result<Answer, EngineError> {
        let (model, bounds, owner) = (self.model.clone(), self.bounds, self.owner);
        let mut engine = self.engine()?;
        let faults = engine.faults.get_mut(&owner);
        let fault = faults.and_then(|faults| faults.calls.pop_front());
        let is_refused = engine.is_full && needs_room(call);
        let now_ms = model.unix_ms(&engine);
        if let Some(CallFault::Late | CallFault::Copied) = fault {
            engine.late.push_back((call.clone(), bounds));
        }
        let answer = match fault {
            Some(CallFault::Lost | CallFault::Late) => None,
            _ if is_refused && fault.is_none() => {
                return Err(EngineError::Full("no room is left".into()));
            }
            _ if is_refused => None,
            Some(CallFault::ReplyLost | CallFault::Copied) => {
                engine.make(call, &bounds, now_ms, false);
                None
            }
            Some(CallFault::Broken) => Some(engine.make(call, &bounds, now_ms, true)),
            None => Some(engine.make(call, &bounds, now_ms, false)),
        };
        drop(engine);
        self.is_over = answer.is_none();
        answer.ok_or_else(|| EngineError::Lost("no answer came".into()))
    }

    fn last_call(&mut self, generation: u64) -> Result<Option<LastCall>, EngineError> {
        let engine = self.engine()?;
        let kept = engine.state.calls.get(&generation);
        Ok(kept.filter(|kept| kept.number > 0).map(|kept| LastCall {
            number: kept.number,
            answer: kept.answer.clone().unwrap_or(Answer::Broken),
        }))
    }

    fn wait(&mut self, replicas: usize, patience: Duration) -> Result<usize, EngineError> {
        let have = self.engine()?.replicas;
        if have < replicas {
            self.model.clock().pause(patience);
        }
        Ok(have)
    }

    fn mark_safe(&mut self, n: u64, nodes: &[u64]) -> Result<(), EngineError> {
        self.post(nodes, &Frame::Safe(n).bytes())
    }

    fn send(&mut self, node: u64, frame: &[u8]) -> Result<(), EngineError> {
        self.post(&[node], frame)
    }

    fn page(&mut self, channel: &str, range: PageRange) -> Result<EnginePage, EngineError> {
        let engine = self.engine()?;
        let Some(channel) = engine.state.present(channel) else {
            return Ok(EnginePage::default());
        };
        let after = range.after.unwrap_or(0);
        let before = range.before.unwrap_or(u64::MAX);
        let offsets = channel.floor() + 1..;
        let all = offsets.zip(&channel.messages);
        let all = all.filter(|(offset, _)| (after + 1..before).contains(offset));
        let mut found: Vec<_> = all.collect();
        if range.before.is_some() && range.after.is_none() {
            found.reverse();
        }
        let mut page = EnginePage {
            state: Some(channel.state()),
            ..EnginePage::default()
        };
        let mut size = 0;
        for (offset, payload) in found {
            size += payload.len();
            let has_any = !page.payloads.is_empty();
            if page.payloads.len() >= range.limit || (has_any && size > range.bytes_max) {
                page.more = true;
                break;
            }
            page.payloads.push((offset, payload.clone()));
        }
        Ok(page)
    }

    fn look(&mut self, caller: &Caller, channels: &[&str]) -> Result<Vec<Looked>, EngineError> {
        let engine = self.engine()?;
        let looked = channels.iter().map(|channel| Looked {
            has_route: engine.state.hearers(channel).contains(&caller.generation),
            newest: engine.state.present(channel).map(|known| Position {
                epoch: known.epoch,
                offset: known.newest,
            }),
        });
        Ok(looked.collect())
    }

    fn producer_mark(&mut self, producer: &str) -> Result<u64, EngineError> {
        let engine = self.engine()?;
        Ok(engine.state.marks.get(producer).copied().unwrap_or(0))
    }

    fn tidy(
        &mut self,
        caller: &Caller,
        after: Option<&str>,
        channels_max: usize,
    ) -> Result<Tidied, EngineError> {
        let (model, bounds) = (self.model.clone(), self.bounds);
        let mut engine = self.engine()?;
        let now_ms = model.unix_ms(&engine);
        let state = &mut engine.state;
        Ok(state.tidy(caller, after, channels_max, &bounds, now_ms))
    }

    fn hasher_key(&mut self, ours: [u64; 2]) -> Result<[u64; 2], EngineError> {
        let mut engine = self.engine()?;
        Ok(*engine.state.hasher_key.get_or_insert(ours))
    }

    fn reserve_block(&mut self, caller: &Caller, at_least: u64) -> Result<u64, EngineError> {
        let mut engine = self.engine()?;
        let state = &mut engine.state;
        state.block = at_least.max(state.block + 1);
        state.blocks.insert(state.block, caller.generation);
        Ok(state.block)
    }

    fn block_owner(&mut self, block: u64) -> Result<Option<u64>, EngineError> {
        Ok(self.engine()?.state.blocks.get(&block).copied())
    }
}
