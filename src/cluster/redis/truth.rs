//! What stands in the Redis of a cluster and is nobody's own row: the runs of nodes that stand, and lasting
//! memberships. Tables elsewhere follow it.

use std::collections::BTreeSet;

use redis::Cmd;

use super::connection::RedisConnection;
use super::keys::RedisKeys;
use crate::chat::BindingError;
use crate::cluster::EngineSettings;

/// Members that one step of a walk asks for.
const WALK_STEP: usize = 1_000;

/// A room, and the uid of a lasting member.
pub(in crate::cluster) type LastingMember = (String, String);

/// A reader of what stands there. After an error it isn't used again.
pub(in crate::cluster) struct RedisTruth {
    connection: RedisConnection,
    keys: RedisKeys,
}

impl RedisTruth {
    pub(in crate::cluster) fn open(settings: &EngineSettings) -> Result<Self, BindingError> {
        Ok(Self {
            connection: RedisConnection::open(settings)?,
            keys: RedisKeys(settings.prefix.clone()),
        })
    }

    /// Returns the generations that stand, each with the name of its node, in order.
    pub(in crate::cluster) fn standing(&mut self) -> Result<Vec<(String, u64)>, BindingError> {
        let mut list = redis::cmd("HGETALL");
        list.arg(self.keys.nodes());
        let mut standing: Vec<(String, u64)> = self.connection.ask(list)?;
        standing.sort_unstable();
        Ok(standing)
    }

    /// Returns all lasting memberships.
    pub(in crate::cluster) fn lasting(&mut self) -> Result<BTreeSet<LastingMember>, BindingError> {
        let mut lasting = BTreeSet::new();
        for room in self.set(self.keys.lasting())? {
            let uids = self.set(self.keys.members(&room))?;
            lasting.extend(uids.into_iter().map(|uid| (room.clone(), uid)));
        }
        Ok(lasting)
    }

    /// Says of each of these whether it lasts.
    pub(in crate::cluster) fn are_lasting(
        &mut self,
        members: &[LastingMember],
    ) -> Result<Vec<bool>, BindingError> {
        let asked = members.iter().map(|(room, uid)| {
            let mut ask = redis::cmd("SISMEMBER");
            ask.arg(self.keys.members(room)).arg(uid);
            ask
        });
        let asked: Vec<Cmd> = asked.collect();
        self.connection.ask_each(asked)
    }

    /// The members of a set, which may change meanwhile.
    fn set(&mut self, key: String) -> Result<BTreeSet<String>, BindingError> {
        let (mut members, mut cursor) = (BTreeSet::new(), 0_u64);
        loop {
            let mut step = redis::cmd("SSCAN");
            step.arg(&key).arg(cursor).arg("COUNT").arg(WALK_STEP);
            let (next, found): (u64, Vec<String>) = self.connection.ask(step)?;
            members.extend(found);
            match next {
                0 => return Ok(members),
                next => cursor = next,
            }
        }
    }
}
