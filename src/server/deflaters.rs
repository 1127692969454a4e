//! The compressors of a server: whether a message is compressed, and who does it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::settings::ServerSettings;
use crate::base::sync::lock;
use crate::proto::websocket::Deflater;

/// Size of a message above which it goes plain, in bytes: to compress as much takes some 10 ms, for which
/// the thread that says it would do nothing else.
const DEFLATED_SIZE_MAX: usize = 1024 * 1024;

/// The compressors of all threads that publish, and what they have done.
///
/// There are never more of them than threads that compress at the same time, and none where nothing is
/// to be compressed.
#[derive(Debug)]
pub(super) struct Deflaters {
    /// Size from which a message is compressed, in bytes; no message is so large where compression is
    /// off.
    size_min: AtomicUsize,
    idle: Mutex<Vec<Deflater>>,
    messages: AtomicU64,
    bytes_before: AtomicU64,
    bytes_after: AtomicU64,
}

/// What the compressors of a server have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeflateStats {
    /// Messages that were compressed.
    pub messages: u64,
    /// Bytes of these before.
    pub bytes_before: u64,
    /// Bytes of these afterwards.
    pub bytes_after: u64,
    /// Compressors that wait for the next message; each takes some 250 KiB.
    pub idle: usize,
}

impl Deflaters {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        let deflaters = Self {
            size_min: AtomicUsize::new(usize::MAX),
            idle: Mutex::default(),
            messages: AtomicU64::new(0),
            bytes_before: AtomicU64::new(0),
            bytes_after: AtomicU64::new(0),
        };
        deflaters.set(settings);
        deflaters
    }

    /// Goes by other settings. Where compression is off now, nothing is compressed any more, not even for
    /// those who have agreed on it: what comes plain is understood by all.
    pub(super) fn set(&self, settings: &ServerSettings) {
        let size_min = match settings.reactor.connection.takes_deflate() {
            true => settings.deflate_size_min,
            false => usize::MAX,
        };
        self.size_min.store(size_min, Relaxed);
        if size_min == usize::MAX {
            lock(&self.idle).clear();
        }
    }

    /// Whether a message of so many bytes is worth it, as far as its size goes.
    pub(super) fn takes(&self, size: usize) -> bool {
        size >= self.size_min.load(Relaxed) && size <= DEFLATED_SIZE_MAX
    }

    /// Has `work` done by a compressor, for a message of `size` bytes; counts what becomes smaller.
    pub(super) fn run(
        &self,
        size: usize,
        work: impl FnOnce(&mut Deflater) -> Option<Vec<u8>>,
    ) -> Option<Vec<u8>> {
        let taken = lock(&self.idle).pop();
        let mut deflater = taken.unwrap_or_default();
        let deflated = work(&mut deflater);
        // It may have been turned off meanwhile.
        if self.size_min.load(Relaxed) != usize::MAX {
            lock(&self.idle).push(deflater);
        }
        if let Some(deflated) = &deflated {
            self.messages.fetch_add(1, Relaxed);
            self.bytes_before.fetch_add(size as u64, Relaxed);
            self.bytes_after.fetch_add(deflated.len() as u64, Relaxed);
        }
        deflated
    }

    pub(super) fn stats(&self) -> DeflateStats {
        DeflateStats {
            messages: self.messages.load(Relaxed),
            bytes_before: self.bytes_before.load(Relaxed),
            bytes_after: self.bytes_after.load(Relaxed),
            idle: lock(&self.idle).len(),
        }
    }
}
