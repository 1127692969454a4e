//! Reads a store that no process has open, and changes nothing.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::{list_offline, missing_newest};
use super::error::StoreError;
use super::files::{FileSystem, OsFiles};
use super::identity::{StoreIdentity, StoredIdentity};
use super::loader::{Loader, Purpose};
use super::names;
use super::settings::StoreSettings;

/// The findings of [`verify`].
#[derive(Debug)]
pub struct VerifyReport {
    /// The files of the store, in order.
    pub files: Vec<PathBuf>,
    /// The number of channels, if all could be read.
    pub channels: u64,
    /// The number of kept messages, if all could be read.
    pub messages: u64,
    /// Bytes of a batch at the very end that was not written to its end, which a start cuts off.
    pub torn_bytes: u64,
    /// The damage that keeps the store from being opened.
    pub damage: Option<StoreError>,
}

/// Reads all files of a store, and changes nothing.
///
/// # Errors
///
/// The directory can't be read, or somebody has it open. Damage is no error: the report tells of
/// it.
pub fn verify(directory: &Path) -> Result<VerifyReport, StoreError> {
    verify_on(&OsFiles::default(), directory)
}

/// Does the same as [`verify`] on any file system.
pub(super) fn verify_on(
    files: &dyn FileSystem,
    directory: &Path,
) -> Result<VerifyReport, StoreError> {
    let (numbers, held) = list_offline(files, directory)?;
    let settings = StoreSettings::new(directory);
    let mut loader = Loader::new(files, &settings, Purpose::Verify);
    let told = match &held {
        Some(held) => StoreIdentity::read(&**held)
            .map_err(|source| StoreError::io("read", &directory.join(names::LOCK), source))?,
        None => StoredIdentity::Absent,
    };
    let newest = numbers.last().copied();
    let damage = match (missing_newest(directory, newest, told), newest) {
        (Some(missing), _) => Some(missing),
        (None, Some(newest)) => loader.load(&numbers, newest).err(),
        (None, None) => Some(StoreError::io(
            "find a journal in",
            directory,
            io::ErrorKind::NotFound.into(),
        )),
    };
    Ok(VerifyReport {
        files: (numbers.iter())
            .map(|number| directory.join(names::segment(*number)))
            .collect(),
        channels: loader.state.channels_count() as u64,
        messages: loader.state.usage.messages,
        torn_bytes: loader.torn_bytes,
        damage,
    })
}
