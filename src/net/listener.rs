//! The listening socket, and accepting when descriptors run out.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::net::SocketAddrAny;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::listen_address::ListenAddress;
use super::socket_file::SocketFile;
use crate::base::PeerAddress;

/// Connections that may wait in the kernel until they are accepted.
///
/// The kernel cuts the number to `net.core.somaxconn`, whose default is 4,096 since Linux 5.4.
const BACKLOG: i32 = 4_096;

/// A bound, listening socket that any reactor may take over.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: OwnedFd,
    /// The address of the socket, with the port that was chosen for port 0.
    pub address: ListenAddress,
    /// The file of a Unix socket, unless it is another program's.
    pub(crate) file: Option<SocketFile>,
    /// Whether TLS is spoken there.
    pub(crate) is_tls: bool,
}

/// The families that a socket of an IPv6 address serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// `[::]` takes IPv4, too, if the system is set so, as most are.
    AsTheSystemIsSet,
    /// Only IPv6: another socket has the port for IPv4.
    OnlyOwn,
}

/// Binds `address` and listens on it.
///
/// # Errors
///
/// The system's error: the address is in use, isn't one of this machine, or isn't allowed.
pub fn listen(address: SocketAddr, families: Families) -> io::Result<Listener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && families == Families::OnlyOwn {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit TCP_NODELAY, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Listener::of(socket.into())
}

/// Makes the Unix socket `path` and listens on it; `mode` says who may connect, as that of a file does.
///
/// # Errors
///
/// A server answers there, something else than a socket is there, or the system's error.
pub fn listen_at(path: PathBuf, mode: u32) -> io::Result<Listener> {
    let (socket, file) = SocketFile::listen(&path, mode, BACKLOG)?;
    Ok(Listener {
        socket,
        address: ListenAddress::Unix(path),
        file: Some(file),
        is_tls: false,
    })
}

impl Listener {
    /// Takes over a socket that listens already; the length of its queue stays what it is.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn of(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let address: SocketAddrAny = rustix::net::getsockname(&socket)?;
        let address = if let Ok(address) = SocketAddr::try_from(address.clone()) {
            SockRef::from(&socket).set_tcp_nodelay(true)?;
            ListenAddress::Ip(address)
        } else {
            let address = rustix::net::SocketAddrUnix::try_from(address)?;
            let path = address.path_bytes().ok_or_else(|| {
                io::Error::new(io::ErrorKind::Unsupported, "a Unix socket without a path")
            })?;
            let path = std::ffi::OsStr::from_bytes(path);
            ListenAddress::Unix(path.into())
        };
        Ok(Self {
            socket,
            address,
            file: None,
            is_tls: false,
        })
    }
}

/// A listening socket in a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedListener {
    /// Its descriptor.
    pub number: RawFd,
    /// Device and inode of a Unix socket's file, if that is the server's own.
    pub identity: Option<(u64, u64)>,
}

/// A listening socket, with a descriptor in reserve.
///
/// When descriptors run out, accept fails and the connection stays in the kernel's queue. The
/// reserve is closed then, so that one connection can be accepted and closed: its client knows at
/// once, instead of waiting for an answer.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: AnyListener,
    pub(super) is_tls: bool,
    identity: Option<(u64, u64)>,
    reserve: Option<File>,
}

#[derive(Debug)]
enum AnyListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AnyListener {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener) => listener,
        }
    }

    /// A connection over a Unix socket is kept as a `TcpStream`, too: only as something to send to and
    /// to receive from, which the system does alike for both.
    fn accept(&self) -> io::Result<(TcpStream, PeerAddress)> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                Ok((socket, peer.into()))
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.accept()?;
                Ok((OwnedFd::from(socket).into(), PeerAddress::Unix))
            }
        }
    }
}

/// The result of one accept.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A connection was accepted, from this address.
    Connection(TcpStream, PeerAddress),
    /// A connection failed before it was accepted; try the next one.
    Lost,
    /// Descriptors ran out, and one connection was refused; wait before the next try.
    Exhausted(io::Error),
    /// No connection waits any more.
    None,
}

impl Acceptor {
    pub(super) fn new(listener: Listener) -> Self {
        let socket = listener.socket;
        Self {
            listener: match listener.address {
                ListenAddress::Unix(_) => AnyListener::Unix(socket.into()),
                ListenAddress::Ip(_) | ListenAddress::Name(..) => AnyListener::Tcp(socket.into()),
            },
            is_tls: listener.is_tls,
            identity: listener.file.map(|file| file.identity),
            reserve: open_reserve(),
        }
    }

    /// Has a poll tell of connections under `token`.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.listener.source(), token, Interest::READABLE)
    }

    pub(super) fn handed(&self) -> HandedListener {
        let number = match &self.listener {
            AnyListener::Tcp(listener) => listener.as_raw_fd(),
            AnyListener::Unix(listener) => listener.as_raw_fd(),
        };
        HandedListener {
            number,
            identity: self.identity,
        }
    }

    pub(super) fn accept(&mut self) -> Accepted {
        match self.listener.accept() {
            Ok((socket, peer)) => Accepted::Connection(socket, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Accepted::None,
            // The order matters: closing the reserve frees the descriptor that accept takes.
            Err(error) if is_exhaustion(&error) => {
                self.reserve = None;
                drop(self.listener.accept());
                self.reserve = open_reserve();
                Accepted::Exhausted(error)
            }
            Err(_) => Accepted::Lost,
        }
    }
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(
        errno,
        Some(
            rustix::io::Errno::MFILE
                | rustix::io::Errno::NFILE
                | rustix::io::Errno::NOBUFS
                | rustix::io::Errno::NOMEM
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_socket_has_no_delay_without_a_call_of_its_own() {
        let local = "127.0.0.1:0".parse().unwrap();
        let listener = listen(local, Families::AsTheSystemIsSet).unwrap();
        let address = listener.address.ip().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let mut acceptor = Acceptor::new(listener);
        let Accepted::Connection(socket, _) = acceptor.accept() else {
            panic!("a connection waits");
        };
        assert!(socket.nodelay().unwrap());
    }
}
