//! What a request turns its connection into.

use crate::proto::http::Head;

/// A request to become a WebSocket.
#[derive(Debug)]
pub(in crate::proto::connection) struct Handshake {
    pub(in crate::proto::connection) head: Box<Head>,
    /// The largest message of the path, in bytes, if it has one of its own.
    pub(in crate::proto::connection) own_size_max: Option<usize>,
    /// Whether the 101 agreed on permessage-deflate.
    pub(in crate::proto::connection) deflates: bool,
}
