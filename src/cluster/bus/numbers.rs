//! What the bus counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::metric::numbers;

/// A number that threads change.
#[derive(Debug, Default)]
pub struct BusNumber(AtomicU64);

impl BusNumber {
    pub(super) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// Reads the number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Defines the counters of the bus, and the numbers that are made of them.
macro_rules! bus_counters {
    ($($(#[doc = $help:literal])+ $kind:ident $name:ident,)*) => {
        /// What the threads of the bus count.
        #[derive(Debug, Default)]
        pub struct BusCounters { $($(#[doc = $help])+ pub $name: BusNumber,)* }

        numbers! {
            /// The numbers of the bus.
            pub struct BusNumbers { $($(#[doc = $help])+ $kind $name,)* }
        }

        impl BusCounters {
            /// Reads the numbers of this moment.
            #[must_use]
            pub fn numbers(&self) -> BusNumbers {
                BusNumbers { $($name: self.$name.value(),)* }
            }
        }
    };
}

bus_counters! {
    /// Frames that came from the bus.
    Counter frames,
    /// Frames that could not be read.
    Counter frames_unreadable,
    /// Messages that came from the bus and were sent on.
    Counter messages_posted,
    /// Messages that came once more, or that had been read from the log.
    Counter messages_old,
    /// Messages for channels that the node doesn't hear.
    Counter messages_unheard,
    /// Messages that could not be read, and were passed over.
    Counter messages_unreadable,
    /// Frames that wait until their message is safe.
    Gauge held_frames,
    /// Bytes of them.
    Gauge held_bytes,
    /// Times at which too many frames waited: their channels were read from the log.
    Counter held_overflows,
    /// Proofs that what waits is safe, since nobody said so in time.
    Counter proofs,
    /// Buses that were opened.
    Counter buses,
    /// Buses that were open, and heard nothing.
    Counter buses_deaf,
    /// Milliseconds in which the bus wasn't read, since too much waited for the connections.
    Counter pressed_ms,
    /// Channels that miss something, and are read from the log.
    Gauge behind_channels,
    /// Bytes of frames that came for them meanwhile.
    Gauge behind_bytes,
    /// Times at which too much came for them meanwhile: it was read from the log, too.
    Counter behind_overflows,
    /// Frames that are no part of their channel's log, and were let go of.
    Counter frames_stale,
    /// Pages that were read from the log.
    Counter pages,
    /// Messages of them that were sent on.
    Counter pages_posted,
    /// Channels whose log went on elsewhere than behind what was sent: their people were told of a gap.
    Counter resets,
    /// Channels that were compared with the engine.
    Counter looks,
    /// Channels of them that the engine didn't send to this node any more, or had begun anew.
    Counter looks_attached,
    /// Channels of them that were behind.
    Counter looks_behind,
    /// Requests to other nodes that waited when the last one was made.
    Gauge requests_awaited,
    /// Requests of other nodes.
    Counter requests,
    /// Requests of other nodes that were refused, since too many waited.
    Counter requests_refused,
    /// Answers of other nodes for which nobody waited any more.
    Counter answers_late,
    /// Requests and answers that waited for the engine until there were too many.
    Counter outgoing_dropped,
}
