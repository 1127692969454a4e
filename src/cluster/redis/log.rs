//! The log in Redis, through one connection.

use std::time::{Duration, Instant};

use redis::{Cmd, FromRedisValue, Value};

use super::answers::{answer, number, position};
use super::connection::RedisConnection;
use super::entries::{add_call, needs_room};
use super::facts::{facts, questions};
use super::failure::{CommandFailure, lost, of_refusal};
use super::keys::RedisKeys;
use super::scripts::{LogScript, LogScripts};
use super::sentinel;
use crate::base::Epoch;
use crate::cluster::call::{Answer, Call, Caller, Life};
use crate::cluster::engine::{
    CallBounds, Engine, EngineError, EngineFacts, EnginePage, LastCall, LifeState, Looked, Tidied,
};
use crate::cluster::frame::Frame;
use crate::cluster::{EnginePlace, EngineSettings};
use crate::store::{ChannelState, PageRange};

/// A connection on which a node makes its calls, one after the other.
pub(super) struct RedisLog {
    connection: RedisConnection,
    keys: RedisKeys,
    place: EnginePlace,
    answer_max: Duration,
    scripts: LogScripts,
    bounds: CallBounds,
    /// Answers to commands for which nobody waited.
    unread: usize,
}

impl RedisLog {
    pub(super) fn new(
        connection: RedisConnection,
        keys: RedisKeys,
        settings: &EngineSettings,
    ) -> Self {
        Self {
            connection,
            keys,
            place: settings.address.place.clone(),
            answer_max: settings.answer_max,
            scripts: LogScripts::default(),
            bounds: CallBounds::default(),
            unread: 0,
        }
    }

    /// Sends a command without waiting for its answer.
    fn put(&mut self, command: &Cmd) -> Result<(), EngineError> {
        let sent = self
            .connection
            .raw()
            .send_packed_command(&command.get_packed_command());
        sent.map_err(|error| lost(&error))
    }

    /// Reads the next answer.
    fn receive(&mut self) -> Result<Value, EngineError> {
        let value = self.connection.raw().recv_response();
        value.map_err(|error| lost(&error))
    }

    /// Reads the answers for which nobody waited; a refusal of one is an error now.
    fn catch_up(&mut self) -> Result<(), EngineError> {
        while self.unread > 0 {
            self.unread -= 1;
            self.receive()?
                .extract_error()
                .map_err(|error| EngineError::Lost(format!("a frame was refused: {error}")))?;
        }
        Ok(())
    }

    fn try_ask(&mut self, command: &Cmd) -> Result<Value, CommandFailure> {
        self.put(command).map_err(CommandFailure::Engine)?;
        self.catch_up().map_err(CommandFailure::Engine)?;
        let value = self.receive().map_err(CommandFailure::Engine)?;
        value.extract_error().map_err(|error| of_refusal(&error))
    }

    fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, EngineError> {
        of_value(self.try_ask(command).map_err(of_failure)?)
    }

    /// Runs a script, which Redis may have forgotten.
    fn run(
        &mut self,
        script: LogScript,
        keys: &[String],
        add: impl FnOnce(&mut Cmd),
    ) -> Result<Value, CommandFailure> {
        let digest = match self.scripts.digest(script) {
            Some(digest) => digest.to_owned(),
            None => self.load(script)?,
        };
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(keys.len()).arg(keys);
        add(&mut command);
        let value = self.try_ask(&command);
        if !matches!(value, Err(CommandFailure::UnknownScript)) {
            return value;
        }
        self.load(script)?;
        self.try_ask(&command)
    }

    fn load(&mut self, script: LogScript) -> Result<String, CommandFailure> {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script.text());
        let digest: String = of_value(self.try_ask(&load)?).map_err(CommandFailure::Engine)?;
        self.scripts.set_digest(script, digest.clone());
        Ok(digest)
    }

    fn ask_script<T: FromRedisValue>(
        &mut self,
        script: LogScript,
        keys: &[String],
        add: impl FnOnce(&mut Cmd),
    ) -> Result<T, EngineError> {
        of_value(self.run(script, keys, add).map_err(of_failure)?)
    }
}

impl Engine for RedisLog {
    fn facts(&mut self) -> Result<EngineFacts, EngineError> {
        let questions = questions();
        for question in &questions {
            self.put(question)?;
        }
        self.catch_up()?;
        let answers = questions.iter().map(|_| self.receive());
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        let facts = facts(answers);
        let mut facts = facts.ok_or_else(|| unreadable("INFO"))?;
        if let EnginePlace::Sentinel { sentinels, name } = &self.place {
            facts.replicas_known = sentinel::replicas(sentinels, name, self.answer_max).ok();
        }
        Ok(facts)
    }

