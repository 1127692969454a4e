//! What can go wrong, on purpose.

use std::collections::VecDeque;

use super::Model;
use super::calls::needs_room;
use super::state::ModelState;

/// A fault of the next call of an owner, after which the connection isn't used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFault {
    /// The call doesn't reach the engine.
    Lost,
    /// The call takes effect, and the answer is lost.
    ReplyLost,
    /// The call reaches the engine late: when [`Model::deliver_late`] says so.
    Late,
    /// The call takes effect, the answer is lost, and a copy of it reaches the engine late.
    Copied,
    /// The call fails in the middle.
    Broken,
}

/// How an engine begins another life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeChange {
    /// The same engine starts again.
    Restart,
    /// A replica takes over.
    Failover,
}

/// What is lost with a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostCalls {
    /// Nothing.
    Nothing,
    /// So many of the newest calls that took effect, as far as the model remembers: 16.
    Tail(usize),
    /// Everything.
    All,
}

/// The faults of one owner.
#[derive(Debug, Default)]
pub(super) struct OwnerFaults {
    pub(super) calls: VecDeque<CallFault>,
    /// Whether the owner reaches the engine not at all.
    pub(super) is_away: bool,
    /// Whether frames for the owner wait.
    pub(super) is_stalled: bool,
    /// Whether frames for the owner are lost.
    pub(super) drops_frames: bool,
}

impl Model {
    /// Has a call of an owner go wrong: the first that none was said for yet.
    pub fn fault(&self, owner: u64, fault: CallFault) {
        let mut engine = self.engine();
        engine
            .faults
            .entry(owner)
            .or_default()
            .calls
            .push_back(fault);
    }

    /// Returns how many faults of an owner's calls are still to come.
    #[must_use]
    pub fn faults_left(&self, owner: u64) -> usize {
        let engine = self.engine();
        let faults = engine.faults.get(&owner);
        faults.map_or(0, |faults| faults.calls.len())
    }

    /// Cuts an owner off: all its connections end, and no new one is opened until this is called again.
    pub fn set_away(&self, owner: u64, is_away: bool) {
        let mut engine = self.engine();
        engine.faults.entry(owner).or_default().is_away = is_away;
        if is_away {
            engine.inboxes.cut(Some(owner));
        }
    }

    /// Cuts the buses of an owner; what they had not shown is lost.
    pub fn cut_bus(&self, owner: u64) {
        self.engine().inboxes.cut(Some(owner));
    }

    /// Has frames for an owner wait, or go on.
    pub fn stall_bus(&self, owner: u64, is_stalled: bool) {
        let mut engine = self.engine();
        engine.faults.entry(owner).or_default().is_stalled = is_stalled;
        if !is_stalled {
            engine.inboxes.release(owner);
        }
    }

    /// Has frames for an owner be lost, without a word, or not any more.
    pub fn drop_frames(&self, owner: u64, drops: bool) {
        let mut engine = self.engine();
        engine.faults.entry(owner).or_default().drops_frames = drops;
    }

    /// Delivers the late calls and copies of calls, in their order; nobody hears the answers.
    pub fn deliver_late(&self) {
        let mut engine = self.engine();
        let now_ms = self.unix_ms(&engine);
        for (call, bounds) in std::mem::take(&mut engine.late) {
            if !(engine.is_full && needs_room(&call)) {
                engine.make(&call, &bounds, now_ms, false);
            }
        }
    }

    /// Begins another life: all connections end.
    pub fn new_life(&self, change: LifeChange, lost: LostCalls) {
        let mut engine = self.engine();
        match lost {
            LostCalls::Nothing => {}
            LostCalls::Tail(calls) => {
                for _ in 0..calls {
                    let before = engine.tail.pop_back();
                    engine.state = before.unwrap_or_else(|| engine.state.clone());
                }
            }
            LostCalls::All => engine.state = ModelState::default(),
        }
        engine.tail.clear();
        engine.starts += 1;
        engine.replid_before = match change {
            LifeChange::Restart => 0,
            LifeChange::Failover => engine.replid,
        };
        engine.replid = engine.starts;
        engine.inboxes.cut(None);
    }

    /// Takes everything out, while the engine goes on (Redis: `FLUSHALL`).
    pub fn empty(&self) {
        let mut engine = self.engine();
        engine.state = ModelState::default();
        engine.tail.clear();
    }

    /// Has the engine refuse what needs room, or not any more.
    pub fn set_full(&self, is_full: bool) {
        self.engine().is_full = is_full;
    }

    /// Sets whether the engine syncs each write before it answers.
    pub fn set_syncs_always(&self, syncs_always: bool) {
        self.engine().syncs_always = syncs_always;
    }

    /// Sets how many replicas have everything.
    pub fn set_replicas(&self, replicas: usize) {
        self.engine().replicas = replicas;
    }

    /// Puts the engine's clock ahead.
    pub fn put_clock_ahead(&self, ms: u64) {
        self.engine().clock_ahead_ms += ms;
    }

    /// Has the open window of ids be older.
    pub fn age_window(&self, ms: u64) {
        let mut engine = self.engine();
        if let Some((_, since_ms)) = &mut engine.state.open {
            *since_ms = since_ms.saturating_sub(ms);
        }
    }
}
