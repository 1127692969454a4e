//! The listening socket, and accepting when descriptors run out.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that may wait in the kernel until they are accepted.
///
/// The kernel cuts the number to `net.core.somaxconn`, whose default is 4,096 since Linux 5.4.
const BACKLOG: i32 = 4_096;

/// A bound, listening socket that any reactor may take over.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: StdTcpListener,
    /// The address of the socket, with the port that was chosen for port 0.
    pub address: SocketAddr,
}

/// Binds `address` and listens on it.
///
/// # Errors
///
/// The system's error: the address is in use, isn't one of this machine, or isn't allowed.
pub fn listen(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit TCP_NODELAY, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = StdTcpListener::from(socket);
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}

impl Listener {
    /// Takes over a socket that listens already; the length of its queue stays what it is.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn of(socket: StdTcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }
}

/// A listening socket, with a descriptor in reserve.
///
/// When descriptors run out, accept fails and the connection stays in the kernel's queue. The
/// reserve is closed then, so that one connection can be accepted and closed: its client knows at
/// once, instead of waiting for an answer.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    reserve: Option<File>,
}

/// The result of one accept.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A connection was accepted, from this address.
    Connection(TcpStream, SocketAddr),
    /// A connection failed before it was accepted; try the next one.
    Lost,
    /// Descriptors ran out, and one connection was refused; wait before the next try.
    Exhausted(io::Error),
    /// No connection waits any more.
    None,
}

impl Acceptor {
    pub(super) fn new(listener: Listener) -> Self {
        Self {
            listener: TcpListener::from_std(listener.socket),
            reserve: open_reserve(),
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
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address;
        let _client = std::net::TcpStream::connect(address).unwrap();
        let mut acceptor = Acceptor::new(listener);
        let Accepted::Connection(socket, _) = acceptor.accept() else {
            panic!("a connection waits");
        };
        assert!(socket.nodelay().unwrap());
    }
}
