//! What clients do with their sockets: connect, send a short frame, leave by a reset.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::client::{Security, Session};
use crate::measure::failure::Failure;
use crate::wire::frame::{MASK, client_frame};
use crate::wire::read::Readable;

/// Where a socket leads.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The address that is connected to.
    pub(crate) address: SocketAddr,
    /// What begins TLS there, if it is spoken.
    pub(crate) security: Option<Security>,
}

/// A socket under load, by TLS or without.
#[derive(Debug)]
pub(crate) struct LoadSocket {
    tcp: TcpStream,
    session: Option<Box<RefCell<Session>>>,
}

impl LoadSocket {
    /// Whether it is connected, and the handshake of TLS done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] or [`ErrorKind::NotConnected`] until then; or it failed.
    pub(crate) fn shake(&self) -> io::Result<()> {
        if let Some(error) = self.tcp.take_error()? {
            return Err(error);
        }
        self.tcp.peer_addr()?;
        match &self.session {
            Some(session) => session.borrow_mut().shake(&self.tcp),
            None => Ok(()),
        }
    }
}

impl From<TcpStream> for LoadSocket {
    fn from(tcp: TcpStream) -> Self {
        Self { tcp, session: None }
    }
}

impl Read for &LoadSocket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &self.session {
            None => (&self.tcp).read(bytes),
            Some(session) => session.borrow_mut().read(&self.tcp, bytes),
        }
    }
}

impl Readable for &LoadSocket {
    fn is_emptied_by_a_short_read(&self) -> bool {
        // A read gives the content of a record or two, and more may have come.
        self.session.is_none()
    }
}

impl Write for &LoadSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.session {
            None => (&self.tcp).write(bytes),
            Some(session) => session.borrow_mut().write(&self.tcp, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for LoadSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

/// Starts to connect a socket that never blocks; what is written before it is connected waits.
///
/// # Errors
///
/// No descriptor or port is free, or the connection is refused at once.
pub(crate) fn connect(place: &Place, source: Option<SocketAddr>) -> io::Result<LoadSocket> {
    let address = place.address;
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        socket.bind(&source.into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    let session = place.security.as_ref().map(Security::session).transpose()?;
    Ok(LoadSocket {
        tcp: socket.into(),
        session: session.map(|session| Box::new(RefCell::new(session))),
    })
}

/// Makes a socket go by a reset when it is dropped.
///
/// Its port is free at once, while an orderly end keeps it in TIME_WAIT for a minute.
///
/// # Errors
///
/// None that an open socket could meet.
pub(crate) fn reset_on_drop(socket: &LoadSocket) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Sends a frame of a few bytes, whole or not at all: a socket that has no room for so little has a
/// peer that doesn't read.
///
/// # Errors
///
/// The connection is broken, or full.
pub(crate) fn send_frame(
    mut socket: &LoadSocket,
    opcode: u8,
    payload: &[u8],
) -> Result<(), Failure> {
    let frame = client_frame(opcode, payload, MASK);
    match socket.write(&frame) {
        Ok(count) if count == frame.len() => Ok(()),
        Ok(_) => Err(Failure::Timeout("sending a short frame")),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            Err(Failure::Timeout("sending a short frame"))
        }
        Err(error) => Err(error.into()),
    }
}
