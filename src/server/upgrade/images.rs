//! The two images of an upgrade: the file that is executed next, and the one that runs.
//!
//! Both are opened once, and executed by their descriptors from then on. So what was rehearsed is what
//! runs, whatever a name leads to meanwhile, and the way back is there also when the old file is gone.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::error::UpgradeError;

/// The file that runs, whatever its name is by now.
const OWN: &str = "/proc/self/exe";

/// A program's file.
#[derive(Debug)]
pub(super) struct Image {
    path: PathBuf,
    file: OwnedFd,
    /// Its size and the time of its last change, by which a file is known that was written over.
    stamp: ImageStamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ImageStamp {
    size: i64,
    changed_s: i64,
    changed_ns: u64,
}

impl Image {
    /// Opens the file that runs.
    pub(super) fn own() -> Result<Self, UpgradeError> {
        Self::open(Path::new(OWN))
    }

    /// Opens a file. No right to read it is asked for.
    pub(super) fn open(path: &Path) -> Result<Self, UpgradeError> {
        let failed = |source| UpgradeError::Open {
            path: path.to_owned(),
            source,
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty());
        let file = file.map_err(|error| failed(error.into()))?;
        let found = rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(UpgradeError::NoFile(path.to_owned()));
        }
        if found.st_mode & 0o111 == 0 {
            return Err(UpgradeError::NotExecutable(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            stamp: stamp(&file).map_err(failed)?,
            file,
        })
    }

    /// Fails if the file was written over since it was opened.
    pub(super) fn is_unchanged(&self) -> Result<(), UpgradeError> {
        match stamp(&self.file).is_ok_and(|stamp| stamp == self.stamp) {
            true => Ok(()),
            false => Err(UpgradeError::Changed(self.path.clone())),
        }
    }

    pub(super) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The path by which it can be executed, by this process and by one that it forks.
    pub(super) fn executable(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.number()).into()
    }
}

fn stamp(file: &OwnedFd) -> io::Result<ImageStamp> {
    let found = rustix::fs::fstat(file)?;
    Ok(ImageStamp {
        size: found.st_size,
        changed_s: found.st_ctime,
        changed_ns: found.st_ctime_nsec,
    })
}

/// Returns the path that this program was started by, so that a link is followed anew at an upgrade; for
/// one that was found by its name alone, the path of its file. To be asked at the start, since the file
/// may have another name later.
#[must_use]
pub fn started_by() -> PathBuf {
    let zeroth = std::env::args_os().next().map(PathBuf::from);
    let named = zeroth.filter(|path| path.as_os_str().as_encoded_bytes().contains(&b'/'));
    let named = named.and_then(|path| std::path::absolute(path).ok());
    named
        .or_else(|| fs::read_link(OWN).ok())
        .unwrap_or_else(|| OWN.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_opened_once_and_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let missing = Image::open(&path).unwrap_err();
        let source = std::error::Error::source(&missing).unwrap().to_string();
        assert!(source.contains("No such file"), "{missing}: {source}");
        fs::write(&path, "x").unwrap();
        let refused = Image::open(&path).unwrap_err().to_string();
        assert!(refused.contains("can't be executed"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o111)).unwrap();
        let image = Image::open(&path).unwrap();
        image.is_unchanged().unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::set_permissions(
            folder.path().join("moved"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        fs::write(folder.path().join("moved"), "longer").unwrap();
        let changed = image.is_unchanged().unwrap_err().to_string();
        assert!(changed.contains("was changed"), "{changed}");
        let refused = Image::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("is no file"), "{refused}");
    }
}
