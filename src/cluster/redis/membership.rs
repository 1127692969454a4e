//! The register of nodes in Redis.

use std::collections::HashMap;

use redis::FromRedisValue;

use super::connection::{LoadedScript, RedisConnection};
use super::keys::RedisKeys;
use crate::chat::{BindingError, NodeFigures};
use crate::cluster::EngineSettings;
use crate::cluster::call::Caller;
use crate::cluster::engine::EngineError;
use crate::cluster::register::{
    Beats, NodeEntry, NodeRow, Register, RegisterSource, Registered, Succession,
};

/// Rows that one call cleans away: two or three milliseconds of Redis.
const ROWS_A_CLEANING_MAX: usize = 500;

/// Milliseconds for which one node alone cleans a generation away.
const CLEANED_ALONE_MS: u64 = 30_000;

/// Seconds for which it stands that nothing of a generation is taken any more: a day, longer than any copy
/// of a call lies in a connection.
const DEAD_KEPT_S: u64 = 86_400;

/// The way to the register in Redis.
pub(in crate::cluster) struct RedisRegisterSource(pub(in crate::cluster) EngineSettings);

struct RedisRegister {
    connection: RedisConnection,
    keys: RedisKeys,
    enter: LoadedScript,
    beat: LoadedScript,
    bury: LoadedScript,
    clean: LoadedScript,
    leave: LoadedScript,
}

impl RegisterSource for RedisRegisterSource {
    fn open(&self) -> Result<Box<dyn Register>, EngineError> {
        let mut connection = RedisConnection::open(&self.0).map_err(of_engine)?;
        connection.check().map_err(of_engine)?;
        let mut load = |script| connection.load(&node_script(script)).map_err(of_engine);
        let (enter, beat) = (
            load(include_str!("lua/node_enter.lua"))?,
            load(include_str!("lua/node_beat.lua"))?,
        );
        let (bury, clean) = (
            load(include_str!("lua/node_bury.lua"))?,
            load(include_str!("lua/node_clean.lua"))?,
        );
        let leave = load(include_str!("lua/node_leave.lua"))?;
        Ok(Box::new(RedisRegister {
            connection,
            keys: RedisKeys(self.0.prefix.clone()),
            enter,
            beat,
            bury,
            clean,
            leave,
        }))
    }
}

/// A script of nodes: it runs on a full Redis, too, since others would take a node for dead that can't
/// write.
pub(super) fn node_script(body: &str) -> String {
    let common = include_str!("lua/common.lua");
    format!("#!lua flags=allow-oom\n{common}{body}")
}

/// Turns the error of a connection into that of an engine.
pub(super) fn of_engine(error: BindingError) -> EngineError {
    match error {
        BindingError::Refused(what) => EngineError::Refused(what),
        BindingError::Away(error) => EngineError::Away(error.to_string()),
        BindingError::Displaced => EngineError::Away("another generation stands".into()),
    }
}

impl RedisRegister {
    fn call<T: FromRedisValue>(
        &mut self,
        script: fn(&Self) -> &LoadedScript,
        keys: &[String],
        fields: Vec<String>,
    ) -> Result<T, EngineError> {
        let mut call = script(self).call(keys);
        call.arg(fields);
        self.connection.ask(call).map_err(of_engine)
    }
}

impl Register for RedisRegister {
    fn enter(
        &mut self,
        entry: &NodeEntry,
        succession: Succession,
    ) -> Result<Registered, EngineError> {
        let generation = entry.caller.generation;
        let keys = [
            self.keys.nodes(),
            self.keys.generation(generation),
            self.keys.gone(),
        ];
        let (word, over) = match succession {
            Succession::Start => ("start", 0),
            Succession::Over(generation) => ("over", generation),
            Succession::Free => ("free", 0),
        };
        let mut fields = vec![
            self.keys.0.clone(),
            entry.caller.node.to_string(),
            generation.to_string(),
            word.to_owned(),
            over.to_string(),
            entry.address.to_string(),
            entry.version.to_string(),
            entry.promise.to_string(),
            entry.settings.to_string(),
            entry.started_unix_ms.to_string(),
        ];
        fields.extend(entry.blocks.iter().map(u64::to_string));
        let other: Vec<String> = self.call(|this| &this.enter, &keys, fields)?;
        Ok(match &*other {
            [generation, beat, address] => Registered::Taken {
                generation: generation.parse().unwrap_or(0),
                beat: beat.parse().unwrap_or(0),
                address: address.as_str().into(),
            },
            _ => Registered::Standing,
        })
    }

