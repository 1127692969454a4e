//! What the driver asks of a connection under load, and how answers are counted.

use std::time::Instant;

use crate::client::socket::LoadSocket;
use crate::measure::failure::Failure;
use crate::measure::latency::Latency;
use crate::wire::read::ReadBuffer;

/// Bytes that one thread reads at once: hundreds of small answers, and within a core's own cache.
pub(crate) const READ_SIZE: usize = 128 << 10;

/// One connection that keeps a server busy.
pub(crate) trait LoadClient: Send {
    /// The socket, to register it.
    fn socket(&self) -> &LoadSocket;

    /// Sends the first messages.
    ///
    /// # Errors
    ///
    /// The connection is of no more use.
    fn begin(&mut self, interval: &mut Interval) -> Result<(), Failure>;

    /// Reads the answers that came, counts them, and sends the next messages.
    ///
    /// # Errors
    ///
    /// The connection is of no more use.
    fn ready(
        &mut self,
        buffer: &mut ReadBuffer,
        interval: &mut Interval,
    ) -> Result<NextSocket, Failure>;
}

/// How a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextSocket {
    /// With the same socket.
    Same,
    /// With a new socket, which has to be registered.
    New,
}

/// What one thread has counted; latencies only while it measures.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Whether this moment is within the measured window.
    pub(crate) measuring: bool,
    epoch: Instant,
    answers: u64,
    latency: Latency,
}

impl Interval {
    /// Begins with nothing counted; `epoch` is where [`Self::now`] counts from.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            measuring: false,
            epoch,
            answers: 0,
            latency: Latency::default(),
        }
    }

    /// Nanoseconds since the run began; a system-wide clock read without a system call.
    pub(crate) fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// How many right answers were counted, in the window or not.
    pub(crate) fn answers(&self) -> u64 {
        self.answers
    }

    /// The latencies of all answers within the window.
    pub(crate) fn into_latency(self) -> Latency {
        self.latency
    }

    /// Counts `count` right answers, each of which took `ns` nanoseconds.
    pub(crate) fn answered(&mut self, ns: u64, count: u64) {
        self.answers += count;
        if self.measuring {
            self.latency.record(ns, count);
        }
    }
}
