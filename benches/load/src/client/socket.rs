//! What clients do with their sockets: connect, send a short frame, leave by a reset.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::measure::failure::Failure;
use crate::wire::frame::{MASK, client_frame};

/// Starts to connect a socket that never blocks; what is written before it is connected waits.
///
/// # Errors
///
/// No descriptor or port is free, or the connection is refused at once.
pub(crate) fn connect(
    address: SocketAddr,
    source: Option<SocketAddr>,
) -> std::io::Result<TcpStream> {
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
    Ok(socket.into())
}

/// Makes a socket go by a reset when it is dropped.
///
/// Its port is free at once, while an orderly end keeps it in TIME_WAIT for a minute.
///
/// # Errors
///
/// None that an open socket could meet.
pub(crate) fn reset_on_drop(socket: &TcpStream) -> std::io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Sends a frame of a few bytes, whole or not at all: a socket that has no room for so little has a
/// peer that doesn't read.
///
/// # Errors
///
/// The connection is broken, or full.
pub(crate) fn send_frame(
    mut socket: &TcpStream,
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
