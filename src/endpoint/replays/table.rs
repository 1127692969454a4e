//! The connections that catch up, and the order in which they are served, as pure state: no thread,
//! no lock, no disk.
//!
//! A connection's channels take turns one after the other; of all connections at most `active_max`
//! are served at a time. A method returns the connection whose next page is to be read now.
//!
//! Invariant: `active` counts the connections that have replays and don't wait.

mod handover;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::base::Fd;
use crate::chat::{CatchUp, Missing};

/// The messages of one channel that one connection still misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientReplay {
    /// Tells the replay from a later one of the same channel.
    pub(super) id: u64,
    pub(super) channel: Arc<str>,
    pub(super) missing: Missing,
}

/// The refusal of a replay, since there are as many as there may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyReplays;

/// The replays of one connection, in the order in which they began.
#[derive(Debug)]
struct OwnReplays {
    replays: VecDeque<ClientReplay>,
    /// Its place among those that wait; `None`: it is served.
    place: Option<u64>,
    /// Whether its next page is to be read; otherwise it is awaited that its outbox has room.
    is_ready: bool,
}

/// All replays under way or waiting.
#[derive(Debug)]
pub(super) struct ReplayTable {
    active_max: usize,
    replays_max: usize,
    /// The replays of each connection.
    replays: HashMap<Fd, OwnReplays>,
    /// Connections that are served.
    active: usize,
    /// Connections that wait to be served, by their places: one that ends passes over no other.
    waiting: BTreeMap<u64, Fd>,
    /// Replays of all connections.
    total: usize,
    last_id: u64,
}

impl ReplayTable {
    pub(super) fn new(active_max: usize, replays_max: usize) -> Self {
        Self {
            active_max,
            replays_max,
            replays: HashMap::new(),
            active: 0,
            waiting: BTreeMap::new(),
            total: 0,
            last_id: 0,
        }
    }

    /// Changes the bounds; returns the connections that may be served now, since there is more room.
    pub(super) fn set_bounds(&mut self, active_max: usize, replays_max: usize) -> Vec<Fd> {
        (self.active_max, self.replays_max) = (active_max, replays_max);
        let mut served = Vec::new();
        while self.active < self.active_max && !self.waiting.is_empty() {
            self.active += 1;
            served.extend(self.serve_next());
        }
        served
    }

    /// Counts the replays under way or waiting.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Begins a replay; one of the same channel that is under way ends.
    pub(super) fn begin(
        &mut self,
        fd: Fd,
        channel: &Arc<str>,
        missing: Missing,
    ) -> Result<Option<Fd>, TooManyReplays> {
        if self.total >= self.replays_max {
            return Err(TooManyReplays);
        }
        self.total += 1;
        self.last_id += 1;
        let replay = ClientReplay {
            id: self.last_id,
            channel: Arc::clone(channel),
            missing,
        };
        if let Some(OwnReplays { replays: own, .. }) = self.replays.get_mut(&fd) {
            let before = own.len();
            own.retain(|other| other.channel != *channel);
            self.total -= before - own.len();
            own.push_back(replay);
            return Ok(None);
        }
        let is_served = self.active < self.active_max;
        let own = OwnReplays {
            replays: VecDeque::from([replay]),
            place: (!is_served).then_some(self.last_id),
            is_ready: false,
        };
        self.replays.insert(fd, own);
        if is_served {
            self.active += 1;
            return Ok(Some(fd));
        }
        self.waiting.insert(self.last_id, fd);
        Ok(None)
    }

    /// Ends the replay of a channel, if there is one.
    pub(super) fn end(&mut self, fd: Fd, channel: &str) {
        if let Some(OwnReplays { replays: own, .. }) = self.replays.get_mut(&fd) {
            let before = own.len();
            // An empty list stays until its connection's turn comes, which finds nothing to do.
            own.retain(|replay| *replay.channel != *channel);
            self.total -= before - own.len();
        }
    }

    /// Forgets a connection that has ended.
    pub(super) fn forget(&mut self, fd: Fd) -> Option<Fd> {
        let own = self.replays.remove(&fd)?;
        self.total -= own.replays.len();
        match own.place {
            Some(place) => {
                self.waiting.remove(&place);
                None
            }
            None => self.serve_next(),
        }
    }

    /// Finds what a connection that is served gets next. A connection that misses nothing any more
    /// makes room for another.
    pub(super) fn current(&mut self, fd: Fd) -> Result<ClientReplay, Option<Fd>> {
        let Some(own) = self.replays.get_mut(&fd) else {
            return Err(None);
        };
        own.is_ready = false;
        match own.replays.front() {
            Some(replay) => Ok(replay.clone()),
            None => {
                self.replays.remove(&fd);
                Err(self.serve_next())
            }
        }
    }

    /// Notes that the next page of a connection is to be read, if the connection catches up.
    pub(super) fn note_ready(&mut self, fd: Fd) {
        if let Some(own) = self.replays.get_mut(&fd) {
            own.is_ready = true;
        }
    }

