//! The file with the number of the process, for scripts. Whether the server runs is shown by its control
//! socket, never by this file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A PID file of this process, which is removed at its end.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file under another name, and renames it: no reader finds half a number.
    ///
    /// # Errors
    ///
    /// The file can't be written.
    pub fn write(path: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{pid}"));
        let fresh = PathBuf::from(fresh);
        // One that an earlier process of this number has left.
        _ = fs::remove_file(&fresh);
        let written = File::create_new(&fresh)
            .and_then(|mut file| file.write_all(format!("{pid}\n").as_bytes()))
            .and_then(|()| fs::rename(&fresh, path));
        if written.is_err() {
            // Nothing else would ever remove it.
            _ = fs::remove_file(&fresh);
        }
        written.map(|()| Self(path.to_owned()))
    }

    /// Takes over the file that an image of this process before this one has written.
    #[must_use]
    pub fn taken_over(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        // Another server may have written its own meanwhile.
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == own) {
            _ = fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_goes_with_its_process_and_stays_once_it_is_anothers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pid");
        let file = PidFile::write(&path).expect("it is written");
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        let file = PidFile::write(&path).expect("it is written");
        fs::write(&path, "1\n").expect("another's");
        drop(file);
        assert_eq!(fs::read_to_string(&path).expect("it stays"), "1\n");
        let names = fs::read_dir(folder.path()).expect("the folder").count();
        assert_eq!(names, 1, "nothing else is left");
    }

    #[test]
    fn a_pid_file_that_cant_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pid");
        fs::create_dir(&path).expect("a folder in its place");
        assert!(PidFile::write(&path).is_err());
        let names = fs::read_dir(folder.path()).expect("the folder").count();
        assert_eq!(names, 1, "only what was there");
    }
}
