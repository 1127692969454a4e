//! The wall clock, and randomness from the system.

use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the wall clock's time in milliseconds since 1970; 0 if the clock shows an earlier time.
#[must_use]
pub fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Returns 64 random bits that nobody outside the process can guess.
///
/// The standard library takes the hasher's keys from the operating system and changes them at each
/// call; a hash under them doesn't reveal them.
#[must_use]
pub fn random() -> u64 {
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
