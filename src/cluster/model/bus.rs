//! The inboxes of generations, and the buses on which they are heard.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Model;
use super::calls::Posted;
use super::faults::OwnerFaults;
use crate::cluster::engine::{Bus, EngineError};

/// The longest sleep of one who waits for a frame; with the clock of a test it isn't one.
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// All buses that are open.
#[derive(Debug, Default)]
pub(super) struct ModelInboxes {
    next_id: u64,
    open: BTreeMap<u64, ModelInbox>,
}

/// What was sent to one bus and isn't heard yet.
#[derive(Debug)]
struct ModelInbox {
    owner: u64,
    generation: u64,
    frames: VecDeque<Vec<u8>>,
    stalled: VecDeque<Vec<u8>>,
}

impl ModelInboxes {
    /// Sends frames to whoever hears these generations.
    pub(super) fn post(&mut self, posted: Vec<Posted>, faults: &BTreeMap<u64, OwnerFaults>) {
        for (generation, frame) in posted {
            let mut inboxes = self.open.values_mut();
            for inbox in inboxes.by_ref().filter(|one| one.generation == generation) {
                let faults = faults.get(&inbox.owner);
                if faults.is_some_and(|faults| faults.drops_frames) {
                    continue;
                }
                let is_stalled = faults.is_some_and(|faults| faults.is_stalled);
                let queue = match is_stalled {
                    true => &mut inbox.stalled,
                    false => &mut inbox.frames,
                };
                queue.push_back(frame.clone());
            }
        }
    }

    /// Ends the buses of an owner, or of all.
    pub(super) fn cut(&mut self, owner: Option<u64>) {
        self.open
            .retain(|_, inbox| owner.is_some_and(|owner| inbox.owner != owner));
    }

    /// Lets what was stalled go on.
    pub(super) fn release(&mut self, owner: u64) {
        let inboxes = self.open.values_mut();
        for inbox in inboxes.filter(|inbox| inbox.owner == owner) {
            inbox.frames.append(&mut inbox.stalled);
        }
    }
}

/// The bus of one generation.
#[derive(Debug)]
pub(super) struct ModelBus {
    model: Model,
    id: u64,
}

impl ModelBus {
    pub(super) fn open(model: &Model, owner: u64, generation: u64) -> Result<Self, EngineError> {
        let mut engine = model.engine();
        if engine.is_away(owner) {
            return Err(EngineError::Away("nobody listens there".into()));
        }
        let inboxes = &mut engine.inboxes;
        inboxes.next_id += 1;
        let id = inboxes.next_id;
        let inbox = ModelInbox {
            owner,
            generation,
            frames: VecDeque::new(),
            stalled: VecDeque::new(),
        };
        inboxes.open.insert(id, inbox);
        drop(engine);
        Ok(Self {
            model: model.clone(),
            id,
        })
    }
}

impl Bus for ModelBus {
    fn next(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, EngineError> {
        let due = self.model.clock().now() + patience;
        loop {
            {
                let mut engine = self.model.engine();
                let Some(inbox) = engine.inboxes.open.get_mut(&self.id) else {
                    return Err(EngineError::Lost("the bus was cut".into()));
                };
                if let Some(frame) = inbox.frames.pop_front() {
                    return Ok(Some(frame));
                }
            }
            let left = due.saturating_duration_since(self.model.clock().now());
            if left.is_zero() {
                return Ok(None);
            }
            self.model.clock().pause(left.min(PAUSE_MAX));
        }
    }
}

impl Drop for ModelBus {
    fn drop(&mut self) {
        self.model.engine().inboxes.open.remove(&self.id);
    }
}