    fn life(&mut self) -> Result<Option<LifeState>, EngineError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.life());
        command.arg(&["run", "era", "n", "n0", "replid", "always"]);
        Ok(life_of(self.ask(&command)?))
    }

    fn adopt(
        &mut self,
        facts: &EngineFacts,
        known: &Life,
        seen: u64,
        trusted: bool,
    ) -> Result<LifeState, EngineError> {
        let keys = [self.keys.life()];
        let life = self.ask_script(LogScript::Adopt, &keys, |command| {
            command.arg(&*facts.run).arg(&*facts.replids[0]);
            command.arg(u8::from(facts.syncs_always)).arg(facts.unix_ms);
            command.arg(&*known.run).arg(known.era);
            command.arg(seen).arg(u8::from(trusted));
        })?;
        // In this order the script has it: run, era, n, n0, replid, always.
        life_of(life).ok_or_else(|| unreadable("adopt"))
    }

    fn renew(&mut self) -> Result<Option<LifeState>, EngineError> {
        let keys = [self.keys.life()];
        let life = self.ask_script(LogScript::Renew, &keys, |_| {})?;
        Ok(life_of(life))
    }

    fn set_bounds(&mut self, bounds: &CallBounds) {
        self.bounds = *bounds;
    }

    fn call(&mut self, call: &Call) -> Result<Answer, EngineError> {
        let script = match needs_room(call) {
            true => LogScript::Call,
            false => LogScript::CallWhenFull,
        };
        let generation = call.caller.generation;
        let keys = [
            self.keys.life(),
            self.keys.nodes(),
            self.keys.call(generation),
        ];
        let (prefix, bounds) = (self.keys.0.clone(), self.bounds);
        let value = self.run(script, &keys, |command| {
            add_call(command, &prefix, call, &bounds);
        });
        match value {
            Ok(Value::BulkString(bytes)) => answer(&bytes).ok_or_else(|| unreadable("call")),
            Ok(_) => Err(unreadable("call")),
            Err(CommandFailure::Broken(what)) => {
                tracing::error!("a call failed in the middle, in the script of the engine: {what}");
                Ok(Answer::Broken)
            }
            Err(failure) => Err(of_failure(failure)),
        }
    }

    fn last_call(&mut self, generation: u64) -> Result<Option<LastCall>, EngineError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.call(generation));
        command.arg("number").arg("answer");
        let (number, kept): (Option<u64>, Option<Vec<u8>>) = self.ask(&command)?;
        let Some(number) = number else {
            return Ok(None);
        };
        let kept = kept.unwrap_or_default();
        let answer = match kept.is_empty() {
            true => Answer::Broken,
            false => answer(&kept).ok_or_else(|| unreadable("call"))?,
        };
        Ok(Some(LastCall { number, answer }))
    }

    fn wait(&mut self, replicas: usize, patience: Duration) -> Result<usize, EngineError> {
        // No time at all would be taken for no limit, and one beyond ours would cut the connection.
        let limit = patience.min(self.answer_max * 3 / 4);
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut command = redis::cmd("WAIT");
        command.arg(replicas).arg(millis);
        let begun = Instant::now();
        let have: usize = self.ask(&command)?;
        tracing::trace!(have, elapsed = ?begun.elapsed(), "replicas were waited for");
        Ok(have)
    }

    fn mark_safe(&mut self, n: u64, nodes: &[u64]) -> Result<(), EngineError> {
        let frame = Frame::Safe(n).bytes();
        let mut bytes = Vec::with_capacity(nodes.len() * 96);
        for node in nodes {
            bytes.extend(publish(&self.keys, *node, &frame).get_packed_command());
        }
        let sent = self.connection.raw().send_packed_command(&bytes);
        sent.map_err(|error| lost(&error))?;
        self.unread += nodes.len();
        Ok(())
    }

    fn send(&mut self, node: u64, frame: &[u8]) -> Result<(), EngineError> {
        let command = publish(&self.keys, node, frame);
        self.put(&command)?;
        self.unread += 1;
        Ok(())
    }

    fn page(&mut self, channel: &str, range: PageRange) -> Result<EnginePage, EngineError> {
        let is_back = range.before.is_some() && range.after.is_none();
        let keys = [
            self.keys.life(),
            self.keys.channel(channel),
            self.keys.list(channel),
        ];
        let found = self.ask_script(LogScript::Page, &keys, |command| {
            command.arg(range.after.unwrap_or(0));
            let before = range.before.map_or("-".into(), |before| before.to_string());
            command.arg(before).arg(range.limit).arg(range.bytes_max);
            command.arg(u8::from(is_back));
        })?;
        page_of(found, is_back).ok_or_else(|| unreadable("page"))
    }

    fn look(&mut self, caller: &Caller, channels: &[&str]) -> Result<Vec<Looked>, EngineError> {
        let keys = [self.keys.life()];
        let prefix = format!("{}:", self.keys.0);
        let text: String = self.ask_script(LogScript::Look, &keys, |command| {
            command.arg(prefix).arg(caller.generation).arg(channels);
        })?;
        let looked = text.lines().map(|line| {
            let mut words = line.split(' ');
            Some(Looked {
                has_route: words.next()? == "1",
                newest: position(&mut words)?,
            })
        });
        let looked: Option<Vec<Looked>> = looked.collect();
        let looked = looked.filter(|looked| looked.len() == channels.len());
        looked.ok_or_else(|| unreadable("look"))
    }

    fn producer_mark(&mut self, producer: &str) -> Result<u64, EngineError> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.marks()).arg(producer);
        let mark: Option<u64> = self.ask(&command)?;
        Ok(mark.unwrap_or(0))
    }

    fn tidy(
        &mut self,
        caller: &Caller,
        after: Option<&str>,
        channels_max: usize,
    ) -> Result<Tidied, EngineError> {
        let keys = [
            self.keys.life(),
            self.keys.nodes(),
            self.keys.names(),
            self.keys.upkeep(),
        ];
        let (prefix, bounds) = (format!("{}:", self.keys.0), self.bounds);
        let found: Vec<String> = self.ask_script(LogScript::Tidy, &keys, |command| {
            command
                .arg(prefix)
                .arg(&*caller.node)
                .arg(caller.generation);
            command.arg(after.unwrap_or_default()).arg(channels_max);
            command.arg(bounds.stored.age_ms_max);
            command.arg(bounds.memory.age_ms_max);
            command.arg(bounds.repeat_ms);
        })?;
        let Ok([trimmed, forgotten, next]) = <[String; 3]>::try_from(found) else {
            return Ok(Tidied {
                is_other: true,
                ..Tidied::default()
            });
        };
        Ok(Tidied {
            next: (!next.is_empty()).then(|| next.into()),
            trimmed: number(Some(&trimmed)).ok_or_else(|| unreadable("tidy"))?,
            forgotten: number(Some(&forgotten)).ok_or_else(|| unreadable("tidy"))?,
            is_other: false,
        })
    }

    fn hasher_key(&mut self, ours: [u64; 2]) -> Result<[u64; 2], EngineError> {
        let key = self.keys.hasher();
        let mut get = redis::cmd("GET");
        get.arg(&key);
        let mut text: Option<String> = self.ask(&get)?;
        if text.is_none() {
            let mut set = redis::cmd("SET");
            set.arg(&key)
                .arg(format!("{} {}", ours[0], ours[1]))
                .arg("NX");
            self.ask::<Value>(&set)?;
            text = self.ask(&get)?;
        }
        let text = text.unwrap_or_default();
        let mut words = text.split(' ');
        let mut next = || number(words.next()).ok_or_else(|| unreadable("hasher"));
        Ok([next()?, next()?])
    }

    fn reserve_block(&mut self, caller: &Caller, at_least: u64) -> Result<u64, EngineError> {
        let keys = [self.keys.serials(), self.keys.blocks()];
        self.ask_script(LogScript::Block, &keys, |command| {
            command.arg(caller.generation).arg(at_least);
        })
    }

    fn block_owner(&mut self, block: u64) -> Result<Option<u64>, EngineError> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.blocks()).arg(block);
        self.ask(&command)
    }
}

