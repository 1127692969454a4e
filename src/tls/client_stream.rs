//! A stream that is encrypted, or isn't.

use std::io::{self, Read, Write};

use super::TlsStream;

/// A connection to a server, by `ws://` or `wss://`.
#[derive(Debug)]
pub enum ClientStream<S> {
    /// As it is.
    Plain(S),
    /// By TLS.
    Tls(Box<TlsStream<S>>),
}

impl<S: Read + Write> ClientStream<S> {
    /// The socket beneath.
    pub fn socket(&self) -> &S {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Tells the other side that nothing more comes, where the stream has a word for that.
    pub fn end(&mut self) {
        if let Self::Tls(stream) = self {
            stream.end();
        }
    }
}

impl<S: Read + Write> Read for ClientStream<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl<S: Read + Write> Write for ClientStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
