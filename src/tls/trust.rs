//! Whom an outgoing connection trusts.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::error::TlsError;

/// Longest file of authorities, in bytes: the bundle of a system, some hundred of them, has a quarter.
const FILE_SIZE_MAX: u64 = 1 << 20;

/// The authorities that may have signed a certificate, and the name that has to stand in it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TlsTrust {
    authorities: Option<Arc<str>>,
    server_name: Option<Arc<str>>,
}

impl TlsTrust {
    /// Trusts the authorities in the text, PEM, or else those of the system; a certificate has to be for
    /// the name that is given, or else for the host of the address.
    #[must_use]
    pub fn new(authorities: Option<&str>, server_name: Option<&str>) -> Self {
        Self {
            authorities: authorities.map(Arc::from),
            server_name: server_name.map(Arc::from),
        }
    }

    /// The same, with the authorities in a file.
    ///
    /// # Errors
    ///
    /// The file can't be read, is larger than 1 MiB or isn't text. What stands in it is looked at by
    /// [`TlsDialer::new`](super::TlsDialer::new).
    pub fn with_file(path: &Path, server_name: Option<&str>) -> io::Result<Self> {
        let mut text = String::new();
        let read = File::open(path)?
            .take(FILE_SIZE_MAX + 1)
            .read_to_string(&mut text)?;
        if read as u64 > FILE_SIZE_MAX {
            let what = format!("is larger than {FILE_SIZE_MAX} bytes");
            return Err(io::Error::other(TlsError::Authorities(what)));
        }
        Ok(Self::new(Some(&text), server_name))
    }

    /// The certificates of the authorities, PEM; `None` for those of the system.
    #[must_use]
    pub fn authorities(&self) -> Option<&str> {
        self.authorities.as_deref()
    }

    /// The name that a certificate has to be for; `None` for the host of the address.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

impl fmt::Debug for TlsTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTrust")
            .field("authorities", &self.authorities.as_ref().map(|_| "a file"))
            .field("server_name", &self.server_name)
            .finish()
    }
}
