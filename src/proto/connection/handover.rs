//! A connection in a handover: what it is, in a record of its own, so that fields can be added.

use super::event_side::EventSide;
use super::http_side::HttpSide;
use super::websocket_side::WebSocketSide;
use super::{Connection, ConnectionState};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

/// The states.
const CLOSED: u8 = 0;
const HTTP: u8 = 1;
const WEBSOCKET: u8 = 2;
const EVENTS: u8 = 3;

impl Connection {
    /// Writes down all that is known of the connection.
    pub fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self { state, heard, seed } = self;
        record.record(|record| match state {
            ConnectionState::Closed => record.u64(CLOSED.into()),
            ConnectionState::Http(side) => {
                record.u64(HTTP.into());
                record.tick(*heard);
                record.u64((*seed).into());
                side.hand_over(record);
            }
            ConnectionState::WebSocket(side) => {
                record.u64(WEBSOCKET.into());
                record.tick(*heard);
                record.u64((*seed).into());
                side.hand_over(record);
            }
            ConnectionState::Events(side) => {
                record.u64(EVENTS.into());
                record.tick(*heard);
                record.u64((*seed).into());
                side.hand_over(record);
            }
        });
    }

    /// Makes the connection that was written down.
    ///
    /// # Errors
    ///
    /// No connection can have come to be in that state.
    pub fn take_over(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        let mut record = record.record()?;
        let mut connection = Self {
            state: ConnectionState::Closed,
            heard: crate::base::Tick::NEVER,
            seed: 0,
        };
        match record.u8()? {
            CLOSED => {}
            HTTP => {
                connection.heard = record.tick()?;
                connection.seed = record.u32()?;
                let side = HttpSide::take_over(&mut record)?;
                connection.state = ConnectionState::Http(Box::new(side));
            }
            WEBSOCKET => {
                connection.heard = record.tick()?;
                connection.seed = record.u32()?;
                let side = WebSocketSide::take_over(&mut record)?;
                connection.state = ConnectionState::WebSocket(side);
            }
            EVENTS => {
                connection.heard = record.tick()?;
                connection.seed = record.u32()?;
                let side = EventSide::take_over(&mut record)?;
                connection.state = ConnectionState::Events(side);
            }
            _ => return Err(record.refuse("a connection is in an unknown state")),
        }
        Ok(connection)
    }
}
