//! Reads a store that a process may have open, and changes nothing.

use std::sync::Arc;

use super::directory::list;
use super::error::StoreError;
use super::files::{FileSystem, OsFiles};
use super::loader::{Loader, Purpose};
use super::read_view::ReadView;
use super::reader::Reader;
use super::settings::StoreSettings;

/// Times that the files are read, when one of them goes meanwhile: a process that has the store
/// open goes on to new ones, and it does so seldom.
const TRIES_MAX: usize = 5;

/// Reads a store as it is at this moment, without its lock; what is written later isn't seen.
///
/// A page of it can't be read any more once its process has let the file go.
///
/// # Errors
///
/// The files can't be read, or one is damaged.
pub fn look(settings: &StoreSettings) -> Result<Arc<dyn Reader>, StoreError> {
    let files: Arc<dyn FileSystem> = Arc::new(OsFiles::default());
    let mut tries = 1;
    loop {
        match look_once(&files, settings) {
            Err(StoreError::Io { .. } | StoreError::Damaged { .. }) if tries < TRIES_MAX => {
                tries += 1;
            }
            done => return done,
        }
    }
}

fn look_once(
    files: &Arc<dyn FileSystem>,
    settings: &StoreSettings,
) -> Result<Arc<dyn Reader>, StoreError> {
    let directory = &settings.directory;
    let numbers = list(&**files, directory)?;
    let Some(&newest) = numbers.last() else {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(StoreError::io("find a journal in", directory, source));
    };
    let mut loader = Loader::new(&**files, settings, Purpose::Verify);
    let (_, active) = loader.load(&numbers, newest)?;
    let ids = (active.head.key, loader.epoch_masks);
    let view = ReadView::new(Arc::clone(files), directory.clone(), ids, loader.state);
    Ok(Arc::new(view))
}
