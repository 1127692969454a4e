//! The files of a store in memory in a handover: the next image opens them as a start does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use super::{MemoryFile, MemoryFiles, MemoryStore};
use crate::base::sync;
use crate::handover::{HandoverError, Section, SectionFormat, SectionWriter};
use crate::store::settings::StoreSettings;

/// The section of a store in memory.
pub const STORE_FORMAT: SectionFormat = SectionFormat {
    name: "store",
    version: 1,
    oldest_reader: 1,
};

impl MemoryFiles {
    /// Writes down each file, with its name alone.
    pub(super) fn write(&self, section: &mut SectionWriter) {
        for (path, file) in &*self.files() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            section.record(|record| {
                record.text(&name);
                record.bytes(&sync::read(&file.0));
            });
        }
    }

    fn read(section: &Section<'_>, directory: &Path) -> Result<Self, HandoverError> {
        let mut files = BTreeMap::new();
        for record in section.records() {
            let mut record = record?;
            let (name, bytes) = (record.text()?, record.bytes()?.to_vec());
            let file = Arc::new(MemoryFile(RwLock::new(bytes)));
            if files.insert(directory.join(name), file).is_some() {
                return Err(record.refuse("two files have one name"));
            }
        }
        Ok(Self(Mutex::new(files)))
    }
}

impl MemoryStore {
    /// Makes the store that was written down.
    ///
    /// # Errors
    ///
    /// The section can't be read, or its files are none of a store.
    pub fn take_over(
        section: &Section<'_>,
        settings: StoreSettings,
    ) -> Result<Self, HandoverError> {
        section.check(STORE_FORMAT.version)?;
        let files = MemoryFiles::read(section, &settings.directory)?;
        let opened = Self::open(files, settings);
        opened.map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the store that was handed over can't be opened");
            let first = section.records().needed();
            first.map_or_else(|error| error, |first| first.refuse("it is no store"))
        })
    }
}
