//! What a request turns its connection into.

use crate::proto::http::{AnswerFields, Head};

/// A request to become a WebSocket, or a stream of events.
#[derive(Debug)]
pub(in crate::proto::connection) struct Handshake {
    pub(in crate::proto::connection) head: Box<Head>,
    /// The largest message of the path, in bytes, if it has one of its own.
    pub(in crate::proto::connection) own_size_max: Option<usize>,
    pub(in crate::proto::connection) to: UpgradeTo,
}

/// What a connection becomes.
#[derive(Debug)]
pub(in crate::proto::connection) enum UpgradeTo {
    WebSocket {
        /// Whether the 101 agreed on permessage-deflate.
        deflates: bool,
    },
    Events {
        /// Further lines of the answer's head.
        fields: Box<str>,
    },
}

impl UpgradeTo {
    /// Before it is answered.
    pub(super) const WEBSOCKET: Self = Self::WebSocket { deflates: false };

    /// A stream, to whose head these fields are added.
    pub(super) fn events(fields: Option<&AnswerFields>) -> Self {
        let fields = fields.into_iter().flat_map(AnswerFields::fields);
        let lines = fields.map(|(name, value)| format!("{name}: {value}\r\n"));
        let fields = lines.collect::<String>().into();
        Self::Events { fields }
    }
}
