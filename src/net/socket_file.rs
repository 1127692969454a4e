//! The file of a Unix socket: that of a dead server is replaced, that of a living one stays, and the own
//! one is known again by its inode when it is to be removed.
//!
//! Two servers that begin at once look at the file one after the other, under a lock of its folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::listen_address::ListenAddress;

/// Longest wait for others that begin in the same folder: each needs far less than a millisecond.
const LOCK_MAX: Duration = Duration::from_secs(5);

/// The file of a socket, and what the file is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SocketFile {
    pub(crate) path: PathBuf,
    /// Device and inode.
    pub(crate) identity: (u64, u64),
}

impl SocketFile {
    /// Makes a listening socket at `path`, which users may connect to as `mode` says: 0o600 to 0o777.
    ///
    /// # Errors
    ///
    /// A server answers there, something else than a socket is there, or the system's error.
    pub(crate) fn listen(path: &Path, mode: u32, backlog: i32) -> io::Result<(OwnedFd, Self)> {
        let _lock = lock_folder_of(path)?;
        remove_stale(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Before there is a file, so that nobody connects whom the mode keeps out.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        let made = fs::symlink_metadata(path)?;
        let file = Self {
            path: path.to_owned(),
            identity: (made.dev(), made.ino()),
        };
        let listening = fs::set_permissions(path, Permissions::from_mode(mode & 0o777))
            .and_then(|()| Ok(listen(&socket, backlog)?));
        match listening {
            Ok(()) => Ok((socket, file)),
            Err(error) => {
                _ = fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// The file of a socket that was handed over, if that had one of its own.
    pub(crate) fn of(address: &ListenAddress, identity: Option<(u64, u64)>) -> Option<Self> {
        match (address, identity) {
            (ListenAddress::Unix(path), Some(identity)) => Some(Self {
                path: path.clone(),
                identity,
            }),
            _ => None,
        }
    }

    /// Removes the file, unless another one has its name by now.
    pub(crate) fn remove(&self) {
        let Ok(_lock) = lock_folder_of(&self.path) else {
            return;
        };
        let there = fs::symlink_metadata(&self.path).map(|file| (file.dev(), file.ino()));
        if there.is_ok_and(|there| there == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a socket's file stays");
        }
    }
}

/// Fails if a server answers at `path`, or something else than a socket is there.
///
/// # Errors
///
/// The reason for which nobody can listen there.
pub fn is_free(path: &Path) -> io::Result<()> {
    looked_at(path).map(drop)
}

fn looked_at(path: &Path) -> io::Result<IsStale> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(IsStale(false)),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            let what = "something is there already, and it is no socket";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        Ok(_) => {}
    }
    match connect_to(path) {
        // A full queue is that of a server that is stuck, not of one that has gone.
        Ok(()) | Err(Errno::AGAIN) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server answers there",
        )),
        Err(Errno::CONNREFUSED) => Ok(IsStale(true)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the file of a dead server is there.
struct IsStale(bool);

fn remove_stale(path: &Path) -> io::Result<()> {
    if looked_at(path)?.0 {
        tracing::info!(path = %path.display(), "removing the socket of a server that has gone");
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Connects without waiting for a server that is stuck.
fn connect_to(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

/// Locks the folder of a file until the lock is dropped.
fn lock_folder_of(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = File::open(folder.unwrap_or(Path::new(".")))?;
    let began = Instant::now();
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(Errno::WOULDBLOCK) if began.elapsed() < LOCK_MAX => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The files of a server's sockets. Those that it has made are removed when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct SocketFiles {
    /// The files that are removed at the end.
    pub(crate) own: Vec<SocketFile>,
    /// Those of sockets that the image before has handed over: its own until the commit.
    pub(crate) carried: Vec<SocketFile>,
    /// The same of sockets that this image doesn't listen on any more.
    pub(crate) unwanted: Vec<SocketFile>,
}

impl SocketFiles {
    /// Makes the files of the image before this one's.
    pub(crate) fn commit(&mut self) {
        self.own.append(&mut self.carried);
        self.unwanted.drain(..).for_each(|file| file.remove());
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        self.own.iter().for_each(SocketFile::remove);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn made(path: &Path) -> io::Result<(OwnedFd, SocketFile)> {
        SocketFile::listen(path, 0o660, 16)
    }

    #[test]
    fn the_file_of_a_dead_server_is_replaced_and_that_of_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_socket, file) = made(&path).expect("nobody answers there");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "whatever the mask of the process is");
        let refused = made(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse, "{refused}");
        UnixStream::connect(&path).expect("the first one is still there");
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.sock");
        fs::write(&path, "mine").unwrap();
        let refused = made(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists, "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_file_that_is_anothers_by_now_stays_and_so_does_one_that_was_only_carried() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.sock");
        let (_first, old) = made(&path).unwrap();
        let mut files = SocketFiles::default();
        files.carried.push(old.clone());
        drop(files);
        assert!(
            path.exists(),
            "without a commit it belongs to the image before"
        );
        fs::remove_file(&path).unwrap();
        let (_second, new) = made(&path).unwrap();
        old.remove();
        assert!(path.exists(), "it is another server's");
        let mut files = SocketFiles::default();
        files.carried.push(new);
        files.commit();
        drop(files);
        assert!(!path.exists());
    }
}
