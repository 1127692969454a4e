//! The directory of a store: its lock, and the segments in it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::error::StoreError;
use super::files::{FileSystem, OpenMode, StoreFile};
use super::identity::StoredIdentity;
use super::names;

/// Locks the directory for as long as the returned file lives.
pub(super) fn lock(
    files: &dyn FileSystem,
    directory: &Path,
) -> Result<Arc<dyn StoreFile>, StoreError> {
    let path = directory.join(names::LOCK);
    files.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => StoreError::Locked {
            directory: directory.into(),
        },
        _ => StoreError::io("lock", &path, source),
    })
}

/// Lists the numbers of the segments that are there, in order.
pub(super) fn list(files: &dyn FileSystem, directory: &Path) -> Result<Vec<u32>, StoreError> {
    let found = files.list(directory);
    let found = found.map_err(|source| StoreError::io("list", directory, source))?;
    let mut numbers: Vec<u32> = (found.iter())
        .filter_map(|name| names::segment_number(name))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the error of a store whose newest segment is gone, which must not pass for an older or a
/// new store.
pub(super) fn missing_newest(
    directory: &Path,
    newest: Option<u32>,
    told: StoredIdentity,
) -> Option<StoreError> {
    let file = match told {
        StoredIdentity::Absent => return None,
        StoredIdentity::Unreadable if newest.is_some() => return None,
        StoredIdentity::Unreadable => directory.join(names::LOCK),
        StoredIdentity::Present(identity) if newest >= Some(identity.newest) => return None,
        StoredIdentity::Present(identity) => directory.join(names::segment(identity.newest)),
    };
    Some(StoreError::damaged(
        file,
        0,
        "the newest file of the store is missing",
    ))
}

/// Finds the segments of a store that no process has open, and its lock, if it has one.
#[expect(clippy::type_complexity, reason = "two things, for two callers")]
pub(super) fn list_offline(
    files: &dyn FileSystem,
    directory: &Path,
) -> Result<(Vec<u32>, Option<Arc<dyn StoreFile>>), StoreError> {
    let numbers = list(files, directory)?;
    // A copy of a store has no lock, and needs none.
    let path = directory.join(names::LOCK);
    let held = match files.open(&path, OpenMode::Read) {
        Ok(_) => Some(lock(files, directory)?),
        Err(_) => None,
    };
    Ok((numbers, held))
}
