//! What stands in place of TLS where it isn't built in: types without a value.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::marker::PhantomData;

use super::error::TlsError;
use super::trust::TlsTrust;

/// Never made.
#[derive(Debug, Clone)]
pub struct NoTlsDialer(Infallible);

impl NoTlsDialer {
    /// Says that there is no TLS here.
    ///
    /// # Errors
    ///
    /// [`TlsError::NotBuilt`], always.
    pub fn new(_: &TlsTrust) -> Result<Self, TlsError> {
        Err(TlsError::NotBuilt)
    }

    /// Finds nothing wrong: what asks for TLS is refused by itself.
    ///
    /// # Errors
    ///
    /// None.
    pub fn check(_: &TlsTrust) -> Result<(), TlsError> {
        Ok(())
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub fn begin<S: Read + Write>(&self, _: &str, _: S) -> Result<NoTlsStream<S>, TlsError> {
        match self.0 {}
    }
}

/// Never made.
#[derive(Debug)]
pub struct NoTlsStream<S>(Infallible, PhantomData<S>);

impl<S: Read + Write> NoTlsStream<S> {
    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    pub fn shake(&mut self) -> io::Result<()> {
        match self.0 {}
    }

    /// Never called.
    #[must_use]
    pub fn socket(&self) -> &S {
        match self.0 {}
    }

    /// Never called.
    pub fn socket_mut(&mut self) -> &mut S {
        match self.0 {}
    }

    /// Never called.
    pub fn end(&mut self) {
        match self.0 {}
    }
}

impl<S: Read + Write> Read for NoTlsStream<S> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl<S: Read + Write> Write for NoTlsStream<S> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}
