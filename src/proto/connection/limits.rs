//! Bounds and deadlines of one connection.

use crate::proto::http::HttpLimits;

/// The bounds of one connection, in bytes and in time.
///
/// All connections of a server share them; a single connection can't have its own.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bounds of request heads and bodies.
    pub http: HttpLimits,
    /// Largest WebSocket message, in bytes; a longer one is refused with 1009. Default 65,536:
    /// about one read of the reactor, and far above the size of a chat message.
    pub message_size_max: usize,
    /// Whether a WebSocket that offers permessage-deflate gets it (RFC 7692): its messages come
    /// compressed, and go so where that is worth it. Default no: most of what a chat says is shorter
    /// than a packet.
    #[cfg(feature = "deflate")]
    pub deflate: bool,
    /// Requests of one connection that may wait for their answer; further ones stay unread.
    /// Default 16: a round number, since few clients pipeline at all.
    pub pipeline_requests_max: usize,
    /// Time from the first byte of a request head to its end, in milliseconds; then 408. A fresh
    /// connection that sends nothing for as long is closed. Default 10,000: a head fits in a few
    /// packets, so a slower client is broken or an attacker that holds connections.
    pub head_ms_max: u64,
    /// Time from the end of a request's head to the end of its body, in milliseconds; then 408.
    /// Default 30,000: with the largest body of 1 MiB that asks for 35 KiB a second.
    pub body_ms_max: u64,
    /// Silence between two requests of a connection, in milliseconds. Default 75,000: above the
    /// 60 s for which nginx and common balancers keep a connection, so that they close it and never
    /// send a request into our close.
    pub idle_ms_max: u64,
    /// Silence after which a WebSocket is pinged, in milliseconds; 0 turns heartbeats off.
    ///
    /// Default 25,000: two pings fit in the 60 s after which common proxies cut. The first ping
    /// comes at a random moment of this time, so that connections opened together aren't pinged
    /// together.
    pub ping_ms: u64,
    /// Time a pinged peer has to send anything at all, in milliseconds; then 4010. Default 8,000: a
    /// round number, so that a lost peer is noticed 33 s after its last byte.
    pub pong_ms_max: u64,
    /// Time the peer has to answer our Close frame, in milliseconds (RFC 6455 §7.1.1). Default
    /// 5,000: a round number, far above a round trip.
    pub close_ms_max: u64,
}

impl Limits {
    /// Whether an offer of permessage-deflate is taken.
    #[must_use]
    pub(crate) fn takes_deflate(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.deflate;
        #[cfg(not(feature = "deflate"))]
        return false;
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            http: HttpLimits::default(),
            message_size_max: 64 * 1024,
            #[cfg(feature = "deflate")]
            deflate: false,
            pipeline_requests_max: 16,
            head_ms_max: 10_000,
            body_ms_max: 30_000,
            idle_ms_max: 75_000,
            ping_ms: 25_000,
            pong_ms_max: 8_000,
            close_ms_max: 5_000,
        }
    }
}