    /// Whether a replay is still under way.
    pub(super) fn is_current(&self, fd: Fd, id: u64) -> bool {
        let own = self.replays.get(&fd);
        own.is_some_and(|own| own.replays.iter().any(|replay| replay.id == id))
    }

    /// Notes the progress of a replay; `true` if the replay has ended.
    pub(super) fn advance(&mut self, fd: Fd, id: u64, caught: CatchUp) -> bool {
        let Some(OwnReplays { replays: own, .. }) = self.replays.get_mut(&fd) else {
            return false;
        };
        let Some(place) = own.iter().position(|replay| replay.id == id) else {
            return false;
        };
        match caught {
            CatchUp::Behind(missing) => {
                own[place].missing = missing;
                false
            }
            CatchUp::Subscribed | CatchUp::Gone => {
                own.remove(place);
                self.total -= 1;
                true
            }
        }
    }

    /// Gives the place of one that was served to the next; none where there are more than may be.
    fn serve_next(&mut self) -> Option<Fd> {
        let has_place = self.active <= self.active_max;
        let next = has_place.then(|| self.waiting.pop_first()).flatten();
        let Some((_, next)) = next else {
            self.active -= 1;
            return None;
        };
        if let Some(own) = self.replays.get_mut(&next) {
            own.place = None;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Epoch, Position};

    const A: Fd = Fd(1);
    const B: Fd = Fd(2);

    fn missing() -> Missing {
        let after = Position {
            epoch: Epoch::NONE,
            offset: 0,
        };
        Missing { after, gap: false }
    }

    fn begin(table: &mut ReplayTable, fd: Fd, channel: &str) -> Result<Option<Fd>, TooManyReplays> {
        table.begin(fd, &channel.into(), missing())
    }

    #[test]
    fn one_connection_waits_until_the_other_has_everything() {
        let mut table = ReplayTable::new(1, 10);
        assert_eq!(begin(&mut table, A, "tea"), Ok(Some(A)));
        assert_eq!(begin(&mut table, A, "coffee"), Ok(None));
        assert_eq!(begin(&mut table, B, "tea"), Ok(None), "no place is free");
        for channel in ["tea", "coffee"] {
            let replay = table.current(A).unwrap();
            assert_eq!(&*replay.channel, channel);
            assert!(!table.advance(A, replay.id, CatchUp::Behind(missing())));
            assert!(table.advance(A, replay.id, CatchUp::Subscribed));
        }
        assert_eq!(table.current(A), Err(Some(B)), "its place is free");
        assert_eq!(&*table.current(B).unwrap().channel, "tea");
        assert_eq!(table.total(), 1);
    }

    #[test]
    fn a_connection_that_ends_gives_its_place_away_if_it_had_one() {
        let mut table = ReplayTable::new(1, 10);
        assert_eq!(begin(&mut table, A, "tea"), Ok(Some(A)));
        assert_eq!(begin(&mut table, B, "tea"), Ok(None));
        assert_eq!(table.forget(B), None, "it only waited");
        assert_eq!(begin(&mut table, B, "tea"), Ok(None));
        assert_eq!(table.forget(A), Some(B));
        assert_eq!(table.forget(B), None);
        assert_eq!((table.total(), table.active), (0, 0));
        assert_eq!(table.forget(B), None, "nothing is left to forget");
        assert_eq!(table.current(B), Err(None));
    }

    #[test]
    fn those_that_wait_are_served_in_their_order_whoever_of_them_ends() {
        let mut table = ReplayTable::new(1, 10);
        let fds: Vec<Fd> = (1..=6).map(Fd).collect();
        for fd in &fds {
            begin(&mut table, *fd, "tea").unwrap();
        }
        assert_eq!(table.forget(fds[2]), None);
        assert_eq!(table.forget(fds[4]), None);
        let served = [0, 1, 3, 5].map(|place| table.forget(fds[place]));
        assert_eq!(served, [Some(fds[1]), Some(fds[3]), Some(fds[5]), None]);
        assert!(table.waiting.is_empty() && table.active == 0);
    }

    #[test]
    fn a_second_replay_of_a_channel_ends_the_first() {
        let mut table = ReplayTable::new(4, 2);
        begin(&mut table, A, "tea").unwrap();
        let first = table.current(A).unwrap();
        begin(&mut table, A, "tea").unwrap();
        let second = table.current(A).unwrap();
        assert!(!table.is_current(A, first.id) && table.is_current(A, second.id));
        assert!(!table.advance(A, first.id, CatchUp::Subscribed));
        assert_eq!(table.total(), 1);
        begin(&mut table, B, "tea").unwrap();
        assert_eq!(begin(&mut table, B, "coffee"), Err(TooManyReplays));
        table.end(A, "tea");
        assert_eq!(begin(&mut table, B, "coffee"), Ok(None));
        assert_eq!(
            table.current(A),
            Err(None),
            "it makes room, for which nobody waits"
        );
        assert_eq!(table.active, 1);
    }
}
