//! Bytes that a server keeps for its peers, over all connections: what waits for slow readers, and
//! what slow senders have half sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;

/// Counts the bytes that all connections make a server keep against one bound.
///
/// In an outbox a frame shared by many receivers counts once, for as long as one of them still needs
/// it; a frame for one receiver counts once its socket didn't take all of it.
#[derive(Debug)]
pub struct ByteBudget {
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

impl ByteBudget {
    /// Makes a budget of `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            bytes_max: AtomicUsize::new(bytes_max),
        })
    }

    /// Changes the bound; those who are over it now go as if they had come to be so.
    pub fn set_max(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Relaxed);
    }

    /// Bytes that are kept now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Whether more than `bytes_max` bytes are kept, so that the largest holders have to go.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.bytes() > self.bytes_max.load(Relaxed)
    }

    /// One reactor's share of the budget, in bytes: a reactor below its share needn't look for
    /// large holders of its own.
    ///
    /// When the budget is exceeded, at least one reactor is above its share.
    #[must_use]
    pub fn share_of(&self, reactors: usize) -> usize {
        self.bytes_max.load(Relaxed) / reactors.max(1)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    /// Makes a frame for many receivers, which is counted until the last of them drops it.
    #[must_use]
    pub fn shared(self: &Arc<Self>, frame: Vec<u8>) -> Bytes {
        self.add(frame.len());
        Bytes::from_owner(Counted {
            frame,
            budget: Arc::clone(self),
        })
    }
}

struct Counted {
    frame: Vec<u8>,
    budget: Arc<ByteBudget>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.budget.remove(self.frame.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_frame_counts_once_until_its_last_receiver_let_it_go() {
        let budget = ByteBudget::new(4);
        let frame = budget.shared(vec![0; 5]);
        let receivers = vec![frame.clone(); 1_000];
        drop(frame);
        assert_eq!(budget.bytes(), 5);
        assert!(budget.is_exceeded());
        drop(receivers);
        assert_eq!(budget.bytes(), 0);
    }
}
