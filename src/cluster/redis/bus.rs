//! The inbox of a generation, read from a connection of its own.

use std::time::{Duration, Instant};

use redis::{Connection, PushKind, Value};

use super::failure::{is_timeout, lost};
use crate::cluster::engine::{Bus, EngineError};

/// A connection that hears one inbox.
///
/// It speaks RESP3 and is read value by value: under RESP2 a read that ends for its time would have the crate
/// take a later value for a late answer.
pub(super) struct RedisBus {
    connection: Connection,
    /// The time after which a read ends, as the connection has it now.
    limit: Option<Duration>,
}

impl RedisBus {
    /// Hears an inbox from now on.
    pub(super) fn subscribe(
        mut connection: Connection,
        inbox: &str,
        answer_max: Duration,
    ) -> Result<Self, EngineError> {
        let mut command = redis::cmd("SUBSCRIBE");
        command.arg(inbox);
        let sent = connection.send_packed_command(&command.get_packed_command());
        sent.map_err(|error| lost(&error))?;
        let due = Instant::now() + answer_max;
        let mut bus = Self {
            connection,
            limit: None,
        };
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            match bus.receive(left)? {
                Some(Value::Push {
                    kind: PushKind::Subscribe,
                    ..
                }) => return Ok(bus),
                Some(Value::ServerError(error)) => {
                    return Err(EngineError::Refused(format!(
                        "Redis lets nobody hear {inbox}: {error}"
                    )));
                }
                _ => {}
            }
        }
        Err(EngineError::Away("Redis doesn't subscribe".into()))
    }

    /// Reads the next value; `None` if there is none in this time.
    fn receive(&mut self, patience: Duration) -> Result<Option<Value>, EngineError> {
        // No time at all would be taken for no limit.
        let limit = patience.max(Duration::from_millis(1));
        if self.limit != Some(limit) {
            let set = self.connection.set_read_timeout(Some(limit));
            set.map_err(|error| lost(&error))?;
            self.limit = Some(limit);
        }
        match self.connection.recv_response() {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(lost(&error)),
        }
    }
}

impl Bus for RedisBus {
    fn next(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, EngineError> {
        match self.receive(patience)? {
            Some(Value::Push {
                kind: PushKind::Message,
                mut data,
            }) => match data.pop() {
                Some(Value::BulkString(frame)) => Ok(Some(frame)),
                other => Err(EngineError::Lost(format!(
                    "the bus brought {other:?} for a frame"
                ))),
            },
            Some(Value::ServerError(error)) => Err(EngineError::Lost(error.to_string())),
            Some(_) | None => Ok(None),
        }
    }
}