fn publish(keys: &RedisKeys, node: u64, frame: &[u8]) -> Cmd {
    let mut command = redis::cmd("PUBLISH");
    command.arg(keys.inbox(node)).arg(frame);
    command
}

fn of_value<T: FromRedisValue>(value: Value) -> Result<T, EngineError> {
    redis::from_redis_value(value).map_err(|error| EngineError::Lost(error.to_string()))
}

fn of_failure(failure: CommandFailure) -> EngineError {
    match failure {
        CommandFailure::Engine(error) => error,
        CommandFailure::UnknownScript => {
            EngineError::Away("Redis forgot a script that it was just given".into())
        }
        CommandFailure::Broken(what) => {
            EngineError::Refused(format!("a script failed in the middle: {what}"))
        }
    }
}

fn unreadable(what: &str) -> EngineError {
    EngineError::Refused(format!(
        "what Redis answered to {what} isn't what this program reads: is another program's data there?"
    ))
}

/// Reads a life out of its fields.
fn life_of(fields: Vec<Option<String>>) -> Option<LifeState> {
    let [run, era, n, n0, replid, always] = <[Option<String>; 6]>::try_from(fields).ok()?;
    Some(LifeState {
        life: Life {
            run: run?.into(),
            era: number(era.as_deref())?,
        },
        n: number(n.as_deref())?,
        n0: number(n0.as_deref())?,
        replid: replid?.into(),
        syncs_always: always? == "1",
    })
}

/// Reads a page: five facts, then the messages.
fn page_of(found: Vec<Vec<u8>>, is_back: bool) -> Option<EnginePage> {
    if found.is_empty() {
        return Some(EnginePage::default());
    }
    let mut found = found.into_iter();
    let mut text = || String::from_utf8(found.next()?).ok();
    let state = ChannelState {
        epoch: Epoch::of(&text()?),
        newest: number(text().as_deref())?,
        floor: number(text().as_deref())?,
    };
    let more = text()? == "1";
    let first = number(text().as_deref())?;
    let offsets = (0..).map(|at| if is_back { first - at } else { first + at });
    let payloads = found.zip(offsets);
    let payloads = payloads.map(|(payload, offset)| (offset, payload.into()));
    Some(EnginePage {
        state: Some(state),
        payloads: payloads.collect(),
        more,
    })
}
