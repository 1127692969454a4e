//! What stands in place of TLS where it isn't built in: types without a value.

use std::convert::Infallible;
use std::io;
use std::net::TcpStream;
use std::path::Path;

/// Whose certificates would be taken.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "nobody looks at it")]
pub(crate) enum NoTrust<'a> {
    System,
    File(&'a Path),
    Anybody,
}

/// Never made.
#[derive(Clone, Debug)]
pub(crate) struct NoSecurity(Infallible);

impl NoSecurity {
    /// Says that there is no TLS here.
    ///
    /// # Errors
    ///
    /// Always.
    pub(crate) fn new(_: &str, _: NoTrust<'_>) -> io::Result<Self> {
        let what = "this program was built without TLS (feature `tls`)";
        Err(io::Error::other(what))
    }

    /// Never called.
    pub(crate) fn session(&self) -> io::Result<NoSession> {
        match self.0 {}
    }
}

/// Never made.
#[derive(Debug)]
pub(crate) struct NoSession(Infallible);

impl NoSession {
    pub(crate) fn shake(&mut self, _: &TcpStream) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn read(&mut self, _: &TcpStream, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn write(&mut self, _: &TcpStream, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }
}