    fn beat(
        &mut self,
        caller: &Caller,
        figures: &NodeFigures,
        messages_per_s: u64,
        unix_ms: u64,
    ) -> Result<Beats, EngineError> {
        let keys = [
            self.keys.nodes(),
            self.keys.generation(caller.generation),
            self.keys.gone(),
        ];
        let mut fields = vec![
            self.keys.0.clone(),
            caller.node.to_string(),
            caller.generation.to_string(),
            unix_ms.to_string(),
        ];
        let figures = [
            ("draining", u64::from(figures.is_draining)),
            ("connections", figures.connections),
            ("logged_in", figures.logged_in),
            ("rooms", figures.rooms),
            ("messages", figures.messages),
            ("messages_per_s", messages_per_s),
            ("memory_bytes", figures.memory_bytes),
        ];
        for (name, value) in figures {
            fields.extend([name.to_owned(), value.to_string()]);
        }
        let (stands, standing, gone): (u64, Vec<u64>, Vec<u64>) =
            self.call(|this| &this.beat, &keys, fields)?;
        let pairs = standing.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        Ok(Beats {
            stands: stands == 1,
            standing: pairs.collect(),
            gone,
        })
    }

    fn nodes(&mut self) -> Result<Vec<NodeRow>, EngineError> {
        rows_of(&mut self.connection, &self.keys).map_err(of_engine)
    }

    fn bury(
        &mut self,
        caller: &Caller,
        generation: u64,
        beat: Option<u64>,
    ) -> Result<bool, EngineError> {
        let keys = [
            self.keys.nodes(),
            self.keys.gone(),
            self.keys.generation(generation),
            self.keys.call(generation),
            self.keys.cleaning(generation),
        ];
        let fields = vec![
            self.keys.0.clone(),
            generation.to_string(),
            beat.map_or_else(String::new, |beat| beat.to_string()),
            caller.generation.to_string(),
            CLEANED_ALONE_MS.to_string(),
            DEAD_KEPT_S.to_string(),
        ];
        self.call(|this| &this.bury, &keys, fields)
            .map(|buried: u64| buried == 1)
    }

    fn clean(&mut self, generation: u64) -> Result<bool, EngineError> {
        let keys = [
            self.keys.nodes(),
            self.keys.gone(),
            self.keys.index(generation),
            self.keys.connections(generation),
            self.keys.generation(generation),
            self.keys.cleaning(generation),
        ];
        let fields = vec![
            self.keys.0.clone(),
            generation.to_string(),
            ROWS_A_CLEANING_MAX.to_string(),
        ];
        self.call(|this| &this.clean, &keys, fields)
            .map(|done: u64| done == 1)
    }

    fn leave(&mut self, caller: &Caller) -> Result<(), EngineError> {
        let keys = [self.keys.nodes(), self.keys.gone()];
        let fields = vec![
            self.keys.0.clone(),
            caller.node.to_string(),
            caller.generation.to_string(),
        ];
        self.call(|this| &this.leave, &keys, fields)
            .map(|_: u64| ())
    }
}

/// Reads all nodes that stand, by their names.
pub(super) fn rows_of(
    connection: &mut RedisConnection,
    keys: &RedisKeys,
) -> Result<Vec<NodeRow>, BindingError> {
    let mut list = redis::cmd("HGETALL");
    list.arg(keys.nodes());
    let mut nodes: Vec<(String, u64)> = connection.ask(list)?;
    nodes.sort();
    let each = nodes.iter().map(|(_, generation)| {
        let mut each = redis::cmd("HGETALL");
        each.arg(keys.generation(*generation));
        each
    });
    let each: Vec<redis::Cmd> = each.collect();
    let found: Vec<HashMap<String, String>> = connection.ask_each(each)?;
    let rows = nodes.into_iter().zip(found);
    Ok(rows
        .map(|((name, generation), fields)| row_of(name, generation, &fields))
        .collect())
}

fn row_of(name: String, generation: u64, fields: &HashMap<String, String>) -> NodeRow {
    let text = |name: &str| fields.get(name).map_or("", String::as_str);
    let number = |name: &str| text(name).parse().unwrap_or(0);
    NodeRow {
        name: name.into(),
        generation,
        beat: number("beat"),
        address: text("address").into(),
        version: text("version").into(),
        promise: text("promise").into(),
        settings: number("settings"),
        started_unix_ms: number("started"),
        figures: NodeFigures {
            is_draining: number("draining") == 1,
            connections: number("connections"),
            logged_in: number("logged_in"),
            rooms: number("rooms"),
            messages: number("messages"),
            memory_bytes: number("memory_bytes"),
        },
        messages_per_s: number("messages_per_s"),
        clock_skew_ms: text("skew").parse().unwrap_or(0),
    }
}
