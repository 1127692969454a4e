//! TLS over a socket, as a stream: what is read is what the other side wrote, or nothing.

use std::io::{self, ErrorKind, Read, Write};

use rustls::ClientConnection;

use super::error::TlsError;
use super::failure::broken;

/// Bytes of records without content that one call reads at the most: an honest peer sends some hundred,
/// its tickets; one that sends nothing else would keep a thread for as long as it likes.
const EMPTY_SIZE_MAX: usize = 256 * 1024;

/// Bytes that may wait in rustls to be encrypted or sent.
const UNSENT_SIZE_MAX: usize = 64 * 1024;

/// A TLS connection over a socket that may or may not wait.
///
/// Where the socket would wait, or its time is over, each method gives [`ErrorKind::WouldBlock`], and is
/// called again.
#[derive(Debug)]
pub struct TlsStream<S> {
    session: ClientConnection,
    socket: S,
}

impl<S: Read + Write> TlsStream<S> {
    pub(super) fn new(mut session: ClientConnection, socket: S) -> Self {
        session.set_buffer_limit(Some(UNSENT_SIZE_MAX));
        Self { session, socket }
    }

    /// Goes on with the handshake; `Ok` once it is done and all of it is sent.
    ///
    /// # Errors
    ///
    /// The other side isn't who it should be, doesn't speak TLS or has gone: a [`TlsError`] says it.
    pub fn shake(&mut self) -> io::Result<()> {
        while self.session.is_handshaking() {
            self.send()?;
            if self.session.is_handshaking() && self.fetch()? == 0 {
                return Err(unexpected(TlsError::CutInHandshake));
            }
        }
        self.send()
    }

    /// The socket beneath.
    #[must_use]
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The same, to change its times; it must not be read or written by.
    pub fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Tells the other side that nothing more comes. What the socket doesn't take at once is left out: a
    /// Close of the layer above has said it.
    pub fn end(&mut self) {
        self.session.send_close_notify();
        self.send().ok();
    }

    /// Reads once from the socket, and takes what came; 0 at the end of the stream.
    fn fetch(&mut self) -> io::Result<usize> {
        let size = loop {
            match self.session.read_tls(&mut self.socket) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        match self.session.process_new_packets() {
            Ok(_) => Ok(size),
            Err(error) => {
                // The alert tells the other side why; if it doesn't get there, the end does.
                self.send().ok();
                Err(broken(error))
            }
        }
    }

    /// Writes what waits in rustls.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The same, but what the socket has no room for may wait.
    fn send_some(&mut self) -> io::Result<()> {
        match self.send() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }
}

impl<S: Read + Write> Read for TlsStream<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut empty = 0;
        loop {
            match self.session.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Without a `close_notify` somebody else may have cut the stream.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(unexpected(TlsError::Cut));
                }
                read => return read,
            }
            if empty > EMPTY_SIZE_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, TlsError::Empty));
            }
            empty += self.fetch()?;
            // Some records ask for an answer.
            self.send_some()?;
        }
    }
}

impl<S: Read + Write> Write for TlsStream<S> {
    /// Takes bytes only once all that were taken before are sent.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send()?;
        let taken = self.session.writer().write(bytes)?;
        self.send_some()?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()?;
        self.socket.flush()
    }
}

fn unexpected(error: TlsError) -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, error)
}
