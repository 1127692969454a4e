//! The socket file: made for its owner alone, found stale when nobody answers, removed at the end.
//!
//! Two servers that begin at once look at the file one after the other, under a lock of its folder: none
//! of them takes the other's for a stale one.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tidings::base::sync::lock;

/// Connections that may wait until one is answered.
const BACKLOG: i32 = 16;

/// Longest wait for others that begin in the same folder: each needs far less than a millisecond.
const LOCK_MAX: Duration = Duration::from_secs(5);

/// The reason why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something else stands there, and stays.
    #[error("{} is there already, and is no socket", .0.display())]
    NoSocket(PathBuf),
    /// Somebody answers there.
    #[error("another server answers at {}; `tidings stop` stops it", .0.display())]
    InUse(PathBuf),
    /// The system refuses it.
    #[error("can't make the control socket {}", path.display())]
    System {
        /// The path of the socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A control socket that is this process's own, and goes with it.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    /// The file, until it is removed.
    file: Mutex<Option<SocketFile>>,
}

/// The file of a socket, and what it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPlace {
    /// The path.
    pub path: PathBuf,
    /// Device and inode, by which the file is known again.
    pub identity: (u64, u64),
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
struct SocketFile(SocketPlace);

impl ControlSocket {
    /// Makes the socket. To be called once the server's data and addresses are its own.
    ///
    /// # Errors
    ///
    /// Another server answers there, or the file can't be made.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let system = |source: io::Error| SocketError::System {
            path: path.to_owned(),
            source,
        };
        let _lock = lock_folder_of(path).map_err(system)?;
        remove_stale(path)?;
        let listener = listen_at(path).map_err(|error| system(error.into()))?;
        listener.set_nonblocking(true).map_err(system)?;
        let made = fs::symlink_metadata(path).map_err(system)?;
        let identity = (made.dev(), made.ino());
        let path = path.to_owned();
        Ok(Self::of(listener, SocketPlace { path, identity }))
    }

    /// Takes over a socket that an image of this process before this one has made.
    #[must_use]
    pub fn taken_over(listener: OwnedFd, place: SocketPlace) -> Self {
        Self::of(listener.into(), place)
    }

    fn of(listener: UnixListener, place: SocketPlace) -> Self {
        Self {
            listener,
            file: Mutex::new(Some(SocketFile(place))),
        }
    }

    /// Returns the descriptor, which stays the socket's, and the file, unless that is removed.
    #[must_use]
    pub fn to_hand_over(&self) -> Option<(RawFd, SocketPlace)> {
        let file = lock(&self.file);
        let SocketFile(place) = file.as_ref()?;
        Some((self.listener.as_raw_fd(), place.clone()))
    }

    /// Takes a connection, without waiting for one.
    pub(super) fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().map(|(stream, _)| stream)
    }

    /// Removes the file; whoever is connected stays so.
    pub(super) fn remove(&self) {
        drop(lock(&self.file).take());
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let SocketPlace { path, identity } = &self.0;
        let Ok(_lock) = lock_folder_of(path) else {
            return;
        };
        // Another server may have its own there, after somebody removed ours.
        let there = fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()));
        if there.is_ok_and(|there| there == *identity) {
            _ = fs::remove_file(path);
        }
    }
}

/// Connects without waiting for a server that is stuck.
pub(super) fn connect_to(path: &Path) -> io::Result<UnixStream> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let system = |source| SocketError::System {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(SocketError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match connect_to(path) {
        // A full queue is that of a server that is stuck, not of one that has gone.
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(SocketError::InUse(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing the control socket of a server that has gone");
            fs::remove_file(path).map_err(system)
        }
        Err(error) => Err(system(error)),
    }
}

fn listen_at(path: &Path) -> rustix::io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before there is a file, so that it is never anybody else's.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
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

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// Servers that begin at once.
    const STARTS: usize = 8;

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        fs::write(&path, "mine").expect("a file");
        let refused = ControlSocket::bind(&path).expect_err("it is no socket");
        assert!(matches!(refused, SocketError::NoSocket(_)), "{refused}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "mine");
    }

    #[test]
    fn a_socket_goes_with_its_server_and_stays_once_it_is_anothers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let first = ControlSocket::bind(&path).expect("it is made");
        let refused = ControlSocket::bind(&path).expect_err("it is in use");
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        fs::remove_file(&path).expect("it is there");
        let second = ControlSocket::bind(&path).expect("it is made");
        drop(first);
        connect_to(&path).expect("the second one is there");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn of_many_that_begin_at_once_at_a_stale_socket_exactly_one_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        for _ in 0..200 {
            drop(UnixListener::bind(&path).expect("a stale one"));
            let together = Barrier::new(STARTS);
            let start = || {
                together.wait();
                ControlSocket::bind(&path)
            };
            let all: Vec<_> = std::thread::scope(|scope| {
                let starts: Vec<_> = (0..STARTS).map(|_| scope.spawn(start)).collect();
                let ended = starts.into_iter().map(|one| one.join().expect("no panic"));
                ended.collect()
            });
            let made = all.iter().filter(|one| one.is_ok()).count();
            assert_eq!(made, 1, "{all:?}");
            connect_to(&path).expect("it is the one that is there");
            drop(all);
        }
    }
}
