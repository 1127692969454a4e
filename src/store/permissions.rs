//! Directories and files of a store that other accounts of the machine can read or write.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::names;

/// The bits of a mode that let in the group and everybody else.
const OTHERS: u32 = 0o077;

/// Warns of a directory and of files in it that other accounts may enter or read, and leaves them
/// as they are: somebody may have meant it so.
pub(super) fn warn_of_wide(directory: &Path) {
    match wide_ones(directory) {
        Ok(wide) => {
            for (name, mode) in wide {
                let path = directory.join(name);
                tracing::warn!(
                    path = %path.display(),
                    mode = format_args!("{mode:04o}"),
                    "other accounts can get at private messages; chmod go= forbids it"
                );
            }
        }
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            directory = %directory.display(),
            "can't check which other accounts may read the data"
        ),
    }
}

/// Lists the directory, as an empty name, and the first file in it that others may read, each with
/// its mode. One file stands for all: there may be thousands, and one `chmod -R` mends them.
fn wide_ones(directory: &Path) -> io::Result<Vec<(String, u32)>> {
    let mode_of =
        |path: &Path| Ok::<_, io::Error>(fs::metadata(path)?.permissions().mode() & 0o7777);
    let mut wide = Vec::new();
    let mode = mode_of(directory)?;
    if mode & OTHERS != 0 {
        wide.push((String::new(), mode));
    }
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let mode = mode_of(&directory.join(&name))?;
        if names::is_of_store(&name) && mode & OTHERS != 0 {
            wide.push((name, mode));
            break;
        }
    }
    Ok(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_and_a_file_that_others_may_read_are_found_and_private_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        let lock = path.join(names::LOCK);
        fs::write(&lock, "").unwrap();
        fs::write(path.join("notes"), "not ours").unwrap();
        set(&lock, 0o600).unwrap();
        set(path, 0o700).unwrap();
        assert_eq!(wide_ones(path).unwrap(), []);
        set(&lock, 0o640).unwrap();
        set(path, 0o755).unwrap();
        let expected = [(String::new(), 0o755), (names::LOCK.to_owned(), 0o640)];
        assert_eq!(wide_ones(path).unwrap(), expected);
    }
}
