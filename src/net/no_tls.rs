//! TLS in a library that is compiled without it: nobody has such a connection.

use std::io::{self, IoSlice, Write};

use super::tls_outcome::{Opened, TlsFailure};

/// There is none.
#[derive(Debug)]
pub enum NoCertificates {}

/// There is none.
#[derive(Debug)]
pub(super) enum NoTls {}

impl NoTls {
    pub(super) fn new(certificates: &NoCertificates) -> io::Result<Box<Self>> {
        match *certificates {}
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match *self {}
    }

    pub(super) fn open(&mut self, _: &[u8], _: &mut [u8]) -> Result<Opened, TlsFailure> {
        match *self {}
    }

    pub(super) fn has_heard_end(&self) -> bool {
        match *self {}
    }

    pub(super) fn has_to_send(&self) -> bool {
        match *self {}
    }

    pub(super) fn left_bytes(&self) -> usize {
        match *self {}
    }

    pub(super) fn flush(&mut self, _: &mut impl Write) -> io::Result<bool> {
        match *self {}
    }

    pub(super) fn seal(&mut self, _: &mut impl Write, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn end(&mut self) {
        match *self {}
    }
}
