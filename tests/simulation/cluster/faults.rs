//! What goes wrong: calls, the bus, the engine, and nodes that freeze or die.

use tidings::cluster::ClusterPromise;
use tidings::cluster::model::{CallFault, LifeChange, LostCalls};
use tidings::server::Fd;

use super::world::World;

impl World {
    /// Something goes wrong.
    pub(super) fn spoil(&mut self) {
        let number = self.random.below(self.nodes.len());
        let owner = number as u64;
        match self.random.below(26) {
            0..3 => self.model.fault(owner, CallFault::Lost),
            3..6 => self.model.fault(owner, CallFault::ReplyLost),
            6..8 => self.model.fault(owner, CallFault::Late),
            8..10 => self.model.fault(owner, CallFault::Copied),
            10..12 => self.model.deliver_late(),
            12 => self.model.set_away(owner, true),
            13..15 => self.model.set_away(owner, false),
            15 => self.model.cut_bus(owner),
            16 => self.model.stall_bus(owner, true),
            17 => self.model.stall_bus(owner, false),
            18 => self.model.drop_frames(owner, true),
            19 => self.model.drop_frames(owner, false),
            20 => self.freeze(number),
            21 => self.kill(number),
            22 => self.restart_engine(),
            23 => self.model.set_full(true),
            24 => self.model.set_full(false),
            _ if self.random.one_in(4) => {
                self.may_lose = true;
                self.ledger.count("emptied");
                self.model.empty();
            }
            _ => {}
        }
    }

    fn restart_engine(&mut self) {
        let promise = self.settings.promise;
        self.ledger.count("lives");
        let change = match promise {
            ClusterPromise::Replicated => self
                .random
                .pick(&[LifeChange::Restart, LifeChange::Failover]),
            _ => LifeChange::Restart,
        };
        // What was answered survives where it was promised; else a tail goes, now and then.
        let lost = match self.random.one_in(4) {
            true => {
                self.may_lose = true;
                LostCalls::Tail(1 + self.random.below(6_usize))
            }
            false => LostCalls::Nothing,
        };
        self.model.new_life(change, lost);
    }

    fn freeze(&mut self, number: usize) {
        let ms = 500 + self.random.below(8_000_u64);
        self.frozen.insert(number, self.baton.now() + ms);
        self.baton.freeze(number, true);
        self.ledger.count("frozen");
    }

    pub(super) fn thaw(&mut self) {
        let now = self.baton.now();
        let over: Vec<usize> = (self.frozen.iter())
            .filter(|(_, until)| **until <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            self.frozen.remove(&number);
            self.baton.freeze(number, false);
        }
    }

    /// Ends a run of a node, and begins another.
    fn kill(&mut self, number: usize) {
        self.frozen.remove(&number);
        self.baton.kill(number);
        let node = self.nodes[number].lock().unwrap().take();
        let gone: Vec<Fd> = (self.people.iter())
            .filter(|(_, person)| person.node == number)
            .map(|(fd, _)| *fd)
            .collect();
        for fd in gone {
            self.ended(fd, node.as_deref());
        }
        self.ledger.count("killed");
        self.start(number);
    }

    pub(super) fn heal(&mut self) {
        for number in 0..self.nodes.len() {
            let owner = number as u64;
            self.model.set_away(owner, false);
            self.model.stall_bus(owner, false);
            self.model.drop_frames(owner, false);
            self.frozen.insert(number, 0);
        }
        self.model.set_full(false);
        self.model.deliver_late();
    }
}
