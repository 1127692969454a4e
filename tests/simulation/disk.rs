//! The disk as the chat sees it: a queue, commits, and an index ahead of the posted messages.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tidings::chat::{
    Chat, Epoch, KeptMessage, Missing, Notice, PendingMessage, Position, StoredIndex,
};

/// What is to become durable.
#[derive(Debug)]
pub enum Task {
    Say(PendingMessage),
    Purge(String, Epoch),
    Forget(Arc<str>),
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    Stored(Position, Option<Position>),
    Repeat(Position),
    Noted,
}

/// What is on disk; it outlives the chat.
#[derive(Debug, Default)]
pub struct Disk(Mutex<State>);

#[derive(Debug, Default)]
pub struct State {
    pub logs: BTreeMap<String, Log>,
    sameness: HashMap<u128, Position>,
    forgotten: u64,
    /// By channel and user.
    pub acks: BTreeMap<(String, String), u64>,
}

/// One channel.
#[derive(Debug)]
pub struct Log {
    pub epoch: Epoch,
    /// Everything up to here was let go of.
    pub floor: u64,
    /// What is kept, from behind `floor` on.
    kept: VecDeque<Arc<KeptMessage>>,
}

impl Log {
    pub fn newest(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.floor + self.kept.len() as u64,
        }
    }

    /// What stands at a place, unless it was let go of.
    pub fn at(&self, offset: u64) -> Option<&Arc<KeptMessage>> {
        self.kept.get(offset.checked_sub(self.floor + 1)? as usize)
    }

    pub fn let_go(&mut self, count: u64) {
        let count = count.min(self.kept.len() as u64);
        self.kept.drain(..count as usize);
        self.floor += count;
    }
}

impl Disk {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Writes down a task, durably. The chat says what a new channel's epoch is.
    pub fn write(&self, chat: &Chat, task: &Task) -> Outcome {
        match task {
            Task::Say(draft) => {
                // It may ask the index, that is us.
                let epochs = chat.epochs_of(draft);
                self.state().say(draft, epochs)
            }
            Task::Purge(room, epoch) => {
                let state = &mut *self.state();
                state.acks.retain(|(channel, _), _| channel != room);
                state.logs.insert(room.clone(), Log::begin(*epoch));
                Outcome::Noted
            }
            Task::Forget(name) => {
                let state = &mut *self.state();
                // One in which something was said meanwhile stays.
                if state
                    .logs
                    .get(&**name)
                    .is_some_and(|log| log.kept.is_empty())
                {
                    state.logs.remove(&**name);
                    state.acks.retain(|(channel, _), _| *channel != **name);
                    state.forgotten += 1;
                }
                Outcome::Noted
            }
        }
    }

    /// A page as the door reads it, and where it ends: beginning behind `missing`, of the log as it
    /// is now.
    pub fn page(&self, channel: &str, missing: Missing, count: usize) -> Page {
        let state = self.state();
        let Some(log) = state.logs.get(channel) else {
            return Page::default();
        };
        let behind = missing.after.offset.max(log.floor) + 1;
        let all = (behind..).map_while(|offset| Some((offset, Arc::clone(log.at(offset)?))));
        Page {
            log: Some((log.epoch, log.floor)),
            messages: all.take(count).collect(),
        }
    }
}

impl Log {
    fn begin(epoch: Epoch) -> Self {
        Self {
            epoch,
            floor: 0,
            kept: VecDeque::new(),
        }
    }
}

impl State {
    fn say(&mut self, draft: &PendingMessage, epochs: (Epoch, Option<Epoch>)) -> Outcome {
        if let Some(first) = draft
            .idempotency_key()
            .and_then(|same| self.sameness.get(&same))
        {
            return Outcome::Repeat(*first);
        }
        let (first, second) = draft.channels();
        let places = (
            self.append(first, epochs.0, draft.message()),
            second
                .zip(epochs.1)
                .map(|(name, epoch)| self.append(name, epoch, draft.message())),
        );
        if let Some(same) = draft.idempotency_key() {
            self.sameness.insert(same, places.0);
        }
        Outcome::Stored(places.0, places.1)
    }

    fn append(&mut self, name: &str, epoch: Epoch, message: &Arc<KeptMessage>) -> Position {
        let log = self.logs.entry(name.into());
        let log = log.or_insert_with(|| Log::begin(epoch));
        log.kept.push_back(Arc::clone(message));
        log.newest()
    }
}

impl StoredIndex for Disk {
    fn floor(&self, channel: &str) -> Option<u64> {
        self.state().logs.get(channel).map(|log| log.floor)
    }

    fn epoch(&self, channel: &str) -> Option<Epoch> {
        self.state().logs.get(channel).map(|log| log.epoch)
    }

    fn forgotten(&self) -> u64 {
        self.state().forgotten
    }
}

/// A part of a log, with its epoch and what it doesn't keep any more.
#[derive(Debug, Default)]
pub struct Page {
    log: Option<(Epoch, u64)>,
    messages: Vec<(u64, Arc<KeptMessage>)>,
}

impl Page {
    /// What is sent of it where so much is posted, and where that leads.
    pub fn frames<'a>(
        &'a self,
        channel: &'a str,
        mut missing: Missing,
        posted: Position,
    ) -> (Vec<Notice<'a>>, Missing) {
        let Some((epoch, floor)) = self.log.filter(|(epoch, _)| *epoch == posted.epoch) else {
            return (Vec::new(), missing);
        };
        if epoch != missing.after.epoch {
            let after = Position { epoch, offset: 0 };
            return (Vec::new(), Missing { after, gap: true });
        }
        let floor = floor.min(posted.offset);
        if floor > missing.after.offset {
            missing.after.offset = floor;
            missing.gap = true;
        }
        let mut frames = Vec::new();
        if std::mem::take(&mut missing.gap) {
            let position = missing.after;
            frames.push(Notice::Gap { channel, position });
        }
        for (offset, message) in &self.messages {
            if *offset <= posted.offset {
                let offset = *offset;
                missing.after = Position { epoch, offset };
                frames.push(Notice::Message(message.delivered(channel, missing.after)));
            }
        }
        (frames, missing)
    }
}
