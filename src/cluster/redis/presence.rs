//! Who is where, as the rows in Redis have it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use redis::{Cmd, FromRedisValue};

use super::bindings::record_of;
use super::connection::RedisConnection;
use super::keys::RedisKeys;
use super::membership::{of_engine, rows_of};
use crate::base::{Epoch, Fd, Position};
use crate::chat::{FarConnection, FarRoom, RoomDepth};
use crate::cluster::EngineSettings;
use crate::cluster::engine::EngineError;
use crate::cluster::presence::{Presence, PresenceSource};
use crate::cluster::register::NodeRow;

/// Fields that one step of a walk asks for.
const WALK_STEP: usize = 1_000;

/// The way to the rows in Redis.
pub(in crate::cluster) struct RedisPresenceSource(pub(in crate::cluster) EngineSettings);

struct RedisPresence {
    connection: RedisConnection,
    keys: RedisKeys,
}

impl PresenceSource for RedisPresenceSource {
    fn open(&self) -> Result<Box<dyn Presence>, EngineError> {
        let connection = RedisConnection::open(&self.0).map_err(of_engine)?;
        Ok(Box::new(RedisPresence {
            connection,
            keys: RedisKeys(self.0.prefix.clone()),
        }))
    }
}

fn command(name: &str, key: String) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

impl RedisPresence {
    fn ask<T: FromRedisValue>(&mut self, command: Cmd) -> Result<T, EngineError> {
        self.connection.ask(command).map_err(of_engine)
    }

    fn ask_each<T: FromRedisValue>(&mut self, commands: Vec<Cmd>) -> Result<Vec<T>, EngineError> {
        self.connection.ask_each(commands).map_err(of_engine)
    }

    /// Fills in who is in a room on these nodes.
    fn add_users(
        &mut self,
        room: &mut FarRoom,
        generations: &[u64],
        depth: RoomDepth<'_>,
    ) -> Result<(), EngineError> {
        let is_exact = room.users_total <= depth.exact_users_max;
        if room.users_total == 0 || !is_exact && depth.users_max == 0 {
            return Ok(());
        }
        let mut users: BTreeMap<Box<str>, usize> = BTreeMap::new();
        for generation in generations {
            let key = self.keys.room(&room.name, *generation);
            let mut cursor = 0_u64;
            loop {
                let mut step = command("HSCAN", key.clone());
                step.arg(cursor).arg("COUNT").arg(WALK_STEP);
                let (next, found): (u64, Vec<(String, usize)>) = self.ask(step)?;
                for (uid, connections) in found {
                    if is_exact || depth.after.is_none_or(|after| *uid > *after) {
                        *users.entry(uid.into()).or_default() += connections;
                    }
                    if !is_exact && users.len() > depth.users_max {
                        users.pop_last();
                    }
                }
                match next {
                    0 => break,
                    next => cursor = next,
                }
            }
        }
        if is_exact {
            room.users_total = users.len();
        }
        room.users = users.into_iter().collect();
        Ok(())
    }
}

impl Presence for RedisPresence {
    fn connections(&mut self, uids: &[&str]) -> Result<Vec<Vec<FarConnection>>, EngineError> {
        let each = uids
            .iter()
            .map(|uid| command("HGETALL", self.keys.user(uid)));
        let each = each.collect();
        let found: Vec<Vec<(u64, String)>> = self.ask_each(each)?;
        let connection = |(fd, value): (u64, String)| {
            let (generation, record) = record_of(&value)?;
            Some(FarConnection {
                fd: Fd(fd),
                generation,
                record,
            })
        };
        let users = found.into_iter();
        Ok(users
            .map(|fds| fds.into_iter().filter_map(connection).collect())
            .collect())
    }

