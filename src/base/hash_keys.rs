//! The secret keys of hashes that several parts of the program make.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Keys of hashes, which may be replaced while others hash by them: a hash that is made in that moment may be
/// of neither the keys before nor those after.
#[derive(Clone)]
pub struct HashKeys(Arc<[AtomicU64; 2]>);

impl HashKeys {
    /// Returns the keys.
    #[must_use]
    pub fn get(&self) -> [u64; 2] {
        [self.0[0].load(Relaxed), self.0[1].load(Relaxed)]
    }

    /// Replaces the keys for all who share them.
    pub fn replace(&self, keys: [u64; 2]) {
        for (place, key) in self.0.iter().zip(keys) {
            place.store(key, Relaxed);
        }
    }
}

impl From<[u64; 2]> for HashKeys {
    fn from(keys: [u64; 2]) -> Self {
        Self(Arc::new(keys.map(AtomicU64::new)))
    }
}

/// Doesn't show the keys.
impl fmt::Debug for HashKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashKeys").finish_non_exhaustive()
    }
}
