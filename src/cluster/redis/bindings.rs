//! The bindings in Redis, in the keys of `docs/bindings.md`.

use std::sync::Arc;

use redis::Cmd;

use super::connection::{LoadedScript, RedisConnection};
use super::keys::RedisKeys;
use super::membership::node_script;
use crate::base::Fd;
use crate::chat::{
    BindingChange, BindingError, BindingNode, Bindings, ConnectionRecord, GenerationState, User,
};
use crate::cluster::shared::NodeShared;

/// Fields or members that one step of a walk asks for.
const WALK_STEP: usize = 1_000;

/// The rows of a node of a cluster.
pub(super) struct NodeRows {
    /// The node's generation, as it stood when the connection was opened.
    pub(super) generation: u64,
    /// The node, whose generation may be another one by now.
    pub(super) shared: Arc<NodeShared>,
}

/// Whether rooms are told who comes and goes by rows that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    WhoComes,
    Nobody,
}

/// The bindings in Redis, through one connection.
pub(super) struct RedisBindings {
    connection: RedisConnection,
    keys: RedisKeys,
    /// Set where the rows are those of a node of a cluster, which decide who comes and goes.
    node: Option<NodeRows>,
    register: LoadedScript,
    beat: LoadedScript,
    write: LoadedScript,
    leave: LoadedScript,
}

impl RedisBindings {
    pub(super) fn new(
        mut connection: RedisConnection,
        keys: RedisKeys,
        node: Option<NodeRows>,
    ) -> Result<Self, BindingError> {
        Ok(Self {
            node,
            register: connection.load(include_str!("lua/register.lua"))?,
            beat: connection.load(include_str!("lua/beat.lua"))?,
            write: connection.load(&node_script(include_str!("lua/write.lua")))?,
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
                        let connections = pair[1].parse().unwrap_or(0);
                        visit(BindingChange::Present {
                            room: Arc::clone(&name),
                            user: User::of_uid(&pair[0]),
                            connections,
                            is_leaving: connections == 0,
                        });
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    /// The counts in the routes of a generation.
    fn heard(
        &mut self,
        node: &BindingNode,
        visit: &mut dyn FnMut(BindingChange),
    ) -> Result<(), BindingError> {
        let index = self.keys.index(node.generation);
        self.walk("SSCAN", &index, |this, names| {
            let channels = names.iter().filter_map(|name| name.strip_prefix("r:"));
            let channels: Vec<&str> = channels.collect();
            let commands = channels.iter().map(|channel| {
                let mut command = redis::cmd("HGET");
                command.arg(this.keys.routes(channel)).arg(node.generation);
                command
            });
            let commands: Vec<Cmd> = commands.collect();
            let counts: Vec<Option<usize>> = this.connection.ask_each(commands)?;
            for (channel, connections) in channels.into_iter().zip(counts) {
                if let Some(connections) = connections {
                    visit(BindingChange::Heard {
                        channel: channel.into(),
                        connections,
                    });
                }
            }
            Ok(())
        })
    }

    /// The node with the generation whose rows these are.
    fn own(&self, node: &BindingNode) -> BindingNode {
        let generation = self.node.as_ref().map(|own| own.generation);
        BindingNode {
            generation: generation.unwrap_or(node.generation),
            ..node.clone()
        }
    }

    fn write_telling(
        &mut self,
        node: &BindingNode,
        changes: &[BindingChange],
        telling: Telling,
    ) -> Result<(), BindingError> {
        let node = &self.own(node);
        let generation = node.generation;
        let tells = match (&self.node, telling) {
            (Some(_), Telling::WhoComes) => &self.keys.0,
            _ => "",
        };
        let mut call = ScriptFields::new(&self.keys, node, tells);
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
        if self.node.is_some() {
            // A node enters itself in the register of its cluster.
            return Ok(());
        }
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
        if let Some(NodeRows { generation, shared }) = &self.node {
            return Ok(match shared.generation() == *generation {
                true => GenerationState::Own,
                false => GenerationState::None,
            });
        }
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
        let node = self.own(node);
        self.connections(&node, visit)?;
        self.members(&node, visit)?;
        match self.node {
            Some(_) => self.heard(&node, visit),
            None => self.lasting(visit),
        }
    }

    fn write(&mut self, node: &BindingNode, changes: &[BindingChange]) -> Result<(), BindingError> {
        self.write_telling(node, changes, Telling::WhoComes)
    }

    /// The key that is asked for outlives the cleaning of a generation by a day.
    fn has_lost_rows(&mut self) -> Result<bool, BindingError> {
        let former = self.node.as_ref().map(|own| own.shared.former_generation());
        let Some(former) = former.filter(|former| *former > 0) else {
            return Ok(false);
        };
        let mut exists = redis::cmd("EXISTS");
        exists.arg(self.keys.call(former));
        Ok(self.connection.ask::<u64>(exists)? == 0)
    }

    fn write_again(
        &mut self,
        node: &BindingNode,
        changes: &[BindingChange],
    ) -> Result<(), BindingError> {
        self.write_telling(node, changes, Telling::Nobody)
    }

    fn leave(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        if self.node.is_some() {
            return Ok(());
        }
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
    /// Begins a call; with a prefix in `tells` rooms are told who comes and goes.
    fn new(keys: &RedisKeys, node: &BindingNode, tells: &str) -> Self {
        Self {
            keys: vec![
                keys.nodes(),
                keys.connections(node.generation),
                keys.index(node.generation),
                keys.lasting(),
                keys.gone(),
            ],
            fields: vec![
                node.name.clone(),
                node.generation.to_string(),
                tells.to_owned(),
            ],
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
                is_leaving,
            } => {
                self.keys.push(keys.room(room, generation));
                self.keys.push(keys.rooms(user.uid(), generation));
                let value = match (connections, is_leaving) {
                    (0, false) => "-",
                    _ => &connections.to_string(),
                };
                self.say(["p", room, user.uid(), value]);
            }
            BindingChange::Heard {
                channel,
                connections,
            } => {
                self.keys.push(keys.routes(channel));
                self.say(["h", &connections.to_string()]);
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
    let (of, record) = record_of(value)?;
    (of == generation).then_some(record)
}

/// Reads such a value: the generation, and what it has of the connection.
pub(super) fn record_of(value: &str) -> Option<(u64, ConnectionRecord)> {
    let mut parts = value.splitn(3, ':');
    let generation = parts.next()?.parse().ok()?;
    let since_unix_ms = parts.next()?.parse().ok()?;
    let session = parts.next()?;
    let session = (!session.is_empty()).then(|| session.into());
    Some((
        generation,
        ConnectionRecord {
            since_unix_ms,
            session,
        },
    ))
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
