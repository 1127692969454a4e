//! The files that settings are read from: those on disk, or as they were when they were put into force.
//!
//! A file may have been changed since, and may be one that only the next version understands. So what was
//! read is kept, for an image that has to go on with exactly these settings.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The texts of files, by their paths; keys are among them, so that `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FileTexts(BTreeMap<PathBuf, String>);

/// The place that files are read from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SettingFiles {
    /// The file system, as it is now.
    #[default]
    OnDisk,
    /// The files as they were. Any other one isn't there.
    AsTheyWere(FileTexts),
}

impl FileTexts {
    /// Lists paths and texts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Path, &str)> {
        self.0.iter().map(|(path, text)| (&**path, &**text))
    }
}

impl FromIterator<(PathBuf, String)> for FileTexts {
    fn from_iter<I: IntoIterator<Item = (PathBuf, String)>>(texts: I) -> Self {
        Self(texts.into_iter().collect())
    }
}

impl fmt::Debug for FileTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl SettingFiles {
    /// Reads a file, or the first `size_max` bytes of it, and notes in `read` what was found.
    pub(super) fn read(
        &self,
        path: &Path,
        size_max: u64,
        read: &mut FileTexts,
    ) -> io::Result<String> {
        let text = match self {
            Self::OnDisk => {
                let mut text = String::new();
                File::open(path)?.take(size_max).read_to_string(&mut text)?;
                text
            }
            Self::AsTheyWere(texts) => {
                let text = texts.0.get(path);
                text.cloned().ok_or(io::ErrorKind::NotFound)?
            }
        };
        read.0.insert(path.to_owned(), text.clone());
        Ok(text)
    }
}
