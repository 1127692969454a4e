//! A connection to Redis: opened in a bounded time, and given up at the first error.

use redis::{
    Client, Cmd, Connection, ConnectionAddr, ConnectionLike as _, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, RedisError, Value,
};

use super::sentinel;
use crate::chat::BindingError;
use crate::cluster::{EnginePlace, EngineSettings};

/// The oldest Redis that knows scripts which are refused as a whole, or run whole, when it is full.
const VERSION_MIN: (u32, u32) = (7, 0);

/// An open connection.
pub(super) struct RedisConnection(Connection);

/// A script, and the digest under which Redis has it once it was loaded.
pub(super) struct LoadedScript(String);

impl RedisConnection {
    pub(super) fn open(settings: &EngineSettings) -> Result<Self, BindingError> {
        Self::open_with(settings, ProtocolVersion::RESP2)
    }

    pub(super) fn open_with(
        settings: &EngineSettings,
        protocol: ProtocolVersion,
    ) -> Result<Self, BindingError> {
        let address = &settings.address;
        let place = match &address.place {
            EnginePlace::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
            EnginePlace::Unix(path) => ConnectionAddr::Unix(path.clone()),
            EnginePlace::Sentinel { sentinels, name } => {
                let primary = sentinel::primary(sentinels, name, settings.answer_max);
                let (host, port) = primary.map_err(of_redis)?;
                ConnectionAddr::Tcp(host, port)
            }
        };
        let mut who = RedisConnectionInfo::default()
            .set_protocol(protocol)
            .set_skip_set_lib_name()
            .set_db(address.database.parse().unwrap_or(0));
        if !address.user.is_empty() {
            who = who.set_username(&address.user);
        }
        if !settings.password.is_empty() {
            who = who.set_password(&settings.password);
        }
        let info = place.into_connection_info().map_err(of_redis)?;
        let client = Client::open(info.set_redis_settings(who)).map_err(of_redis)?;
        let connection = client.get_connection_with_timeout(settings.answer_max);
        let connection = connection.map_err(of_redis)?;
        let limit = Some(settings.answer_max);
        connection.set_read_timeout(limit).map_err(of_redis)?;
        connection.set_write_timeout(limit).map_err(of_redis)?;
        Ok(Self(connection))
    }

    /// Refuses a Redis that couldn't keep what is written.
    pub(super) fn check(&mut self) -> Result<(), BindingError> {
        let info: String = self.ask(redis::cmd("INFO"))?;
        let fact = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let refuse = |what: String| Err(BindingError::Refused(what));
        let version = fact("redis_version").unwrap_or_default();
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        let numbers = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if numbers < VERSION_MIN {
            return refuse(format!(
                "Redis is {version:?}, but 7.0 or newer is needed, or Valkey"
            ));
        }
        let policy = fact("maxmemory_policy").unwrap_or("noeviction");
        if policy != "noeviction" {
            return refuse(format!(
                "maxmemory-policy of Redis is {policy}, which drops keys; it has to be noeviction"
            ));
        }
        match fact("role") {
            Some("slave") => refuse("this Redis is a replica, which takes no writes".into()),
            _ => Ok(()),
        }
    }

    /// Sends a command and reads its answer.
    pub(super) fn ask<T: FromRedisValue>(&mut self, command: Cmd) -> Result<T, BindingError> {
        let value = self.0.req_packed_command(&command.get_packed_command());
        let value = value.and_then(Value::extract_error).map_err(of_redis)?;
        redis::from_redis_value(value).map_err(away)
    }

    /// Sends commands at once and reads their answers.
    pub(super) fn ask_each<T: FromRedisValue>(
        &mut self,
        commands: impl IntoIterator<Item = Cmd>,
    ) -> Result<Vec<T>, BindingError> {
        let mut pipeline = redis::pipe();
        for command in commands {
            pipeline.add_command(command);
        }
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        pipeline.query(&mut self.0).map_err(of_redis)
    }

    /// The connection itself, for what is sent without an answer being awaited.
    pub(super) const fn raw(&mut self) -> &mut Connection {
        &mut self.0
    }

    pub(super) fn into_inner(self) -> Connection {
        self.0
    }

    /// Has Redis keep a script until its end.
    pub(super) fn load(&mut self, script: &str) -> Result<LoadedScript, BindingError> {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(script);
        self.ask(command).map(LoadedScript)
    }
}

impl LoadedScript {
    /// Begins a call of the script with these keys; arguments follow.
    pub(super) fn call(&self, keys: &[String]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.0).arg(keys.len()).arg(keys);
        command
    }
}

/// Tells what has to be mended from what passes.
fn of_redis(error: RedisError) -> BindingError {
    let code = error.code().unwrap_or_default();
    let what = match code {
        "WRONGPASS" => "Redis refuses user or password",
        "NOAUTH" => "Redis asks for a password",
        "NOPERM" => "Redis doesn't let this user do what is needed",
        "WRONGTYPE" => "a key in Redis has this server's name and another program's type",
        _ if error.kind() == ErrorKind::AuthenticationFailed => "Redis refuses user or password",
        _ => return away(error),
    };
    let detail = error.detail().unwrap_or_default();
    BindingError::Refused(format!("{what}: {detail}"))
}

fn away(error: impl std::error::Error + Send + Sync + 'static) -> BindingError {
    BindingError::Away(Box::new(error))
}
