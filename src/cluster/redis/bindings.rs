//! The bindings in Redis, in the keys of `docs/bindings.md`.

use std::sync::Arc;

use redis::Cmd;

use super::connection::{LoadedScript, RedisConnection};
use super::keys::RedisKeys;
use crate::base::Fd;
use crate::chat::{
    BindingChange, BindingError, BindingNode, Bindings, ConnectionRecord, GenerationState, User,
};

/// Fields or members that one step of a walk asks for.
const WALK_STEP: usize = 1_000;

/// The bindings in Redis, through one connection.
pub(super) struct RedisBindings {
    connection: RedisConnection,
    keys: RedisKeys,
    register: LoadedScript,
    beat: LoadedScript,
    write: LoadedScript,
    leave: LoadedScript,
}

impl RedisBindings {
    pub(super) fn new(
        mut connection: RedisConnection,
        keys: RedisKeys,
    ) -> Result<Self, BindingError> {
        Ok(Self {
            register: connection.load(include_str!("lua/register.lua"))?,
            beat: connection.load(include_str!("lua/beat.lua"))?,
            write: connection.load(include_str!("lua/write.lua"))?,
            leave: connection.load(include_str!("lua/leave.lua"))?,
            connection,
            keys,
        })
    }

    /// Shows the pairs of a hash, or the members of a set with nothing beside them, a step at a time.
    fn walk(
        &mut self,
        command: &str,
        key: &str,
        mut visit: impl FnMut(&mut Self, Vec<String>) -> Result<(), BindingError>,
    ) -> Result<(), BindingError> {
        let mut cursor = 0_u64;
        loop {
            let mut step = redis::cmd(command);
            step.arg(key).arg(cursor).arg("COUNT").arg(WALK_STEP);
            let (next, found): (u64, Vec<String>) = self.connection.ask(step)?;
            visit(self, found)?;
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Takes out all keys of a generation, and its fields in keys that it shares.
    fn clean(&mut self, generation: u64) -> Result<(), BindingError> {
        let connections = self.keys.connections(generation);
        self.walk("HSCAN", &connections, |this, pairs| {
            let commands = pairs.chunks_exact(2).map(|pair| {
                let mut command = redis::cmd("HDEL");
                command.arg(this.keys.user(&pair[1])).arg(&pair[0]);
                command
            });
            let commands: Vec<Cmd> = commands.collect();
            this.connection.ask_each::<u64>(commands).map(drop)
        })?;
        let index = self.keys.index(generation);
        self.walk("SSCAN", &index, |this, names| {
            let commands = names.iter().map(|name| {
                let mut command = redis::cmd("UNLINK");
                command.arg(this.keys.indexed(name, generation));
                command
            });
            let commands: Vec<Cmd> = commands.collect();
            this.connection.ask_each::<u64>(commands).map(drop)
        })?;
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(connections).arg(index);
        unlink.arg(self.keys.generation(generation));
        self.connection.ask::<u64>(unlink)?;
        let mut forget = redis::cmd("SREM");
        forget.arg(self.keys.gone()).arg(generation);
        self.connection.ask::<u64>(forget).map(drop)
    }

    fn clean_all(&mut self) -> Result<(), BindingError> {
        let mut list = redis::cmd("SMEMBERS");
        list.arg(self.keys.gone());
        let gone: Vec<u64> = self.connection.ask(list)?;
        gone.into_iter().try_for_each(|one| self.clean(one))
    }

    /// The connections of a generation, as their users' keys have them.
    fn connections(
        &mut self,
        node: &BindingNode,
        visit: &mut dyn FnMut(BindingChange),
    ) -> Result<(), BindingError> {
        let key = self.keys.connections(node.generation);
        self.walk("HSCAN", &key, |this, pairs| {
            let commands = pairs.chunks_exact(2).map(|pair| {
                let mut command = redis::cmd("HGET");
                command.arg(this.keys.user(&pair[1])).arg(&pair[0]);
                command
            });
            let commands: Vec<Cmd> = commands.collect();
            let values: Vec<Option<String>> = this.connection.ask_each(commands)?;
            for (pair, value) in pairs.chunks_exact(2).zip(values) {
                let Ok(fd) = pair[0].parse() else { continue };
                let user = User::of_uid(&pair[1]);
                let fd = Fd(fd);
                let record = value.and_then(|value| read_value(&value, node.generation));
                visit(match record {
                    Some(record) => BindingChange::Connected { fd, user, record },
                    None => BindingChange::Closed { fd, user },
                });
            }
            Ok(())
        })
    }

    /// The users in rooms, of a generation.
    fn members(
        &mut self,
        node: &BindingNode,
        visit: &mut dyn FnMut(BindingChange),
    ) -> Result<(), BindingError> {
        let index = self.keys.index(node.generation);
        self.walk("SSCAN", &index, |this, names| {
            let rooms: Vec<&str> = (names.iter())
                .filter_map(|name| name.strip_prefix("w:"))
                .collect();
            for room in rooms {
                let name: Arc<str> = room.into();
                let key = this.keys.room(room, node.generation);
                this.walk("HSCAN", &key, |_, pairs| {
                    for pair in pairs.chunks_exact(2) {
                        visit(BindingChange::Present {
                            room: Arc::clone(&name),
                            user: User::of_uid(&pair[0]),
                            connections: pair[1].parse().unwrap_or(0),
                        });
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    fn lasting(&mut self, visit: &mut dyn FnMut(BindingChange)) -> Result<(), BindingError> {
        let key = self.keys.lasting();
        self.walk("SSCAN", &key, |this, rooms| {
            for room in rooms {
                let name: Arc<str> = room.as_str().into();
                let key = this.keys.members(&room);
                this.walk("SSCAN", &key, |_, uids| {
                    for uid in uids {
                        visit(BindingChange::Lasting {
                            room: Arc::clone(&name),
                            user: User::of_uid(&uid),
                            is_member: true,
                        });
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }
}

impl Bindings for RedisBindings {
    fn register(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        let keys = [
            self.keys.nodes(),
            self.keys.generation(node.generation),
            self.keys.gone(),
        ];
        let mut call = self.register.call(&keys);
        call.arg(&node.name).arg(node.generation);
        call.arg(env!("CARGO_PKG_VERSION"))
            .arg(node.started_unix_ms);
        self.connection.ask::<u64>(call)?;
        self.clean_all()
    }

    fn beat(&mut self, node: &BindingNode) -> Result<GenerationState, BindingError> {
        let keys = [self.keys.nodes(), self.keys.generation(node.generation)];
        let mut call = self.beat.call(&keys);
        call.arg(&node.name).arg(node.generation);
        let stands: String = self.connection.ask(call)?;
        let Ok(generation) = stands.parse() else {
            return Ok(GenerationState::None);
        };
        if generation == node.generation {
            return Ok(GenerationState::Own);
        }
        let mut beat = redis::cmd("HGET");
        beat.arg(self.keys.generation(generation)).arg("beat");
        let beat: Option<u64> = self.connection.ask(beat)?;
        Ok(GenerationState::Other {
            generation,
            beat: beat.unwrap_or(0),
        })
    }

    fn rows(
        &mut self,
        node: &BindingNode,
        visit: &mut dyn FnMut(BindingChange),
    ) -> Result<(), BindingError> {
        self.connections(node, visit)?;
        self.members(node, visit)?;
        self.lasting(visit)
    }

    fn write(&mut self, node: &BindingNode, changes: &[BindingChange]) -> Result<(), BindingError> {
        let generation = node.generation;
        let mut call = ScriptFields::new(&self.keys, node);
        for change in changes {
            call.add(&self.keys, generation, change);
        }
        let mut command = self.write.call(&call.keys);
        command.arg(call.fields);
        match self.connection.ask::<u64>(command)? {
            0 => Err(BindingError::Displaced),
            _ => Ok(()),
        }
    }

    fn leave(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        let keys = [self.keys.nodes(), self.keys.gone()];
        let mut call = self.leave.call(&keys);
        call.arg(&node.name).arg(node.generation);
        self.connection.ask::<u64>(call)?;
        self.clean_all()
    }
}

/// Keys and arguments of a call that writes.
struct ScriptFields {
    keys: Vec<String>,
    fields: Vec<String>,
}

impl ScriptFields {
    fn new(keys: &RedisKeys, node: &BindingNode) -> Self {
        Self {
            keys: vec![
                keys.nodes(),
                keys.connections(node.generation),
                keys.index(node.generation),
                keys.lasting(),
            ],
            fields: vec![node.name.clone(), node.generation.to_string()],
        }
    }

    fn add(&mut self, keys: &RedisKeys, generation: u64, change: &BindingChange) {
        match change {
            BindingChange::Connected { fd, user, record } => {
                self.keys.push(keys.user(user.uid()));
                let value = value_of(record, generation);
                self.say(["+c", &fd.to_string(), user.uid(), &value]);
            }
            BindingChange::Closed { fd, user } => {
                self.keys.push(keys.user(user.uid()));
                self.say(["-c", &fd.to_string(), user.uid()]);
            }
            BindingChange::Present {
                room,
                user,
                connections,
            } => {
                self.keys.push(keys.room(room, generation));
                self.keys.push(keys.rooms(user.uid(), generation));
                self.say(["p", room, user.uid(), &connections.to_string()]);
            }
            BindingChange::Lasting {
                room,
                user,
                is_member,
            } => {
                self.keys.push(keys.members(room));
                self.keys.push(keys.memberships(user.uid()));
                self.say([if *is_member { "+l" } else { "-l" }, room, user.uid()]);
            }
        }
    }

    fn say<const N: usize>(&mut self, fields: [&str; N]) {
        self.fields.extend(fields.map(str::to_owned));
    }
}

/// The value of a connection among those of its user: `GENERATION:SINCE:SESSION`.
fn value_of(record: &ConnectionRecord, generation: u64) -> String {
    let session = record.session.as_deref().unwrap_or_default();
    format!("{generation}:{}:{session}", record.since_unix_ms)
}

/// Reads such a value; `None` if it is another generation's.
fn read_value(value: &str, generation: u64) -> Option<ConnectionRecord> {
    let mut parts = value.splitn(3, ':');
    let of = parts.next()?.parse::<u64>().ok()?;
    let since_unix_ms = parts.next()?.parse().ok()?;
    let session = parts.next()?;
    (of == generation).then(|| ConnectionRecord {
        since_unix_ms,
        session: (!session.is_empty()).then(|| session.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_was_written_and_only_by_its_own_generation() {
        for session in [None, Some(r#"{"a":"b:c"}"#)] {
            let record = ConnectionRecord {
                since_unix_ms: 5,
                session: session.map(Arc::from),
            };
            let value = value_of(&record, 7);
            assert_eq!(read_value(&value, 7), Some(record));
            assert_eq!(read_value(&value, 8), None);
        }
        assert_eq!(read_value("7", 7), None);
    }
}
