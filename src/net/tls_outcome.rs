//! What comes of the bytes of a TLS connection; and how one is known that came to the wrong port.

use std::fmt;

/// The content type of a handshake record and the major version, with which each TLS connection begins
/// (RFC 8446 §5.1).
const HANDSHAKE_BEGINS: [u8; 2] = [22, 3];

/// What came of bytes of the socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// Plain bytes that were put into the buffer.
    pub(super) size: usize,
    /// Whether the peer said that no more comes (`close_notify`).
    pub(super) has_ended: bool,
    /// Whether the handshake was done with these bytes, and how.
    pub(super) handshake: Option<HandshakeWay>,
}

/// How a handshake was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nobody makes one"))]
pub(super) enum HandshakeWay {
    Full,
    /// With the ticket of an earlier connection.
    Resumed,
}

/// Why a TLS connection can't go on.
#[derive(Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nobody makes one"))]
pub(super) enum TlsFailure {
    /// The peer speaks plain HTTP; it is told so by these bytes.
    Plain(&'static [u8]),
    /// The peer broke TLS, or the two agree on nothing. An alert says so to the peer.
    Broken(String),
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("plain HTTP came where TLS is spoken"),
            Self::Broken(error) => write!(f, "TLS: {error}"),
        }
    }
}

/// Whether a connection that should speak HTTP begins as one of TLS does.
pub(super) fn is_hello(bytes: &[u8]) -> bool {
    bytes.starts_with(&HANDSHAKE_BEGINS)
}