    fn rooms_of(&mut self, uid: &str, generations: &[u64]) -> Result<Vec<Arc<str>>, EngineError> {
        let own = generations.iter().map(|one| self.keys.rooms(uid, *one));
        let mut each: Vec<Cmd> = own.map(|key| command("HKEYS", key)).collect();
        each.push(command("SMEMBERS", self.keys.memberships(uid)));
        let found: Vec<Vec<String>> = self.ask_each(each)?;
        let mut rooms: Vec<Arc<str>> = found.into_iter().flatten().map(Arc::from).collect();
        rooms.sort_unstable();
        rooms.dedup();
        Ok(rooms)
    }

    fn room_names(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, EngineError> {
        let mut from = match after {
            Some(after) if after >= prefix => format!("({after}"),
            _ if prefix.is_empty() => "-".to_owned(),
            _ => format!("[{prefix}"),
        };
        let mut names: Vec<Arc<str>> = Vec::new();
        while names.len() < limit {
            let asked = limit - names.len() + 1;
            let mut list = command("ZRANGE", self.keys.names());
            list.arg(&from).arg("+").arg("BYLEX");
            list.arg("LIMIT").arg(0).arg(asked);
            let found: Vec<String> = self.ask(list)?;
            let is_end = found.len() < asked;
            for name in found {
                if !name.starts_with(prefix) {
                    return Ok(names);
                }
                from = format!("({name}");
                match name.as_bytes() {
                    // Lines of users stand between names that begin with a digit and with a letter.
                    [b'@', ..] => {
                        "[A".clone_into(&mut from);
                        break;
                    }
                    b"*" => {}
                    _ if names.len() < limit => names.push(name.into()),
                    _ => return Ok(names),
                }
            }
            if is_end && !from.starts_with("[A") {
                break;
            }
        }
        Ok(names)
    }

    fn rooms(
        &mut self,
        names: &[Arc<str>],
        generations: &[u64],
        depth: RoomDepth<'_>,
    ) -> Result<Vec<Option<FarRoom>>, EngineError> {
        let (mut states, mut routes, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let mut state = command("HMGET", self.keys.channel(name));
            state.arg("e").arg("o");
            states.push(state);
            routes.push(command("HGETALL", self.keys.routes(name)));
            counts.push(command("LLEN", self.keys.list(name)));
            let rows = generations.iter().map(|one| self.keys.room(name, *one));
            counts.extend(rows.map(|key| command("HLEN", key)));
        }
        let states: Vec<(Option<String>, Option<u64>)> = self.ask_each(states)?;
        let routes: Vec<HashMap<u64, usize>> = self.ask_each(routes)?;
        let counts: Vec<usize> = self.ask_each(counts)?;
        let mut counts = counts.chunks_exact(generations.len() + 1);
        let mut rooms = Vec::with_capacity(names.len());
        for ((name, state), routes) in names.iter().zip(states).zip(routes) {
            let count = counts.next().unwrap_or(&[]);
            let epoch = state.0.map(|text| Epoch::of(&text));
            let Some(epoch) = epoch else {
                rooms.push(None);
                continue;
            };
            let offset = state.1.unwrap_or(0);
            let (messages, users) = count.split_first().unwrap_or((&0, &[]));
            let heard = generations.iter().filter_map(|one| routes.get(one));
            let mut room = FarRoom {
                name: Arc::clone(name),
                kept: Some((Position { epoch, offset }, *messages as u64)),
                users_total: users.iter().sum(),
                connections: heard.sum(),
                ..FarRoom::default()
            };
            self.add_users(&mut room, generations, depth)?;
            if depth.asks_lasting {
                let lasting: Vec<String> =
                    self.ask(command("SMEMBERS", self.keys.members(name)))?;
                room.lasting = lasting.into_iter().map(Box::from).collect();
                room.lasting.sort_unstable();
            }
            rooms.push(Some(room));
        }
        Ok(rooms)
    }

    fn nodes(&mut self) -> Result<Vec<NodeRow>, EngineError> {
        rows_of(&mut self.connection, &self.keys).map_err(of_engine)
    }

    fn block_owner(&mut self, block: u64) -> Result<Option<u64>, EngineError> {
        let mut owner = command("HGET", self.keys.blocks());
        owner.arg(block);
        self.ask(owner)
    }
}
