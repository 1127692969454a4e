//! What the driver asks of a connection under load, and what it lends to that connection.

use std::net::TcpStream;
use std::time::Instant;

use crate::measure::failure::Failure;
use crate::measure::latency::Latency;

/// Bytes that one thread reads at once; shared by all its connections.
pub(crate) const READ_SIZE: usize = 128 << 10;

/// What one connection says and hears.
pub(crate) trait Talk: Send {
    /// The socket, to register it.
    fn socket(&self) -> &TcpStream;

    /// Says the first words.
    ///
    /// # Errors
    ///
    /// The connection is of no more use.
    fn begin(&mut self, lap: &mut Lap) -> Result<(), Failure>;

    /// Reads what came, and says the next.
    ///
    /// # Errors
    ///
    /// The connection is of no more use.
    fn ready(&mut self, lap: &mut Lap) -> Result<Turn, Failure>;
}

/// How a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// With the same socket.
    Same,
    /// With a new socket, which has to be registered.
    NewSocket,
}

/// What a thread lends to the connection whose turn it is.
#[derive(Debug)]
pub(crate) struct Lap {
    /// Where to read into.
    pub(crate) bytes: Vec<u8>,
    /// The peer closed its side.
    pub(crate) hung_up: bool,
    /// Whether this turn is within the measured window.
    pub(crate) measuring: bool,
    epoch: Instant,
    answers: u64,
    latency: Latency,
}

impl Lap {
    /// Begins with nothing counted; `epoch` is where [`Self::now`] counts from.
    pub(crate) fn new(epoch: Instant) -> Self {
        let bytes = vec![0; READ_SIZE];
        Self {
            bytes,
            hung_up: false,
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

    /// Ends the counting.
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
