//! The gate at which the threads of a server wait that were made before it may go on.

use std::sync::{Condvar, Mutex, MutexGuard};

use crate::base::sync::lock;

/// Closed until [`StartGate::open`]; between the two the reactors adopt what was handed over.
#[derive(Debug, Default)]
pub(in crate::server) struct StartGate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    phase: GatePhase,
    /// Reactors that have adopted theirs.
    adopted: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum GatePhase {
    #[default]
    Closed,
    Adopting,
    Open,
}

impl StartGate {
    /// Has so many reactors adopt what was handed over, and waits until all have.
    pub(in crate::server) fn let_adopt(&self, reactors: usize) {
        self.change(|state| state.phase = GatePhase::Adopting);
        drop(self.wait(|state| state.adopted == reactors));
    }

    /// Lets all threads pass that wait, and those that come.
    pub(in crate::server) fn open(&self) {
        self.change(|state| state.phase = GatePhase::Open);
    }

    /// Waits until a reactor may adopt its connections, and has it do so.
    pub(in crate::server) fn adopt<T>(&self, adopt: impl FnOnce() -> T) -> T {
        drop(self.wait(|state| state.phase >= GatePhase::Adopting));
        let adopted = adopt();
        self.change(|state| state.adopted += 1);
        adopted
    }

    /// Waits until the gate is open.
    pub(in crate::server) fn pass(&self) {
        drop(self.wait(|state| state.phase == GatePhase::Open));
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn wait(&self, is_so: impl Fn(&GateState) -> bool) -> MutexGuard<'_, GateState> {
        let mut state = lock(&self.state);
        while !is_so(&state) {
            state = match self.changed.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
        state
    }
}
