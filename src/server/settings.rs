//! Bounds and times of a whole server.

use super::process::ProcessSettings;
use crate::base::pressure::Watermarks;
use crate::net::reactor::ReactorLimits;

/// Bounds and times of a whole server; every one has a default.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Of reactors and connections.
    pub reactor: ReactorLimits,
    /// What may wait for one worker before its connections aren't read from. Default: above 16,384
    /// events or 16 MiB, until a quarter of it is left.
    pub worker_queue: Watermarks,
    /// Commands that may wait for one reactor before no connection is read from. Default: above
    /// 16,384 batches or 64 MiB, until a quarter of it is left.
    pub mailbox: Watermarks,
    /// What may wait for slow readers over all connections, in bytes; over it those with the most
    /// go: WebSockets are closed with 4008, HTTP connections are cut. Default 1 GiB.
    pub outbox_bytes_total_max: usize,
    /// Requests and messages of all connections that are half sent, in bytes; over it those with
    /// the most are refused with 503 or 1013. Default 64 MiB.
    pub unfinished_bytes_max: usize,
    /// Time that a stop may take before what is left is cut, in milliseconds. Default 30,000.
    pub stop_ms_max: u64,
    /// Of the processes.
    pub process: ProcessSettings,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            reactor: ReactorLimits::default(),
            worker_queue: marks(16_384, 16 << 20),
            mailbox: marks(16_384, 64 << 20),
            outbox_bytes_total_max: 1 << 30,
            unfinished_bytes_max: 64 << 20,
            stop_ms_max: 30_000,
            process: ProcessSettings::default(),
        }
    }
}

fn marks(items_high: usize, bytes_high: usize) -> Watermarks {
    Watermarks {
        items_high,
        items_low: items_high / 4,
        bytes_high,
        bytes_low: bytes_high / 4,
    }
}
